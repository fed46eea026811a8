/**
 * Leadership of one pool: a row with an epoch. What it is good for: a decision is fenced by the epoch in the same
 * statement, and a call is begun only while the lease, counted from the moment its last renewal was *sent*, has margin.
 */
import { type Clock, sleep } from '../specs/clock.ts'
import type { Sql } from '../specs/db/connect.ts'
import { LEASE_SECONDS, releaseLease, renewLease, takeLease } from '../specs/db/leases.ts'
import type { Fence } from '../specs/db/pools.ts'

export const RENEW_MS = 3_000
/** No new call in the last 2 s that we count: it must have left before anybody else can lead. */
export const MARGIN_MS = 2_000
/** How often a stand-by looks. */
export const STAND_BY_MS = 1_000

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
}

/** Stands by, leads, stands by again, until `signal` aborts. Then it ends the lead and releases the lease. */
export async function holdLease(options: LeaseOptions, signal: AbortSignal): Promise<void> {
  const { sql, clock, pool, holder } = options
  while (!signal.aborted) {
    const sentAt = clock.monotonic()
    const taken = await takeLease(sql, pool, holder).catch((error: unknown) => {
      options.onError(error)
      return null
    })
    if (taken) await leadFor(options, taken.epoch, sentAt, taken.drainUntil, signal)
    await sleep(clock, STAND_BY_MS, signal).catch(() => {})
  }
}

async function leadFor(
  options: LeaseOptions,
  epoch: number,
  takenAt: number,
  drainUntil: Date | null,
  signal: AbortSignal,
): Promise<void> {
  const { sql, clock, pool } = options
  let goodAt = takenAt
  const over = new AbortController()
  const calls = new Map<number, number>()
  let nextCall = 0
  const lead: Lead = {
    fence: { pool, epoch },
    signal: over.signal,
    mayCall: () =>
      !over.signal.aborted &&
      !signal.aborted &&
      clock.monotonic() - goodAt < LEASE_SECONDS * 1000 - MARGIN_MS,
    foreignUntil: drainUntil?.getTime() ?? null,
    underway(until) {
      const id = nextCall++
      calls.set(id, until)
      return () => calls.delete(id)
    },
  }
  const end = () => over.abort(new Error('the lead ended'))
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
    const renewed = await renewLease(sql, pool, epoch).catch((error: unknown) => {
      options.onError(error)
      return null // not an answer: the lease may still be ours, until its own end
    })
    if (renewed) goodAt = sentAt
    else if (renewed === false || clock.monotonic() - goodAt >= LEASE_SECONDS * 1000) end()
  }
  // Named before the last outcomes are written: the next leader may lead at once, and lets these attempts be until then.
  const until = calls.size > 0 ? new Date(Math.max(...calls.values())) : null
  await releaseLease(sql, pool, epoch, until).catch(options.onError)
  await acting
  signal.removeEventListener('abort', end)
}
