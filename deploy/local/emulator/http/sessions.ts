import type { Clock } from '../../../../specs/clock.ts'
import { type ExecSession, type OutputSink, type OutputStream, Refusal } from '../engine.ts'

/** Kept of a session's output for whoever attaches later. */
const SCROLLBACK_BYTES = 256 * 1_024
/** Ended sessions that are still told apart from those that never were. */
const REMEMBERED = 200

export interface Session {
  readonly id: string
  readonly command: string
  readonly workdir: string
  readonly startedAt: number
  lastActivityAt: number
  /** The exit code after the last output; null when the machine went away under it. */
  readonly exited: Promise<number | null>
  readonly exec: ExecSession
  /** What it has said so far, then what it says; the returned function ends that. Whoever opened it must attach. */
  attach(output: OutputSink): () => void
}

/** The commands that run, by Sprite: engines start them, this remembers them for those who ask, attach and kill. */
export interface Sessions {
  /** `start` is handed what every piece of output goes to. `livesOnMs`: how long without a client; null: for ever. */
  open(
    sprite: string,
    wish: { workdir: string; livesOnMs: number | null },
    start: (output: OutputSink) => Promise<ExecSession>,
  ): Promise<Session>
  list(sprite: string): Session[]
  /** Throws a 404 for one that never was, a 410 for one that has ended. */
  get(sprite: string, id: string): Session
}

export function createSessions(clock: Clock): Sessions {
  const running = new Map<string, Session>()
  const ended = new Set<string>()
  const keyOf = (sprite: string, id: string) => `${sprite}/${id}`

  function remember(key: string): void {
    running.delete(key)
    ended.add(key)
    const [oldest] = ended
    if (ended.size > REMEMBERED && oldest !== undefined) ended.delete(oldest)
  }

  return {
    async open(sprite, { workdir, livesOnMs }, start) {
      const sinks = new Set<OutputSink>()
      const scrollback = createScrollback()
      const firstClient = Promise.withResolvers<void>()
      let hasClient = false
      let session: Session | null = null
      const exec = await start(async (stream, bytes) => {
        scrollback.add(stream, bytes)
        if (!hasClient) return firstClient.promise // a fast command waits, so that its client misses nothing
        if (session) session.lastActivityAt = clock.now()
        await Promise.all([...sinks].map((sink) => sink(stream, bytes)))
      })
      let cancelEnd = () => {}
      const opened: Session = {
        id: exec.id,
        command: exec.command,
        workdir,
        startedAt: exec.startedAt,
        lastActivityAt: exec.startedAt,
        exited: exec.exited,
        exec,
        attach(output) {
          cancelEnd()
          const sink = oneByOne(output)
          const earlier = scrollback.pieces().map(([stream, bytes]) => sink(stream, bytes))
          void Promise.allSettled(earlier).then(() => firstClient.resolve())
          hasClient = true
          sinks.add(sink)
          return () => {
            if (!sinks.delete(sink) || sinks.size > 0 || livesOnMs === null) return
            cancelEnd = clock.after(livesOnMs, () => exec.kill())
          }
        },
      }
      session = opened
      const key = keyOf(sprite, exec.id)
      running.set(key, opened)
      ended.delete(key) // a process number is used again
      void exec.exited.then(() => {
        cancelEnd()
        if (running.get(key) === opened) remember(key)
      })
      return opened
    },
    list: (sprite) =>
      [...running].filter(([key]) => key.startsWith(`${sprite}/`)).map(([, session]) => session),
    get(sprite, id) {
      const key = keyOf(sprite, id)
      const session = running.get(key)
      if (session) return session
      if (ended.has(key)) throw new Refusal(410, { error: `session already exited: ${id}` })
      throw new Refusal(404, { error: `session not found: ${id}` })
    },
  }
}

/** A piece is handed on when the one before it has left. */
function oneByOne(output: OutputSink): OutputSink {
  let last: Promise<void> = Promise.resolve()
  return (stream, bytes) => {
    last = last.then(() => output(stream, bytes))
    return last
  }
}

/** The last pieces of output, up to the limit. */
function createScrollback() {
  const pieces: [OutputStream, Buffer][] = []
  let size = 0
  return {
    add(stream: OutputStream, bytes: Buffer): void {
      pieces.push([stream, bytes])
      size += bytes.length
      while (size > SCROLLBACK_BYTES && pieces.length > 1) size -= pieces.shift()?.[1].length ?? 0
    },
    pieces: () => [...pieces],
  }
}
