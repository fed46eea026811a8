import type { Clock } from '../specs/clock.ts'
import type { News } from './news.ts'

/** ms between two looks at all that is waited for: while news reach us, only a net under what they might drop. */
const NET_LISTENING_MS = 5_000
const NET_DEAF_MS = 250

export interface Wait {
  timeoutMs: number
  /** The caller went away. */
  signal?: AbortSignal
  /** Look at once: the thing may be over already. Not needed by whoever waits before making it. */
  look?: boolean
}

export interface Waiter<T> {
  /** The value once `over` says so; null when the time is over, the caller has left or the server closes. */
  wait(id: string, over: (value: T) => boolean, options: Wait): Promise<T | null>
  /** Every wait ends, now. */
  close(): void
}

interface Waiting<T> {
  over(value: T): boolean
  end(value: T | null): void
}

export interface WaiterOptions<T> {
  news: News
  /** Kind of the news that name ids worth a look. */
  kind: string
  clock: Clock
  /** One statement for any number of ids. */
  read(ids: readonly string[]): Promise<readonly T[]>
}

/**
 * Requests that wait for rows. News wake them; one statement reads all that were named meanwhile, so a thousand waits
 * cost no more statements than one. A read that fails is no answer: the net reads again, and each wait has its deadline.
 */
export function createWaiter<T extends { id: string }>(options: WaiterOptions<T>): Waiter<T> {
  const { news, clock } = options
  const waiting = new Map<string, Set<Waiting<T>>>()
  const due = new Set<string>()
  let reading = false
  let cancelNet: (() => void) | null = null

  async function look(): Promise<void> {
    if (reading) return // it takes what was added meanwhile
    reading = true
    try {
      while (due.size > 0) {
        const ids = [...due]
        due.clear()
        for (const value of await options.read(ids))
          for (const one of [...(waiting.get(value.id) ?? [])]) if (one.over(value)) one.end(value)
      }
    } catch {
      // the database is away for now
    } finally {
      reading = false
    }
  }

  function lookAtAll(): void {
    for (const id of waiting.keys()) due.add(id)
    void look()
  }

  function stretchNet(): void {
    if (cancelNet || waiting.size === 0) return
    cancelNet = clock.after(news.listening() ? NET_LISTENING_MS : NET_DEAF_MS, () => {
      cancelNet = null
      lookAtAll()
      stretchNet()
    })
  }

  const stops = [
    news.on(options.kind, ({ ids }) => {
      for (const id of ids ?? []) if (waiting.has(id)) due.add(id)
      void look()
    }),
    news.onGap(lookAtAll),
  ]

  return {
    wait(id, over, { timeoutMs, signal, look: atOnce = false }) {
      return new Promise((resolve) => {
        if (signal?.aborted) return resolve(null)
        const one: Waiting<T> = {
          over,
          end(value) {
            cancel()
            signal?.removeEventListener('abort', onAbort)
            others.delete(one)
            if (others.size === 0 && waiting.get(id) === others) waiting.delete(id)
            if (waiting.size === 0) {
              cancelNet?.()
              cancelNet = null
            }
            resolve(value)
          },
        }
        const onAbort = () => one.end(null)
        const cancel = clock.after(timeoutMs, onAbort)
        signal?.addEventListener('abort', onAbort, { once: true })
        const others = waiting.get(id) ?? new Set()
        waiting.set(id, others.add(one))
        stretchNet()
        if (atOnce) {
          due.add(id)
          void look()
        }
      })
    },
    close() {
      for (const stop of stops) stop()
      for (const others of [...waiting.values()]) for (const one of [...others]) one.end(null)
    },
  }
}
