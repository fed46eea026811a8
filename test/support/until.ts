export interface Awaited {
  /** Of the sentence when it does not come: "<what>: not within … ms". */
  what: string
  deadlineMs?: number
  /** Between two looks. 0: each turn of the event loop. */
  everyMs?: number
}

/**
 * Awaits what real I/O and real processes bring about, with a deadline. `look` is asked again until it gives something
 * true; one that throws has not seen it yet, and its last error is told when the deadline passes.
 */
export async function until<T>(
  look: () => T | Promise<T>,
  { what, deadlineMs = 20_000, everyMs = 20 }: Awaited,
): Promise<NonNullable<T>> {
  const end = performance.now() + deadlineMs
  let last: unknown = null
  for (;;) {
    try {
      const seen = await look()
      if (seen) return seen as NonNullable<T>
      last = null
    } catch (error) {
      last = error
    }
    if (performance.now() > end)
      throw new Error(
        `${what}: not within ${deadlineMs} ms${last instanceof Error ? ` (${last.message})` : ''}`,
      )
    await new Promise<void>((resolve) => (everyMs > 0 ? setTimeout(resolve, everyMs) : setImmediate(resolve)))
  }
}
