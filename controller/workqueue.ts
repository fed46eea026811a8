/**
 * A keyed queue over p-queue, as controllers of this kind have it: a key waits once, runs alone, and one that is added
 * while it runs runs once more. Lanes have slots of their own, so that no kind of work can take another's.
 */
import PQueue from 'p-queue'
import { backoffMs } from '../machines/backoff.ts'
import type { Clock } from '../specs/clock.ts'
import type { Random } from '../specs/random.ts'
import type { Reconcile, Result } from './reconcile.ts'

export const LANES = ['deliveries', 'deletes', 'recycles', 'builds', 'healing', 'joins', 'planning'] as const
export type Lane = (typeof LANES)[number]

/** Runs at one time. A slot is given back when the run ends, and each call in a run has a deadline of its own. */
export const LANE_SLOTS: Record<Lane, number> = {
  deliveries: 64,
  deletes: 16,
  recycles: 16,
  builds: 16,
  healing: 64,
  joins: 8,
  planning: 8,
}

export interface WorkQueue {
  /** Looks at the key as soon as its lane has a slot. A key that waits in another lane moves to this one. */
  add(key: string, lane: Lane): void
  /** Not before `ms` from now, unless somebody adds it earlier; the earlier of two delays holds. */
  addAfter(key: string, lane: Lane, ms: number): void
  /** Waiting and running ones, delays left out. */
  depth(): Record<Lane, { waiting: number; running: number }>
  /** Takes nothing more, forgets all delays, and resolves when what runs has ended. */
  drain(): Promise<void>
}

interface Entry {
  lane: Lane | null // waiting there; null: not waiting
  running: boolean
  again: Lane | null // added while it ran
  failures: number
  cancel: (() => void) | null
  dueAt: number
  /** Tells a stale place in a lane from the one that counts. */
  ticket: number
}

export interface WorkQueueOptions {
  clock: Clock
  random: Random
  reconcile: Reconcile
  slots?: Partial<Record<Lane, number>>
  /** One call for each run's end. The error has been counted and the key comes back by itself. */
  onEnd?: (run: { key: string; lane: Lane; ms: number; error: unknown; failures: number }) => void
  /** First pause after a failure, ms; doubles up to five minutes. */
  backoffBaseMs?: number
}

export function createWorkQueue(options: WorkQueueOptions): WorkQueue {
  const { clock, random, reconcile } = options
  const entries = new Map<string, Entry>()
  const lanes = Object.fromEntries(
    LANES.map((lane) => [lane, new PQueue({ concurrency: options.slots?.[lane] ?? LANE_SLOTS[lane] })]),
  ) as Record<Lane, PQueue>
  const stop = new AbortController()
  let closed = false

  function entryOf(key: string): Entry {
    let entry = entries.get(key)
    if (!entry) {
      entry = { lane: null, running: false, again: null, failures: 0, cancel: null, dueAt: 0, ticket: 0 }
      entries.set(key, entry)
    }
    return entry
  }

  function add(key: string, lane: Lane): void {
    if (closed) return
    const entry = entryOf(key)
    entry.cancel?.()
    entry.cancel = null
    if (entry.running) {
      entry.again = lane
      return
    }
    if (entry.lane === lane) return
    entry.lane = lane
    const ticket = ++entry.ticket
    void lanes[lane].add(async () => {
      if (entry.ticket === ticket && entry.lane !== null && !closed) await run(key, entry, lane)
    })
  }

  function addAfter(key: string, lane: Lane, ms: number): void {
    if (closed) return
    if (ms <= 0) {
      add(key, lane)
      return
    }
    const entry = entryOf(key)
    const dueAt = clock.monotonic() + ms
    if (entry.lane !== null || (entry.cancel && entry.dueAt <= dueAt)) return
    entry.cancel?.()
    entry.dueAt = dueAt
    entry.cancel = clock.after(ms, () => {
      entry.cancel = null
      add(key, lane)
    })
  }

  async function run(key: string, entry: Entry, lane: Lane): Promise<void> {
    entry.lane = null
    entry.running = true
    const startedAt = clock.monotonic()
    let result: Result = {}
    let error: unknown = null
    try {
      result = await reconcile(key, lane, stop.signal)
      entry.failures = 0
    } catch (thrown) {
      error = thrown
      entry.failures += 1
    }
    entry.running = false
    options.onEnd?.({ key, lane, ms: clock.monotonic() - startedAt, error, failures: entry.failures })
    const again = entry.again
    entry.again = null
    if (again !== null && error === null) add(key, again)
    else if (error !== null)
      addAfter(key, again ?? lane, backoffMs(entry.failures, random.fraction(), options.backoffBaseMs))
    else if (result.requeueAfterMs !== undefined) addAfter(key, result.lane ?? lane, result.requeueAfterMs)
    // `running`: a lane with a free slot starts the next run within add() above, and the key must stay known meanwhile.
    const idle = !entry.running && entry.lane === null && entry.cancel === null
    if (idle && entry.failures === 0) entries.delete(key)
  }

  return {
    add,
    addAfter,
    depth: () =>
      Object.fromEntries(
        LANES.map((lane) => [lane, { waiting: lanes[lane].size, running: lanes[lane].pending }]),
      ) as Record<Lane, { waiting: number; running: number }>,
    async drain() {
      closed = true
      for (const entry of entries.values()) entry.cancel?.()
      for (const lane of LANES) lanes[lane].clear()
      await Promise.all(LANES.map((lane) => lanes[lane].onIdle()))
      stop.abort(new Error('the controller stopped'))
      entries.clear()
    },
  }
}
