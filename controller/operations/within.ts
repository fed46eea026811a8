import { type Clock, deadline } from '../../specs/clock.ts'

/**
 * One outside question and its limit, whether or not the call heeds its signal.
 * @throws DeadlineExceeded, the parent's reason, or what the call throws
 */
export async function within<T>(
  clock: Clock,
  what: string,
  ms: number,
  parent: AbortSignal,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = deadline(clock, what, ms, parent)
  let cut = () => {}
  try {
    limit.signal.throwIfAborted()
    const late = new Promise<never>((_, reject) => {
      cut = () => reject(limit.signal.reason)
      limit.signal.addEventListener('abort', cut, { once: true })
    })
    return await Promise.race([call(limit.signal), late])
  } finally {
    limit.done()
    limit.signal.removeEventListener('abort', cut)
  }
}
