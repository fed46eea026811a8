import { type Engine, Refusal } from '../engine.ts'

/** Counts accepted calls, whether they then succeed or not, in a rolling minute. */
export function limitCreates(times: number[], limit: number, now: number): void {
  while (times[0] !== undefined && times[0] <= now - 60_000) times.shift()
  const oldest = times[0]
  if (times.length < limit || oldest === undefined) {
    times.push(now)
    return
  }
  const retryAfter = Math.max(1, Math.ceil((oldest + 60_000 - now) / 1_000))
  throw new Refusal(
    429,
    {
      error: 'sprite_creation_rate_limited',
      message: `Sprite creation rate limit exceeded. You can create ${limit} sprites per minute.`,
      limit,
      window_seconds: 60,
      retry_after_seconds: retryAfter,
      current_count: times.length,
      upgrade_available: false,
    },
    {
      'retry-after': String(retryAfter),
      'x-ratelimit-limit': String(limit),
      'x-ratelimit-remaining': '0',
      'x-ratelimit-reset': String(Math.ceil((oldest + 60_000) / 1_000)),
    },
  )
}

/** The plan's limit of Sprites that run at one time. */
export function limitRunning(engine: Engine, limit: number): void {
  const count = engine.list().filter(({ status }) => status === 'running').length
  if (count < limit) return
  throw new Refusal(429, {
    error: 'concurrent_sprite_limit_exceeded',
    message: `Concurrent sprite limit exceeded. Your plan allows ${limit} running sprites.`,
    limit,
    current_count: count,
    upgrade_available: true,
  })
}
