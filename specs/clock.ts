/**
 * Time and chance, as arguments. Everything outside this file (and `random.ts`) that needs the time, a timer
 * or a random word takes one of these, so that a test or a simulation can own all of them.
 */
export interface Clock {
  /** Wall clock, ms since the epoch. May jump; never use it to measure a duration. */
  now(): number
  /** ms from an arbitrary start that only grows. For durations and for the lease's own count. */
  monotonic(): number
  /** Calls `run` once, about `ms` later. The returned function cancels it and may be called at any time. */
  after(ms: number, run: () => void): () => void
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, Math.min(ms, 2_147_483_647)) // longer delays would fire at once
    return () => clearTimeout(timer)
  },
}

/** Resolves `ms` later; rejects with the signal's reason as soon as it aborts. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = () => {
      cancel()
      reject(signal?.reason)
    }
    const cancel = clock.after(ms, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** What ended a wait that had a deadline. */
export class DeadlineExceeded extends Error {
  override readonly name = 'DeadlineExceeded'
  readonly operation: string
  readonly afterMs: number
  constructor(operation: string, afterMs: number) {
    super(`${operation}: no answer within ${afterMs} ms`)
    this.operation = operation
    this.afterMs = afterMs
  }
}

/** A signal that aborts with `DeadlineExceeded` after `ms`, or with the parent's reason. Call `done()` on every path. */
export function deadline(clock: Clock, operation: string, ms: number, parent?: AbortSignal) {
  const controller = new AbortController()
  const onAbort = () => controller.abort(parent?.reason)
  if (parent?.aborted) controller.abort(parent.reason)
  else parent?.addEventListener('abort', onAbort, { once: true })
  const cancel = clock.after(ms, () => controller.abort(new DeadlineExceeded(operation, ms)))
  return {
    signal: controller.signal,
    done() {
      cancel()
      parent?.removeEventListener('abort', onAbort)
    },
  }
}
