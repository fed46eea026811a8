/**
 * A keyed queue over p-queue, as controllers of this kind have it: a key waits once, runs alone, and one that is added
 * while it runs runs once more. Lanes have slots of their own, so that no kind of work can take another's.
 *
 * Who asks matters to one kind of key only, the one that pauses after a failure. News (somebody edited what it stands for)
 * end the pause, since they may well be the remedy; whoever merely looks round (a tick, a sweep, a probe) does not, or else
 * everything that fails would be tried again at the pace of the quickest of them.
 */
import PQueue from 'p-queue'
import { backoffMs } from '../machines/backoff.ts'
import type { Clock } from '../specs/clock.ts'
import type { Random } from '../specs/random.ts'
import type { Reconcile, Result } from './reconcile.ts'

export const LANES = [
  'deliveries',
  'urgent',
  'deletes',
  'recycles',
  'builds',
  'healing',
  'joins',
  'planning',
  'operations',
] as const
export type Lane = (typeof LANES)[number]

/** Runs at one time. A slot is given back when the run ends, and each call in a run has a deadline of its own. */
export const LANE_SLOTS: Record<Lane, number> = {
  deliveries: 64,
  /** News of ends, taken off the shelf by the rows alone: however many are ill, none of them waits here. */
  urgent: 32,
  deletes: 16,
  recycles: 16,
  builds: 16,
  healing: 64,
  joins: 8,
  planning: 8,
  /** One for each that a person waits for; a look into a Sprite that hangs keeps its own. */
  operations: 16,
}

export interface WorkQueue {
  /** News: looks at the key as soon as its lane has a slot. A key that waits in another lane moves to this one. */
  add(key: string, lane: Lane): void
  /** The same for whoever looks round: a key that pauses after a failure is left to come back by itself. */
  nudge(key: string, lane: Lane): void
  /** A nudge not before `ms` from now, unless somebody adds it earlier; the earlier of two delays holds. */
  nudgeAfter(key: string, lane: Lane, ms: number): void
  /** Waiting and running ones, delays left out. */
  depth(): Record<Lane, { waiting: number; running: number }>
  /**
   * Takes nothing more, forgets all delays, and resolves when what runs has ended: it is asked to by its signal after
   * `limits.abortMs`. Returns the keys that had not ended after `limits.leaveMs`, and is answered by nothing any more.
   */
  drain(limits?: DrainLimits): Promise<string[]>
}

export interface DrainLimits {
  abortMs: number
  leaveMs: number
}

/**
 * ms. 20 s let most calls end by themselves. A call that is sent once is not aborted and has up to 90 s of its own, so
 * together with the end of all else a stop stays within the 100 s that Kubernetes and Railway are told to give.
 */
export const DRAIN_LIMITS: DrainLimits = { abortMs: 20_000, leaveMs: 92_000 }

interface Entry {
  lane: Lane | null // waiting there; null: not waiting
  running: boolean
  again: { lane: Lane; news: boolean } | null // added while it ran
  failures: number
  /** The delay is a pause after a failure. */
  pausing: boolean
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
      entry = {
        lane: null,
        running: false,
        again: null,
        failures: 0,
        pausing: false,
        cancel: null,
        dueAt: 0,
        ticket: 0,
      }
      entries.set(key, entry)
    }
    return entry
  }

  function enqueue(key: string, lane: Lane, news: boolean): void {
    if (closed) return
    const entry = entryOf(key)
    if (entry.pausing && !news) return
    endDelay(entry)
    if (entry.running) {
      entry.again = { lane, news: news || entry.again?.news === true }
      return
    }
    if (entry.lane === lane) return
    entry.lane = lane
    const ticket = ++entry.ticket
    void lanes[lane].add(async () => {
      if (entry.ticket === ticket && entry.lane !== null && !closed) await run(key, entry, lane)
    })
  }

  function endDelay(entry: Entry): void {
    entry.cancel?.()
    entry.cancel = null
    entry.pausing = false
  }

  function enqueueAfter(key: string, lane: Lane, ms: number): void {
    if (closed) return
    if (ms <= 0) {
      enqueue(key, lane, false)
      return
    }
    const entry = entryOf(key)
    const dueAt = clock.monotonic() + ms
    if (entry.lane !== null || entry.pausing || (entry.cancel && entry.dueAt <= dueAt)) return
    delay(key, entry, lane, ms)
  }

  function delay(key: string, entry: Entry, lane: Lane, ms: number): void {
    endDelay(entry)
    entry.dueAt = clock.monotonic() + ms
    entry.cancel = clock.after(ms, () => {
      endDelay(entry)
      enqueue(key, lane, false)
    })
  }

  /** Whatever was asked for meanwhile waits with it, unless it was news. */
  function pause(key: string, entry: Entry, lane: Lane, error: unknown): void {
    const ownMs = backoffMs(entry.failures, random.fraction(), options.backoffBaseMs)
    delay(key, entry, lane, Math.max(ownMs, (saidMs(error) ?? 0) * (1 + random.fraction() / 4)))
    entry.pausing = true
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
    if (again && (again.news || error === null)) enqueue(key, again.lane, true)
    else if (error !== null && !closed) pause(key, entry, again?.lane ?? lane, error)
    else if (result.requeueAfterMs !== undefined)
      enqueueAfter(key, result.lane ?? lane, result.requeueAfterMs)
    // `running`: a lane with a free slot starts the next run within enqueue() above, and the key must stay known meanwhile.
    const idle = !entry.running && entry.lane === null && entry.cancel === null
    if (idle && entry.failures === 0) entries.delete(key)
  }

  return {
    add: (key, lane) => enqueue(key, lane, true),
    nudge: (key, lane) => enqueue(key, lane, false),
    nudgeAfter: enqueueAfter,
    depth: () =>
      Object.fromEntries(
        LANES.map((lane) => [lane, { waiting: lanes[lane].size, running: lanes[lane].pending }]),
      ) as Record<Lane, { waiting: number; running: number }>,
    async drain({ abortMs, leaveMs } = DRAIN_LIMITS) {
      closed = true
      for (const entry of entries.values()) endDelay(entry)
      for (const lane of LANES) lanes[lane].clear()
      const ended = Promise.all(LANES.map((lane) => lanes[lane].onIdle()))
      const left = await within(clock, abortMs, leaveMs, ended, () =>
        stop.abort(new Error('the controller stopped')),
      )
      const running = [...entries].filter(([, { running }]) => running).map(([key]) => key)
      entries.clear()
      return left ? running : []
    },
  }
}

/** Waits for `ended`, calls `hurry` when it takes longer than `hurryMs`; true: it had not ended after `leaveMs`. */
async function within(
  clock: Clock,
  hurryMs: number,
  leaveMs: number,
  ended: Promise<unknown>,
  hurry: () => void,
): Promise<boolean> {
  const cancelHurry = clock.after(hurryMs, hurry)
  let cancelLeave = () => {}
  const late = new Promise<boolean>((resolve) => {
    cancelLeave = clock.after(leaveMs, () => resolve(true))
  })
  const left = await Promise.race([ended.then(() => false), late])
  cancelHurry()
  cancelLeave()
  return left
}

/** ms. Who answers "too many" may say when to come again; sooner is only counted against us. null: nobody said. */
function saidMs(error: unknown): number | null {
  return error instanceof Error && 'retryAfterMs' in error && typeof error.retryAfterMs === 'number'
    ? error.retryAfterMs
    : null
}
