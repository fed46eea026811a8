import { type Clock, sleep } from '../../../../specs/clock.ts'
import { findOwned, type Owned } from './process-table.ts'

/** From TERM to KILL, when the caller says nothing else. */
const GRACE_MS = 2_000
/** From KILL to giving up: a process in an uninterruptible wait of the kernel outlives even that. */
const KILL_LIMIT_MS = 5_000
const LOOK_EVERY_MS = 15

/** Signals a process or, negative, a process group. What is gone already, or of another user, is not ours to end. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException // process.kill throws nothing else
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}

/**
 * Ends all that is owned: TERM, then KILL. Looks again until a look finds nothing, so what was forked between a look
 * and its signal is found by the next one. Throws when even KILL did not help within its time.
 */
export async function endProcesses(clock: Clock, owned: Owned, graceMs = GRACE_MS): Promise<void> {
  const startedAt = clock.monotonic()
  const asked = new Set<number>()
  for (;;) {
    const found = await findOwned(owned)
    if (found.length === 0) return
    const waitedMs = clock.monotonic() - startedAt
    if (waitedMs > graceMs + KILL_LIMIT_MS) {
      throw new Error(`${found.length} processes of a sprite outlived SIGKILL`)
    }
    for (const pid of found) {
      if (waitedMs > graceMs) signalProcess(pid, 'SIGKILL')
      else if (!asked.has(pid)) askToEnd(pid)
      asked.add(pid)
    }
    await sleep(clock, LOOK_EVERY_MS)
  }
}

/** Once for each process: a second TERM could cut a clean end short. */
function askToEnd(pid: number): void {
  signalProcess(pid, 'SIGTERM')
  signalProcess(pid, 'SIGCONT') // a stopped process hears nothing else
}

/** Holds all that is owned still; the returned function lets it go on. */
export async function stopProcesses(owned: Owned): Promise<() => void> {
  const found = await findOwned(owned)
  for (const pid of found) signalProcess(pid, 'SIGSTOP')
  return () => {
    for (const pid of found) signalProcess(pid, 'SIGCONT')
  }
}
