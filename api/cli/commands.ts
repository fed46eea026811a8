import type { ParseArgsConfig } from 'node:util'
import { CliError, type Client } from './client.ts'
import { drainAll, followOperation } from './drain-all.ts'
import type { Surroundings } from './run.ts'

export interface CommandInput extends Surroundings {
  client: Client
  values: Record<string, string | boolean | undefined>
  positionals: string[]
}

export interface Command {
  /** The command line, without the program's name. */
  usage: string
  help: string
  options?: NonNullable<ParseArgsConfig['options']>
  /** Words beside the options. */
  takes?: { least: number; most?: number }
  run(input: CommandInput): Promise<void>
}

const API = '/api/pool'
const show = ({ out }: CommandInput, value: unknown) => out(JSON.stringify(value, null, 2))
const id = (input: CommandInput) => encodeURIComponent(input.positionals[0] ?? '')

function count(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1) throw new CliError(`${text} is no count: 1 or more`, 2)
  return number
}

export const COMMANDS: Record<string, Command> = {
  counts: {
    usage: 'counts',
    help: 'how many instances are where',
    async run(input) {
      show(input, await input.client.call('GET', `${API}/counts`))
    },
  },
  status: {
    usage: 'status',
    help: 'everything: counts, conditions, every instance',
    async run(input) {
      show(input, await input.client.call('GET', `${API}/status`))
    },
  },
  claim: {
    usage: 'claim NAME INSTRUCTIONS [--join-url LINK]',
    help: 'launch an agent; prints its invite link',
    options: { 'join-url': { type: 'string' } },
    takes: { least: 2 },
    async run(input) {
      const [agentName, instructions] = input.positionals
      const joinUrl = input.values['join-url']
      show(input, await input.client.call('POST', `${API}/claim`, { agentName, instructions, joinUrl }))
    },
  },
  recycle: {
    usage: 'recycle INSTANCE',
    help: 'end its claim and clean it for the next one',
    takes: { least: 1 },
    async run(input) {
      await actOn(input, '')
    },
  },
  destroy: {
    usage: 'destroy INSTANCE',
    help: 'end its claim and delete it',
    takes: { least: 1 },
    async run(input) {
      await actOn(input, '/destroy')
    },
  },
  drain: {
    usage: 'drain [COUNT]',
    help: 'delete idle ones, outdated first; the pool builds them anew',
    takes: { least: 0, most: 1 },
    async run(input) {
      const body = { count: count(input.positionals[0], 1) }
      const { operation } = await input.client.call('POST', `${API}/drain?wait=0`, body)
      await followOperation(input, operation)
    },
  },
  'drain-all': {
    usage: 'drain-all [--include-claimed] [--yes]',
    help: 'the same for all idle ones; with --include-claimed for everything',
    options: { 'include-claimed': { type: 'boolean' }, yes: { type: 'boolean', short: 'y' } },
    run: drainAll,
  },
  replenish: {
    usage: 'replenish [COUNT]',
    help: 'build more, on top of what the spec asks for',
    takes: { least: 0, most: 1 },
    async run(input) {
      const body = { count: count(input.positionals[0], 1) }
      const { created } = await input.client.call('POST', `${API}/replenish`, body)
      input.out(created === 0 ? 'no room: maxTotal is reached' : `${created} are being built`)
    },
  },
  spec: {
    usage: 'spec get | set PATCH',
    help: `the wanted state; set takes a merge patch: '{"minIdle": 5}'`,
    takes: { least: 1, most: 2 },
    async run(input) {
      const [verb, patch] = input.positionals
      if (verb === 'get' && patch === undefined)
        return show(input, (await input.client.call('GET', `${API}/spec`)).spec)
      if (verb !== 'set' || patch === undefined) throw new CliError('usage: clawpool spec get | set PATCH', 2)
      const { spec, plan } = await input.client.call('PATCH', `${API}/spec`, json(patch))
      show(input, { spec, plan })
    },
  },
  version: {
    usage: 'version',
    help: 'which build answers, in which environment',
    async run(input) {
      show(input, await input.client.call('GET', '/version'))
    },
  },
}

/** The claim that is live now is named, so that never a later one is ended by mistake. */
async function actOn(input: CommandInput, verb: '' | '/destroy'): Promise<void> {
  const path = `${API}/instances/${id(input)}`
  const { claimId } = await input.client.call('GET', path).catch(() => ({ claimId: null })) // gone: what was last asked of it still answers
  const claim = claimId ? `&claim=${encodeURIComponent(claimId)}` : ''
  const answer = await input.client.call('DELETE', `${path}${verb}?wait=0${claim}`)
  const operation = await followOperation(input, answer.operation)
  input.out(`${input.positionals[0]}: ${operation.result?.outcome ?? 'done'}`)
}

function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new CliError(`not JSON: ${text}`, 2)
  }
}
