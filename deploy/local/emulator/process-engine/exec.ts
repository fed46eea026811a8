import type { Readable } from 'node:stream'
import { type Clock, sleep } from '../../../../specs/clock.ts'
import type { ExecCommand, ExecSession, OutputSink, OutputStream } from '../engine.ts'
import { toSignal } from '../signals.ts'
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
  /** Calls back when the Sprite is restored, deleted or closed under its commands; the answer takes that off. */
  onLost(run: () => void): () => void
}

/** Starts a command. It ends with its leader: what that started in the background goes on, and its output is dropped. */
export async function startExec(deps: Deps, command: ExecCommand, output: OutputSink): Promise<ExecSession> {
  const { folder, processes, environment, names, clock, onLost } = deps
  const file = await mapCommand(folder, command.path ?? command.argv[0])
  let pumps: Pump[] = []
  const leader = await processes.spawn({
    file,
    args: command.argv.slice(1).map((word) => mapWord(folder, word)),
    argv0: mapWord(folder, command.argv[0]),
    dir: await mapDir(folder, command.dir ?? ''),
    env: { ...environment, ...command.env, ...names },
    stdin: command.stdin,
    read(stdout, stderr) {
      pumps = [pump(stdout, 1, output), pump(stderr, 2, output)]
    },
  })
  const { child, exited } = leader
  const ended = Promise.withResolvers<number | null>()
  const stopListening = onLost(() => ended.resolve(null))
  void exited.then(async (code) => {
    for (const one of pumps) await one.whenDrained(clock)
    stopListening()
    ended.resolve(code)
  })
  return {
    id: String(leader.pid),
    command: file,
    startedAt: clock.now(),
    exited: ended.promise,
    writeStdin: (bytes) => void child.stdin?.write(bytes),
    endStdin: () => void child.stdin?.end(),
    signal(name) {
      const signal = toSignal(name)
      if (signal !== null) leader.signal(signal)
    },
    kill() {
      void leader.end(KILL_AFTER_MS).catch(() => {}) // outlived even KILL: the Sprite's own end will say so
    },
  }
}

type Pump = ReturnType<typeof pump>

/** Hands on one piece at a time, so that a slow reader holds the command back instead of filling memory. */
function pump(source: Readable, stream: OutputStream, output: OutputSink) {
  let pieces = 0
  let isBusy = false
  let isForwarding = true

  async function run(): Promise<void> {
    for await (const bytes of source) {
      pieces++
      if (!isForwarding) continue // still read, as a full pipe would stop whoever writes to it
      isBusy = true
      await Promise.resolve(output(stream, bytes)).catch(() => {
        isForwarding = false // nobody is there any more
      })
      isBusy = false
    }
  }
  let isOver = false
  const over = run()
    .catch(() => {}) // the pipe broke: what came is all there is
    .then(() => {
      isOver = true
    })
  return {
    /**
     * Call once the leader has ended: what it wrote is in the pipe by then. The pipe itself may stay open for as
     * long as something in the background holds it, so silence counts as the end.
     */
    async whenDrained(clock: Clock): Promise<void> {
      while (!isOver) {
        const before = pieces
        await Promise.race([over, sleep(clock, DRAINED_AFTER_MS)])
        if (!isBusy && pieces === before) break
      }
      isForwarding = false
    },
  }
}
