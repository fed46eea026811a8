import { z } from 'zod'
import type { Clock } from '../clock.ts'
import type { Random } from '../random.ts'
import type { ConnectOptions, Sql } from './connect.ts'

/** All news go over one channel; `functions/01_triggers.sql` writes most of them. */
export const CHANNEL = 'clawpool'

/** A hint where to look, never what to believe. `more`: the list of ids was cut. */
export const News = z.object({
  kind: z.string(),
  pool: z.string().exactOptional(),
  ids: z.array(z.string()).exactOptional(),
  bound: z.array(z.string()).exactOptional(),
  more: z.boolean().exactOptional(),
})
export type News = z.infer<typeof News>

const ECHO = 'echo'
const ECHO_LIMIT_MS = 2_000
const ATTACH_LIMIT_MS = 15_000
const CHECK_EVERY_MS = 60_000
const RETRY_MS = { first: 250, most: 30_000 }

export interface Listener {
  /** Would news reach us? False: poll. */
  listening(): boolean
  close(): Promise<void>
}

export interface ListenerOptions {
  /** What everybody writes through: the echo goes the way of real news. */
  sql: Sql
  /** A pool of one connection for LISTEN alone, past a pooler where there is one. Called again for each new try. */
  connect(hooks: Required<Pick<ConnectOptions, 'onnotify' | 'onclose'>>): Sql
  clock: Clock
  random: Random
  onNews(news: News): void
  /** News may have been missed (connected, connected again, a payload nobody understands): look at everything. */
  onGap(): void
}

export async function tell(sql: Sql, news: News): Promise<void> {
  await sql`select pg_notify(${CHANNEL}, ${JSON.stringify(news)})`
}

/**
 * LISTEN, believed only while it echoes. A transaction pooler accepts LISTEN and delivers nothing, a firewall drops a
 * silent connection without a word: so we send ourselves a random word at the start, after each reconnect and every
 * minute, and without its echo within two seconds `listening()` is false, until one is heard.
 */
export function createListener(options: ListenerOptions): Listener {
  const { clock, random } = options
  let client: Sql | null = null
  let attached = false
  let heard = false
  let failures = 0
  let word = ''
  let cancel = () => {}
  let closed = false

  /** One timer at a time: what happens next unless something else happens first. */
  function next(ms: number, run: () => void) {
    cancel()
    cancel = clock.after(ms, run)
  }

  function attach() {
    const mine = options.connect({
      onnotify: (channel, payload) => mine === client && channel === CHANNEL && hear(payload),
      onclose: () => mine === client && attached && retry(),
    })
    client = mine
    next(ATTACH_LIMIT_MS, retry)
    mine.unsafe(`listen ${CHANNEL}`).then(
      () => {
        if (mine !== client) return
        attached = true
        options.onGap() // after LISTEN is in place: what is committed from here on reaches us
        echo()
      },
      () => mine === client && retry(),
    )
  }

  function echo() {
    word = random.word(16)
    next(ECHO_LIMIT_MS, () => {
      heard = false
      next(CHECK_EVERY_MS - ECHO_LIMIT_MS, () => {
        detach()
        attach()
      })
    })
    tell(options.sql, { kind: ECHO, ids: [word] }).catch(() => {}) // no echo, then: the limit above says so
  }

  function hear(payload: string) {
    const news = News.safeParse(parseJson(payload))
    if (!news.success) return options.onGap()
    if (news.data.kind !== ECHO) return options.onNews(news.data)
    if (news.data.ids?.[0] !== word) return // of another process
    heard = true
    failures = 0
    next(CHECK_EVERY_MS, echo)
  }

  function retry() {
    detach()
    const ms = Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** failures++)
    next(ms * (0.5 + random.fraction() / 2), attach)
  }

  function detach(): Promise<void> {
    cancel()
    const old = client
    client = null
    attached = false
    heard = false
    return old?.end({ timeout: 0 }).catch(() => {}) ?? Promise.resolve()
  }

  attach()
  return {
    listening: () => heard && !closed,
    close() {
      closed = true
      return detach()
    },
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
