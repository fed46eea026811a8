/** The breaker of one revision, from what its row counts: no memory, so it survives every restart. */

/** Doubling stops here. A spec that asks for longer has its way. */
const LONGEST_MS = 3_600_000

export type Breaker =
  | { state: 'closed' }
  | { state: 'open'; untilMs: number; error: string | null }
  /** One build is let through; its end closes the breaker or opens it for twice as long. */
  | { state: 'half-open'; error: string | null }

export function breaker(
  revision: { failures: number; rounds: number; lastFailedAt: Date | null; lastError: string | null },
  failure: { threshold: number; openSeconds: number },
  now: number,
): Breaker {
  if (revision.failures < failure.threshold || !revision.lastFailedAt) return { state: 'closed' }
  const firstMs = failure.openSeconds * 1000
  const openMs = Math.max(firstMs, Math.min(firstMs * 2 ** Math.min(revision.rounds, 20), LONGEST_MS))
  const untilMs = revision.lastFailedAt.getTime() + openMs
  return now < untilMs
    ? { state: 'open', untilMs, error: revision.lastError }
    : { state: 'half-open', error: revision.lastError }
}
