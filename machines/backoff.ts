/**
 * Exponential backoff with full jitter over its upper half: `failures` 1 → about `baseMs`, doubling up to `maxMs`.
 * `fraction` is a random number in [0, 1): callers that failed together do not come back together.
 */
export function backoffMs(failures: number, fraction: number, baseMs = 1_000, maxMs = 300_000): number {
  const full = Math.min(baseMs * 2 ** Math.min(Math.max(0, failures - 1), 30), maxMs)
  return Math.round(full / 2 + (full / 2) * fraction)
}

/** First look after 100 ms, then a quarter of what has passed, at most 5 s: quick for the quick, cheap for the slow. */
export function nextLookMs(elapsedMs: number): number {
  return Math.min(5_000, Math.max(100, Math.round(elapsedMs / 4)))
}
