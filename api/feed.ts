/** Events as they come, for any number of readers: server-sent events that a reader may leave and go on with. */

import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Clock } from '../specs/clock.ts'
import type { Sql } from '../specs/db/connect.ts'
import { type EventFilter, eventsAfter, eventsEnd } from '../specs/db/events.ts'
import { callerGone } from './ask.ts'
import type { News } from './news.ts'
import { toEvent } from './shapes/event.ts'

/** Events of one read, and all that is ever held for a reader who takes them slowly. */
const PAGE = 100
/** ms. A reader that nobody tells looks by itself; so does one whose news came before the events could be read. */
const NET_MS = 2_000
/** ms. Proxies cut what is silent; half of the shortest time-out that is common. */
const HEARTBEAT_MS = 15_000
/** ms. A reader that takes nothing for so long has gone, whatever its socket says. */
const STUCK_MS = 60_000
/** ms that a browser waits before it comes back. */
const COME_BACK_MS = 2_000

export interface Wish extends EventFilter {
  pool: string
  /** An event's id, to go on behind it; `start`: all that is kept; `end`: only what comes. */
  from: string
}

export interface Feed {
  /** Chunks of `text/event-stream`, until the signal or the server ends it. A read that fails is tried again. */
  read(wish: Wish, signal: AbortSignal): AsyncGenerator<string, void, void>
  /** The same as an answer. */
  send(reply: FastifyReply, wish: Wish): FastifyReply
  close(): void
}

export function createFeed({ sql, clock, news }: { sql: Sql; clock: Clock; news: News }): Feed {
  const closing = new AbortController()
  const sleepers = new Set<{ pool: string; wake(): void }>()
  const wake = (pool?: string) => {
    for (const one of sleepers) if (pool === undefined || pool === one.pool) one.wake()
  }
  const stops = [news.on('events', ({ pool }) => wake(pool)), news.onGap(() => wake())]

  /** From now on: whoever looks after this call misses nothing that is told while it looks. */
  function listen(pool: string, signal: AbortSignal) {
    let rung = false
    let resolve = () => {}
    const sleeper = {
      pool,
      wake() {
        rung = true
        resolve()
      },
    }
    sleepers.add(sleeper)
    signal.addEventListener('abort', sleeper.wake, { once: true })
    return {
      async rest(ms: number) {
        const cancel = clock.after(ms, sleeper.wake)
        if (!rung && !signal.aborted) await new Promise<void>((done) => (resolve = done))
        cancel()
        rung = false
      },
      end() {
        sleepers.delete(sleeper)
        signal.removeEventListener('abort', sleeper.wake)
      },
    }
  }

  async function* read({ pool, from, ...filter }: Wish, reader: AbortSignal) {
    const signal = AbortSignal.any([reader, closing.signal])
    const bell = listen(pool, signal)
    try {
      let position = from === 'start' ? '0-0' : from
      let spokenAt = clock.monotonic()
      yield `retry: ${COME_BACK_MS}\n\n`
      while (!signal.aborted) {
        let full = false
        try {
          if (position === 'end') position = await eventsEnd(sql)
          const events = await eventsAfter(sql, pool, { ...filter, after: position, limit: PAGE })
          for (const event of events) {
            yield `id: ${event.id}\ndata: ${JSON.stringify(toEvent(event))}\n\n`
            position = event.id
            spokenAt = clock.monotonic()
          }
          full = events.length === PAGE
        } catch {
          // the database is away for now
        }
        if (full || signal.aborted) continue
        await bell.rest(NET_MS)
        if (clock.monotonic() - spokenAt < HEARTBEAT_MS) continue
        yield ': still here\n\n'
        spokenAt = clock.monotonic()
      }
    } finally {
      bell.end()
    }
  }

  /** Ends a reader that takes nothing any more. */
  async function* whileTaken(chunks: AsyncGenerator<string, void, void>, stuck: AbortController) {
    for await (const chunk of chunks) {
      const cancel = clock.after(STUCK_MS, () => stuck.abort(new Error('the reader takes nothing')))
      try {
        yield chunk
      } finally {
        cancel()
      }
    }
  }

  return {
    read,
    send(reply, wish) {
      const stuck = new AbortController()
      const signal = AbortSignal.any([callerGone(reply), stuck.signal])
      const stream = Readable.from(whileTaken(read(wish, signal), stuck), { highWaterMark: 1 })
      stuck.signal.addEventListener('abort', () => stream.destroy(), { once: true })
      return reply
        .header('content-type', 'text/event-stream; charset=utf-8')
        .header('cache-control', 'no-cache, no-transform')
        .header('x-accel-buffering', 'no') // nginx would gather them
        .header('connection', 'close') // kept alive behind its end it would hold up a server that closes
        .send(stream)
    },
    close() {
      for (const stop of stops) stop()
      closing.abort()
    },
  }
}
