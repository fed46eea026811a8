import type { Clock } from '../../specs/clock.ts'

export interface VirtualClock extends Clock {
  /** Moves time on and runs what is due, in order; lets promises settle in between. */
  advance(ms: number): Promise<void>
  /** Timers that wait. */
  waiting(): number
}

/** Promises that follow one another in a chain of this length settle within one step. */
const TURNS = 20

export function virtualClock(start = Date.UTC(2026, 0, 1)): VirtualClock {
  let elapsed = 0
  let next = 0
  const timers = new Map<number, { at: number; run: () => void }>()
  const settle = async () => {
    for (let turn = 0; turn < TURNS; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
  }
  return {
    now: () => start + elapsed,
    monotonic: () => elapsed,
    after(ms, run) {
      const id = next++
      timers.set(id, { at: elapsed + Math.max(0, ms), run })
      return () => timers.delete(id)
    },
    waiting: () => timers.size,
    async advance(ms) {
      const end = elapsed + ms
      await settle()
      for (;;) {
        const due = [...timers]
          .filter(([, { at }]) => at <= end)
          .sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0]
        if (!due) break
        timers.delete(due[0])
        elapsed = Math.max(elapsed, due[1].at)
        due[1].run()
        await settle()
      }
      elapsed = end
    },
  }
}
