import { z } from 'zod'
import { sleep } from '../../../../specs/clock.ts'
import {
  SETUP_PHASES,
  SETUP_REFUSED,
  type SetupStatus,
  SPRITE_PATHS,
  setupStatusSchema,
} from '../../../sprite/templates.ts'
import { type Machine, type Program, silentIo } from './machine.ts'
import type { Behaviour } from './repository.ts'

/** Where each phase begins, in percent of the whole: the numbers that the script itself reports. */
const BEGINS: Record<(typeof SETUP_PHASES)[number], number> = {
  tools: 0,
  bun: 5,
  pnpm: 10,
  clone: 15,
  patch: 25,
  install: 30,
  build: 60,
  wrapper: 95,
  workspace: 97,
}
const BEAT_MS = 10_000
/** The built version, for the gateway that is started from it: what the real build leaves is its files. */
const BUILT = '/openclaw/dist/entry.js'

const builtSchema = z.object({ commit: z.string() })

/** The commit that this disk was built from; null when nothing was built. */
export function builtCommit({ disk }: Machine): string | null {
  const text = disk.text(BUILT)
  return text === null ? null : builtSchema.parse(JSON.parse(text)).commit
}

/** `bash setup.sh`: starts the build in a process of its own and returns, as the script does. */
export const setupLauncher =
  (machine: Machine): Program =>
  async ({ write }) => {
    const wish = readWish(machine)
    if (wish === null) {
      await write(2, 'setup.sh: setup.env is missing, or a value in it is not to be read\n')
      return 2
    }
    const builds = machine.processes.list().filter(({ command }) => command === buildOf(wish.attempt))
    if (builds.length > 0) return 0
    const before = readStatus(machine)
    const isSame = before?.attempt === wish.attempt
    if (isSame && before.exit !== null) return 0 // an attempt is built once
    for (const old of machine.processes.list()) if (old.command.startsWith(BUILD)) old.signal('KILL')
    const beat = isSame ? before.beat : 0
    writeStatus(machine, { ...newStatus(wish.attempt), beat: beat + 1 }) // it is known before this returns
    machine.processes.start(buildOf(wish.attempt), silentIo(), build(machine, wish, beat + 1))
    return 0
  }

const BUILD = '/usr/bin/bash setup.sh run '
const buildOf = (attempt: string) => BUILD + attempt

interface Wish {
  attempt: string
  ref: string
  commit: string
}

function readWish({ disk }: Machine): Wish | null {
  const text = disk.text(SPRITE_PATHS.setupEnv)
  if (text === null) return null
  const field = (name: string) => new RegExp(`^${name}=([A-Za-z0-9._/:@-]*)$`, 'm').exec(text)?.[1] ?? ''
  const wish = { attempt: field('ATTEMPT'), ref: field('REF'), commit: field('COMMIT') }
  return wish.attempt === '' || field('REPO') === '' || wish.ref + wish.commit === '' ? null : wish
}

function build(machine: Machine, wish: Wish, firstBeat: number): Program {
  return async (_io, { signal }) => {
    const status = { ...newStatus(wish.attempt), beat: firstBeat }
    const letSleep = machine.holdAwake?.() ?? (() => {})
    signal.addEventListener('abort', letSleep, { once: true })
    const isSuperseded = () => readWish(machine)?.attempt !== wish.attempt
    const say = (change: Partial<SetupStatus>) => {
      Object.assign(status, change, { beat: status.beat + 1 })
      writeStatus(machine, status)
    }
    machine.disk.write(SPRITE_PATHS.setupLog, '')
    for (const [at, phase] of SETUP_PHASES.entries()) {
      if (isSuperseded()) return 143
      say({ phase, percent: BEGINS[phase] })
      machine.disk.append(SPRITE_PATHS.setupLog, Buffer.from(`== ${phase}\n`))
      const next = SETUP_PHASES[at + 1]
      const share = ((next ? BEGINS[next] : 100) - BEGINS[phase]) / 100
      for (let left = machine.setupMs * share; left > 0; left -= BEAT_MS) {
        await sleep(machine.clock, Math.min(left, BEAT_MS), signal)
        if (isSuperseded()) return 143
        if (left > BEAT_MS) say({})
      }
      const failure = carryOut(machine, wish, phase, status)
      if (failure) {
        machine.disk.append(SPRITE_PATHS.setupLog, Buffer.from(`${failure.text}\n`))
        say({ exit: failure.code, error: `${phase}: ${failure.text}` })
        letSleep()
        return failure.code
      }
    }
    say({ percent: 100, exit: 0, takes: machine.repository.behaviourOf(status.commit ?? '').takes })
    letSleep()
    return 0
  }
}

/** What a phase leaves behind, or how it failed. */
function carryOut(
  { disk, repository }: Machine,
  wish: Wish,
  phase: (typeof SETUP_PHASES)[number],
  status: SetupStatus,
): { code: number; text: string } | null {
  const behaviour = (): Behaviour => repository.behaviourOf(status.commit ?? '')
  switch (phase) {
    case 'clone': {
      const wanted = wish.commit || wish.ref
      status.commit = repository.resolve(wanted)
      if (status.commit === null)
        return { code: SETUP_REFUSED, text: `fatal: couldn't find remote ref ${wanted}` }
      disk.remove('/openclaw')
      disk.write('/openclaw/package.json', '{"name":"openclaw"}\n')
      return null
    }
    case 'build':
      if (behaviour().failBuild)
        return { code: 2, text: 'src/entry.ts(1,1): error TS2304: Cannot find name "standin".' }
      disk.write(BUILT, JSON.stringify({ commit: status.commit }))
      return null
    case 'wrapper':
      disk.write(
        '/usr/local/bin/openclaw',
        '#!/usr/bin/env bash\nexec node /openclaw/dist/entry.js "$@"\n',
        0o755,
      )
      return null
    case 'workspace':
      disk.remove(SPRITE_PATHS.convos)
      disk.write(`${SPRITE_PATHS.workspace}/.keep`, '')
      disk.remove(`${SPRITE_PATHS.workspace}/.keep`)
      disk.remove(SPRITE_PATHS.instructions)
      return null
    default:
      return null
  }
}

const newStatus = (attempt: string): SetupStatus => ({
  attempt,
  beat: 0,
  phase: 'tools',
  percent: 0,
  commit: null,
  home: SPRITE_PATHS.home,
  exit: null,
  error: null,
  takes: [],
  updatedAt: '',
})

function readStatus({ disk }: Machine): SetupStatus | null {
  const text = disk.text(SPRITE_PATHS.setupStatus)
  return text === null ? null : setupStatusSchema.parse(JSON.parse(text))
}

function writeStatus({ disk, clock }: Machine, status: SetupStatus): void {
  const updatedAt = new Date(clock.now()).toISOString()
  disk.write(SPRITE_PATHS.setupStatus, `${JSON.stringify({ ...status, updatedAt })}\n`)
}
