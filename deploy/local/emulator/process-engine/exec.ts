import { constants } from 'node:os'
import type { Readable } from 'node:stream'
import { type Clock, sleep } from '../../../../specs/clock.ts'
import type { ExecCommand, ExecSession, OutputSink, OutputStream } from '../engine.ts'
import { mapCommand, mapDir, mapWord } from './paths.ts'
import type { SpriteProcesses } from './processes.ts'
import type { SpriteFolder } from './sprite-folder.ts'

const KILL_AFTER_MS = 2_000
/** How long the output must have been silent, once the command ended, to count as read to its end. */
const DRAINED_AFTER_MS = 50

interface Deps {
  folder: SpriteFolder
  processes: SpriteProcesses
  environment: Record<string, string>
  /** Laid over everything that the caller sends. */
  names: Record<string, string>
  clock: Clock
  /** Resolves when the Sprite is restored, deleted or closed under its commands. */
  lost: Promise<null>
}

/** Starts a command. It ends with its leader: what that started in the background goes on, and its output is dropped. */
export async function startExec(deps: Deps, command: ExecCommand, output: OutputSink): Promise<ExecSession> {
  const { folder, processes, environment, names, clock, lost } = deps
  const file = await mapCommand(folder, command.path ?? command.argv[0])
  const leader = await processes.spawn({
    file,
    args: command.argv.slice(1).map((word) => mapWord(folder, word)),
    argv0: mapWord(folder, command.argv[0]),
    dir: await mapDir(folder, command.dir ?? ''),
    env: { ...environment, ...command.env, ...names },
    stdin: command.stdin,
  })
  const { child, exited } = leader
  const pumps = [pump(child.stdout, 1, output), pump(child.stderr, 2, output)]
  const finished = exited.then(async (code) => {
    for (const drained of pumps) await drained.whenDrained(clock)
    return code
  })
  return {
    id: String(leader.pid),
    command: file,
    startedAt: clock.now(),
    exited: Promise.race([finished, lost]),
    writeStdin: (bytes) => void child.stdin?.write(bytes),
    endStdin: () => void child.stdin?.end(),
    signal(name) {
      const full = name.startsWith('SIG') ? name : `SIG${name}`
      if (isSignal(full)) leader.signal(full)
    },
    kill() {
      void leader.end(KILL_AFTER_MS).catch(() => {}) // outlived even KILL: the Sprite's own end will say so
    },
  }
}

export function isSignal(name: string): name is NodeJS.Signals {
  return Object.hasOwn(constants.signals, name)
}

/** Hands on one piece at a time, so that a slow reader holds the command back instead of filling memory. */
function pump(source: Readable | null, stream: OutputStream, output: OutputSink) {
  let pieces = 0
  let isBusy = false
  let isOver = source === null
  let isForwarding = true
  const ended = Promise.withResolvers<void>()
  source?.once('close', () => {
    isOver = true
    ended.resolve()
  })
  source?.on('error', () => {})
  source?.on('data', (bytes: Buffer) => {
    if (!isForwarding) return // still read, as a full pipe would stop whoever writes to it
    pieces++
    isBusy = true
    source.pause()
    void Promise.resolve(output(stream, bytes)).finally(() => {
      isBusy = false
      source.resume()
    })
  })
  return {
    /**
     * Call once the leader has ended: what it wrote is in the pipe by then. The pipe itself may stay open for as
     * long as something in the background holds it, so silence counts as the end.
     */
    async whenDrained(clock: Clock): Promise<void> {
      while (!isOver) {
        const before = pieces
        await Promise.race([ended.promise, sleep(clock, DRAINED_AFTER_MS)])
        if (!isBusy && pieces === before) break
      }
      isForwarding = false
    },
  }
}
