import { describe, expect, it } from 'vitest'
import { type Clock, DeadlineExceeded, deadline, sleep } from '../../specs/clock.ts'

/** A clock whose time passes when it is told to; `pending` counts timers that nobody cancelled. */
function stoppedClock() {
  const timers = new Map<number, { at: number; run: () => void }>()
  let now = 0
  let next = 0
  const clock: Clock = {
    now: () => now,
    monotonic: () => now,
    after(ms, run) {
      const id = next++
      timers.set(id, { at: now + ms, run })
      return () => timers.delete(id)
    },
  }
  return {
    clock,
    pending: () => timers.size,
    advance(ms: number) {
      now += ms
      for (const [id, { at, run }] of [...timers]) if (at <= now && timers.delete(id)) run()
    },
  }
}

describe('sleep', () => {
  it('resolves when its time is over, and not before', async () => {
    const time = stoppedClock()
    let woken = false
    const slept = sleep(time.clock, 1_000).then(() => {
      woken = true
    })
    time.advance(999)
    await Promise.resolve()
    expect(woken).toBe(false)
    time.advance(1)
    await slept
    expect(woken).toBe(true)
  })

  it('rejects with the reason as soon as it is aborted, and leaves no timer', async () => {
    const time = stoppedClock()
    const stop = new AbortController()
    const slept = sleep(time.clock, 1_000, stop.signal)
    stop.abort(new Error('shutting down'))
    await expect(slept).rejects.toThrow('shutting down')
    expect(time.pending()).toBe(0)
  })

  it('begins no timer when it is aborted already', async () => {
    const time = stoppedClock()
    await expect(sleep(time.clock, 1_000, AbortSignal.abort(new Error('over')))).rejects.toThrow('over')
    expect(time.pending()).toBe(0)
  })
})

describe('deadline', () => {
  it('aborts with what took too long, and how long that was', () => {
    const time = stoppedClock()
    const { signal } = deadline(time.clock, 'getSprite', 500)
    time.advance(499)
    expect(signal.aborted).toBe(false)
    time.advance(1)
    expect(signal.reason).toBeInstanceOf(DeadlineExceeded)
    expect(String(signal.reason)).toBe('DeadlineExceeded: getSprite: no answer within 500 ms')
  })

  it('aborts with the parent’s reason, before or after it began', () => {
    const time = stoppedClock()
    const stop = new AbortController()
    const before = deadline(time.clock, 'x', 500, stop.signal)
    stop.abort(new Error('lease lost'))
    expect(before.signal.reason).toEqual(new Error('lease lost'))
    expect(deadline(time.clock, 'x', 500, stop.signal).signal.reason).toEqual(new Error('lease lost'))
  })

  it('leaves no timer and hears nothing once it is done', () => {
    const time = stoppedClock()
    const stop = new AbortController()
    const { signal, done } = deadline(time.clock, 'x', 500, stop.signal)
    done()
    done()
    time.advance(1_000)
    stop.abort()
    expect(signal.aborted).toBe(false)
    expect(time.pending()).toBe(0)
  })
})
