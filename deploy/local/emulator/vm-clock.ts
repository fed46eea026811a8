import type { Clock } from '../../../specs/clock.ts'

/** The timers of one machine: they stand still while it is suspended, and are gone with its memory. */
export interface VmClock extends Clock {
  pause(): void
  resume(): void
  clear(): void
}

interface Timer {
  leftMs: number
  armedAt: number
  run: () => void
  cancel: () => void
}

/** Only timers stop; the wall clock and the monotonic one are the outer one's, as a machine's are after it wakes. */
export function vmClock(outer: Clock): VmClock {
  const timers = new Set<Timer>()
  let isPaused = false

  function arm(timer: Timer): void {
    timer.armedAt = outer.monotonic()
    timer.cancel = outer.after(timer.leftMs, () => {
      timers.delete(timer)
      timer.run()
    })
  }

  return {
    now: () => outer.now(),
    monotonic: () => outer.monotonic(),
    after(ms, run) {
      const timer: Timer = { leftMs: ms, armedAt: 0, run, cancel() {} }
      timers.add(timer)
      if (!isPaused) arm(timer)
      return () => {
        timers.delete(timer)
        timer.cancel()
      }
    },
    pause() {
      if (isPaused) return
      isPaused = true
      for (const timer of timers) {
        timer.cancel()
        timer.leftMs = Math.max(0, timer.leftMs - (outer.monotonic() - timer.armedAt))
      }
    },
    resume() {
      if (!isPaused) return
      isPaused = false
      for (const timer of timers) arm(timer)
    },
    clear() {
      for (const timer of timers) timer.cancel()
      timers.clear()
    },
  }
}
