/**
 * Awaits what real I/O brings about, with a deadline; never a sleep. `look` is asked again after each turn of the event
 * loop and may be a query itself.
 */
export async function until<T>(
  what: string,
  look: () => T | Promise<T>,
  deadlineMs = 10_000,
): Promise<NonNullable<T>> {
  const end = performance.now() + deadlineMs
  for (;;) {
    const seen = await look()
    if (seen) return seen as NonNullable<T>
    if (performance.now() > end) throw new Error(`${what}: not within ${deadlineMs} ms`)
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
}
