import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { Clock } from '../../../../specs/clock.ts'
import { Refusal } from '../engine.ts'
import type { ServiceProcess } from '../service-manager.ts'
import { codeOfSignal } from '../signals.ts'
import { endProcesses, signalProcess, stopProcesses } from './end-processes.ts'
import { type Owned, startOf } from './process-table.ts'
import type { SpriteFolder } from './sprite-folder.ts'

export interface SpawnWish {
  file: string
  args: string[]
  argv0: string
  dir: string
  env: Record<string, string>
  stdin: boolean
  /**
   * Called in the same turn as the spawn, and must begin to read then (by `for await`): what nobody reads yet when
   * the process ends is thrown away by Node.
   */
  read(stdout: Readable, stderr: Readable): void
}

/**
 * A process that leads a group of its own. Signals and ends go to the whole group; none is sent once the leader has
 * ended, as its number may be another's by then. `sweep` is for the very turn of its end, when nobody has it yet.
 */
export interface Leader extends ServiceProcess {
  child: ChildProcess
}

/** The processes of one Sprite: what was started for it, and whatever that started. */
export interface SpriteProcesses {
  /** Resolves when the process runs and its pid and start are on disk, for an emulator that comes after a crash. */
  spawn(wish: SpawnWish): Promise<Leader>
  /** What tells this Sprite's processes from all others. */
  owned(): Owned
  endAll(): Promise<void>
  /** Holds all of it still; the returned function lets it go on. */
  stop(): Promise<() => void>
}

export function spriteProcesses(folder: SpriteFolder, clock: Clock): SpriteProcesses {
  const groups = new Set<number>()
  const homes = new Set([folder.home])
  const owned = () => ({ homes, groups })

  return {
    owned,
    endAll: () => endProcesses(clock, owned()),
    stop: () => stopProcesses(owned()),
    async spawn({ file, args, argv0, dir, env, stdin, read }) {
      const child = spawn(file, args, {
        argv0,
        cwd: dir,
        env,
        detached: true,
        stdio: [stdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
      })
      const { pid, stdout, stderr } = child
      if (pid === undefined || stdout === null || stderr === null) {
        const [error] = (await once(child, 'error')) as [NodeJS.ErrnoException] // what a failed spawn emits
        throw cannotStart(file, error)
      }
      read(stdout, stderr)
      child.on('error', () => {}) // a signal that came too late; the exit says the rest
      child.stdin?.on('error', () => {}) // the command closed its input: what is written to it goes nowhere
      groups.add(pid)
      const exited = new Promise<number>((resolve) => {
        child.once('exit', (code, signal) => {
          groups.delete(pid)
          resolve(code ?? codeOfSignal(signal ?? 'SIGKILL'))
        })
      })
      const record = join(folder.processes, String(pid))
      await writeFile(record, (await startOf(pid)) ?? '')
      void exited.then(() => rm(record, { force: true }).catch(() => {})) // left behind, it names a start long past
      return {
        pid,
        child,
        exited,
        signal(signal) {
          if (groups.has(pid)) signalProcess(-pid, signal)
        },
        sweep: () => signalProcess(-pid, 'SIGKILL'),
        async end(graceMs) {
          if (groups.has(pid))
            await endProcesses(clock, { homes: new Set(), groups: new Set([pid]) }, graceMs)
          await exited
        },
      }
    },
  }
}

/**
 * The process groups that an emulator which is gone left behind for this Sprite. Only those whose leader has both the
 * pid and the start that were written down: a pid alone may be anybody's by now.
 */
export async function leftoverGroups(folder: SpriteFolder): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir(folder.processes)) {
    const pid = Number(name)
    const start = await readFile(join(folder.processes, name), 'utf8')
    if (Number.isInteger(pid) && pid > 1 && start !== '' && start === (await startOf(pid))) found.push(pid)
  }
  return found
}

export async function forgetLeftovers(folder: SpriteFolder): Promise<void> {
  for (const name of await readdir(folder.processes)) await rm(join(folder.processes, name), { force: true })
}

function cannotStart(file: string, error: NodeJS.ErrnoException): Refusal {
  const reason =
    error.code === 'ENOENT' ? 'executable file not found in $PATH' : `cannot start (${error.code})`
  return new Refusal(400, { error: `exec: "${file}": ${reason}` })
}
