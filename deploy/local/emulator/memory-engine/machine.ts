import type { Random } from '../../../../specs/random.ts'
import type { OutputStream } from '../engine.ts'
import { codeOfSignal, toSignal } from '../signals.ts'
import type { VmClock } from '../vm-clock.ts'
import type { Disk } from './disk.ts'
import type { Gateway } from './gateway.ts'
import type { Repository } from './repository.ts'

/** What the programs inside one modelled Sprite run on. */
export interface Machine {
  clock: VmClock
  random: Random
  disk: Disk
  repository: Repository
  processes: Processes
  /** ms that a whole build takes, spread over its phases. */
  setupMs: number
  /** What listens on port 8080; null: nothing, so a request to the public URL hangs. */
  gateway: Gateway | null
  /** Keeps the Sprite awake until it is called back, as a task does; null where this Sprite has no tasks. */
  holdAwake: (() => () => void) | null
}

export interface ProgramIo {
  write(stream: OutputStream, text: string): Promise<void>
  /** Resolves at the end of the input. */
  stdin: Promise<Buffer>
  env: Record<string, string>
  dir: string
}

/** Resolves to the exit code. When `signal` aborts it has ended already, and what it resolves to counts for nothing. */
export type Program = (io: ProgramIo, self: { pid: number; signal: AbortSignal }) => Promise<number>

export interface Process {
  pid: number
  command: string
  /** The exit code as a shell tells it; null when the machine went away under it. */
  exited: Promise<number | null>
  signal(name: string): void
}

export interface Processes {
  start(command: string, io: ProgramIo, program: Program): Process
  byPid(pid: number): Process | null
  list(): Process[]
  /** The machine's end: nothing of them runs on, and nobody learns how they ended. */
  endAll(): void
}

export function createProcesses(): Processes {
  const running = new Map<number, { process: Process; lose(): void }>()
  let lastPid = 100

  return {
    start(command, io, program) {
      lastPid++
      const pid = lastPid
      const ended = Promise.withResolvers<number | null>()
      const abort = new AbortController()
      const end = (code: number | null) => {
        running.delete(pid)
        ended.resolve(code)
        abort.abort()
      }
      const process: Process = {
        pid,
        command,
        exited: ended.promise,
        signal(name) {
          const signal = toSignal(name)
          if (signal !== null && signal !== 'SIGCONT' && running.has(pid)) end(codeOfSignal(signal))
        },
      }
      running.set(pid, { process, lose: () => end(null) })
      program(io, { pid, signal: abort.signal }).then(end, () => end(1))
      return process
    },
    byPid: (pid) => running.get(pid)?.process ?? null,
    list: () => [...running.values()].map(({ process }) => process),
    endAll() {
      for (const { lose } of [...running.values()]) lose()
    },
  }
}

/** Output goes nowhere and there is no input: what runs by itself. */
export const silentIo = (): ProgramIo => ({
  write: async () => {},
  stdin: Promise.resolve(Buffer.alloc(0)),
  env: {},
  dir: '/home/sprite',
})
