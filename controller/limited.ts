import { type Clock, DeadlineExceeded, sleep } from '../specs/clock.ts'

/** ms. For one statement whose answer nobody can do without; each takes a few. */
export const STATEMENT_MS = 3_000

/**
 * Waits `STATEMENT_MS` for a statement. On a connection that swallows everything (a firewall that forgot it) no answer and
 * no error ever come. It may take effect all the same.
 * @throws DeadlineExceeded, or the signal's reason
 */
export async function limited<T>(
  clock: Clock,
  what: string,
  statement: Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const over = new AbortController()
  const either = signal ? AbortSignal.any([signal, over.signal]) : over.signal
  const late = sleep(clock, STATEMENT_MS, either).then(() => {
    throw new DeadlineExceeded(what, STATEMENT_MS)
  })
  try {
    return await Promise.race([statement, late])
  } finally {
    over.abort()
  }
}
