import { CliError } from './client.ts'
import type { CommandInput } from './commands.ts'

interface Followed {
  id: string
  phase: string
  message: string | null
  done: number
  result: Record<string, unknown> | null
}

/** s that one question may wait for the end; another follows while it goes on. */
const WAIT_SECONDS = 30

/** Tells of its progress until it is over. @throws CliError when it did not come to a good end */
export async function followOperation({ client, out }: CommandInput, first: Followed): Promise<Followed> {
  let operation = first
  let told: string | null = null
  while (operation.phase === 'Pending' || operation.phase === 'Running') {
    if (operation.message && operation.message !== told) out(operation.message)
    told = operation.message
    operation = await client.call('GET', `/api/pool/operations/${operation.id}?wait=${WAIT_SECONDS}`)
  }
  if (operation.phase === 'Succeeded') return operation
  throw new CliError(`it ended ${operation.phase}${operation.message ? `: ${operation.message}` : ''}`)
}

/** Every idle one, and what is claimed too when that is asked for: somebody is talking to those. */
export async function drainAll(input: CommandInput): Promise<void> {
  const { client, values, out } = input
  const everything = values['include-claimed'] === true
  const { environment } = await client.call('GET', '/version')
  if (everything) await confirm(input, environment)

  const { operation } = await client.call('POST', '/api/pool/drain?wait=0', { all: true })
  const drained = await followOperation(input, operation)
  out(`${environment}: ${drained.done} idle drained`)
  if (!everything) return

  const agents: { id: string; name: string; claimId: string }[] = await client.call('GET', '/api/pool/agents')
  const faults: string[] = []
  const noted = (id: string) => (error: unknown) => {
    if (!(error instanceof CliError)) throw error
    faults.push(`${id}: ${error.message}`)
    return null
  }
  const asked = await Promise.all(
    agents.map(({ id, claimId }) =>
      client.call('DELETE', `/api/pool/instances/${id}/destroy?wait=0&claim=${claimId}`).catch(noted(id)),
    ),
  )
  for (const answer of asked)
    if (answer) await followOperation(input, answer.operation).catch(noted(answer.instanceId))
  out(`${environment}: ${agents.length - faults.length} claimed destroyed`)
  if (faults.length > 0) throw new CliError(`not destroyed:\n${faults.join('\n')}`)
}

/** In production, the environment's name is typed; elsewhere a yes. @throws CliError when nobody says so */
async function confirm({ client, values, prompt }: CommandInput, environment: string): Promise<void> {
  if (values.yes) return
  const word = environment === 'production' ? environment : 'yes'
  if (!prompt) throw new CliError(`this ends every conversation of ${client.url}: say --yes`, 2)
  const typed = await prompt(
    `This ends every conversation of ${client.url} (${environment}). Type "${word}": `,
  )
  if (typed.trim() !== word) throw new CliError('nothing was done')
}
