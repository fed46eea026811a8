import { sleep, systemClock } from '../../specs/clock.ts'

export interface Patience {
  /** What is waited for, as the end of a sentence: a failure says that it is "still not …". */
  what: string
  deadlineMs?: number
  everyMs?: number
}

/**
 * Asks again, with a pause, until `look` finds something: anything but undefined, null or false. For what other processes
 * bring about. An error counts as nothing found, and is told when the deadline comes first.
 */
export async function eventually<T>(
  look: () => T | Promise<T>,
  { what, deadlineMs = 20_000, everyMs = 50 }: Patience,
): Promise<NonNullable<Exclude<T, false>>> {
  const end = systemClock.monotonic() + deadlineMs
  let last = ''
  for (;;) {
    try {
      const found = await look()
      if (found !== undefined && found !== null && found !== false)
        return found as NonNullable<Exclude<T, false>>
      last = String(found)
    } catch (error) {
      last = error instanceof Error ? error.message : String(error)
    }
    if (systemClock.monotonic() > end) throw new Error(`after ${deadlineMs} ms still not ${what} (${last})`)
    await sleep(systemClock, everyMs)
  }
}
