/**
 * Leadership of one pool: a row with an epoch. What it is good for: a decision is fenced by the epoch in the same
 * statement, and a call is begun only while the lease, counted from the moment its last renewal was *sent*, has margin.
 *
 * No statement here is waited for without limit, and each may take effect late, which hurts nobody: a late renewal or taking
 * makes the lease longer than its holder believes, and one that was released is renewed by nobody.
 */
import { type Clock, sleep } from '../specs/clock.ts'
import type { Sql } from '../specs/db/connect.ts'
import { LEASE_SECONDS, releaseLease, renewLease, takeLease } from '../specs/db/leases.ts'
import type { Fence } from '../specs/db/pools.ts'
import { limited } from './limited.ts'

export const RENEW_MS = 3_000
/** No new call in the last 2 s that we count: it must have left before anybody else can lead. */
export const MARGIN_MS = 2_000
/** How often a stand-by looks. */
export const STAND_BY_MS = 1_000
const LEASE_MS = LEASE_SECONDS * 1_000

/** ms. When whoever finds that no call may be begun looks again: a late renewal may still come. Without one all keys end. */
export const LEASE_PAUSE_MS = 1_000

/** A call whose outcome would reach nobody is not begun. */
export class LeaseEnding extends Error {
  override readonly name = 'LeaseEnding'
}

export interface Lead {
  fence: Fence
  /** Aborts when the lease is lost or given up. */
  signal: AbortSignal
  /** May a call that changes something outside be begun now? Ask again right before each. */
  mayCall(): boolean
  /** Calls of the holder before may be under way until then, ms since the epoch; null: it told of none. */
  foreignUntil: number | null
  /** Marks a once-call as under way until `until`, so that a release can name it. Returns its end. */
  underway(until: number): () => void
}

export interface LeaseOptions {
  sql: Sql
  clock: Clock
  pool: string
  holder: string
  /** Called with each lead; resolves when it has stopped acting for it. */
  onLead(lead: Lead): Promise<void>
  onError(error: unknown): void
  /** Calls `wake` when a lease of this pool may have been released: a stand-by looks at once. Returns its end. */
  onRelease(wake: () => void): () => void
}

/** Stands by, leads, stands by again, until `signal` aborts. Then it ends the lead and releases the lease. */
export async function holdLease(options: LeaseOptions, signal: AbortSignal): Promise<void> {
  const { sql, clock, pool, holder } = options
  while (!signal.aborted) {
    const sentAt = clock.monotonic()
    const taken = await limited(clock, 'take the lease', takeLease(sql, pool, holder)).catch(
      (error: unknown) => {
        options.onError(error)
        return null
      },
    )
    if (taken) {
      await leadFor(options, taken.epoch, sentAt, taken.drainUntil, signal)
      // Our own release is no news to us: what ended this lead would end the next one too.
      await sleep(clock, STAND_BY_MS, signal).catch(() => {})
    } else await standBy(options, signal)
  }
}

/** Until the next look: a while, or less when somebody releases the lease meanwhile. */
async function standBy({ clock, onRelease }: LeaseOptions, signal: AbortSignal): Promise<void> {
  const news = new AbortController()
  const end = onRelease(() => news.abort())
  await sleep(clock, STAND_BY_MS, AbortSignal.any([signal, news.signal])).catch(() => {})
  end()
}

async function leadFor(
  options: LeaseOptions,
  epoch: number,
  takenAt: number,
  drainUntil: Date | null,
  signal: AbortSignal,
): Promise<void> {
  const { sql, clock, pool } = options
  const over = new AbortController()
  const end = () => over.abort(new Error('the lead ended'))
  let goodAt = takenAt
  let cancelEnd = () => {}
  /** The end has a timer of its own: no statement that is waited for can put it off. */
  function renewedAt(at: number) {
    goodAt = at
    cancelEnd()
    cancelEnd = clock.after(at + LEASE_MS - clock.monotonic(), end)
  }
  renewedAt(takenAt)
  const calls = new Map<number, number>()
  let nextCall = 0
  const lead: Lead = {
    fence: { pool, epoch },
    signal: over.signal,
    mayCall: () =>
      !over.signal.aborted && !signal.aborted && clock.monotonic() - goodAt < LEASE_MS - MARGIN_MS,
    foreignUntil: drainUntil?.getTime() ?? null,
    underway(until) {
      const id = nextCall++
      calls.set(id, until)
      return () => calls.delete(id)
    },
  }
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end() // while the lease was being taken: no event tells of it any more
  // Whatever ends the acting ends the lead: nobody holds a lease that nothing is done with.
  const acting = over.signal.aborted
    ? Promise.resolve()
    : options.onLead(lead).catch(options.onError).finally(end)

  while (!over.signal.aborted) {
    await sleep(clock, RENEW_MS, over.signal).catch(() => {})
    if (over.signal.aborted) break
    const sentAt = clock.monotonic()
    const renewed = await limited(clock, 'renew the lease', renewLease(sql, pool, epoch), over.signal).catch(
      (error: unknown) => {
        if (!over.signal.aborted) options.onError(error)
        return null // not an answer: the lease may still be ours, until its own end
      },
    )
    if (renewed) renewedAt(sentAt)
    else if (renewed === false) end()
  }
  cancelEnd()
  // Named before the last outcomes are written: the next leader may lead at once, and lets these attempts be until then.
  await release(options, epoch, calls.size > 0 ? new Date(Math.max(...calls.values())) : null)
  await acting
  signal.removeEventListener('abort', end)
}

const release = ({ sql, clock, pool, onError }: LeaseOptions, epoch: number, until: Date | null) =>
  limited(clock, 'release the lease', releaseLease(sql, pool, epoch, until)).catch(onError)
