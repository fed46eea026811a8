import { type Clock, sleep } from '../../../specs/clock.ts'
import type { SpriteStatus } from './engine.ts'

/** ms, on the emulator's clock. */
export interface SleepTimes {
  /** From the last activity to `warm`: the machine is suspended, its memory kept. */
  warmAfterMs: number
  /** From `warm` to `cold`: memory is gone, processes start anew. */
  coldAfterMs: number
  warmWakeMs: number
  coldWakeMs: number
}

/**
 * 60 to 80 s to warm were measured on live Sprites in August 2026. How long until cold is not published: ten minutes
 * are ours. Wakes are said to take 0.1 to 0.5 s and 1 to 2 s; cold ones of 12 s were measured, and tests should try them.
 */
export const USUAL_SLEEP: SleepTimes = {
  warmAfterMs: 70_000,
  coldAfterMs: 600_000,
  warmWakeMs: 300,
  coldWakeMs: 2_000,
}

/** What an engine does to a machine. */
export interface Vm {
  suspend(): Promise<void>
  resume(): Promise<void>
  powerOff(): Promise<void>
  boot(): Promise<void>
}

/** Whether one Sprite runs, and what keeps it running. */
export interface Power {
  readonly status: SpriteStatus
  /** Of the last start or wake. */
  readonly runningAt: number
  /** When it last fell asleep; null: never. Connections that are older than that are dead. */
  readonly pausedAt: number | null
  /**
   * Something is going on: wakes the Sprite and keeps it awake until the returned function is called. `drop` is called
   * instead when it is put to sleep all the same; every connection breaks then.
   */
  hold(drop?: () => void): Promise<() => void>
  /** A sign of life that does not last. */
  touch(): void
  /** Resolves once it runs, and wakes nothing. */
  whenAwake(): Promise<void>
  /** At once, whatever holds it. */
  fallAsleep(to: 'warm' | 'cold'): Promise<void>
  /** The Sprite is gone: whoever waits goes on and finds that out. */
  stop(): void
}

/** @param times null: never falls asleep by itself, and wakes at once. */
export function createPower(config: {
  clock: Clock
  times: SleepTimes | null
  vm: Vm
  changed: () => void
}): Power {
  const { clock, times, vm, changed } = config
  const holders = new Set<{ drop: () => void }>()
  const waiting = new Set<() => void>()
  let status: SpriteStatus = 'running'
  let runningAt = clock.now()
  let pausedAt: number | null = null
  let cancelNext = () => {}
  let isStopped = false
  /** Falling asleep and waking up happen one after the other. */
  let last: Promise<void> = Promise.resolve()

  function inTurn(run: () => Promise<void>): Promise<void> {
    const result = last.then(run)
    last = result.catch(() => {}) // its caller hears of it
    return result
  }

  function later(ms: number | undefined, run: () => Promise<void>): void {
    cancelNext()
    if (ms === undefined || isStopped) return
    cancelNext = clock.after(ms, () => void inTurn(run).catch(() => {}))
  }

  function waitForIdleness(): void {
    if (holders.size > 0 || status !== 'running') return
    later(times?.warmAfterMs, async () => {
      if (holders.size === 0) await goWarm()
    })
  }

  function become(next: SpriteStatus): void {
    status = next
    if (next === 'running') runningAt = clock.now()
    else if (next === 'warm') pausedAt = clock.now()
    changed()
  }

  async function goWarm(): Promise<void> {
    if (status !== 'running' || isStopped) return
    for (const { drop } of holders) drop()
    holders.clear()
    await vm.suspend()
    become('warm')
    later(times?.coldAfterMs, goCold)
  }

  async function goCold(): Promise<void> {
    if (status !== 'warm' || isStopped) return
    cancelNext()
    await vm.powerOff()
    become('cold')
  }

  async function wake(): Promise<void> {
    if (status === 'running' || isStopped) return
    cancelNext()
    const wakeMs = status === 'warm' ? times?.warmWakeMs : times?.coldWakeMs
    if (wakeMs) await sleep(clock, wakeMs)
    if (status === 'warm') await vm.resume()
    else await vm.boot()
    become('running')
    for (const go of waiting) go()
    waiting.clear()
  }

  waitForIdleness()
  return {
    get status() {
      return status
    },
    get runningAt() {
      return runningAt
    },
    get pausedAt() {
      return pausedAt
    },
    async hold(drop = () => {}) {
      const holder = { drop }
      const release = () => {
        if (holders.delete(holder)) waitForIdleness()
      }
      if (status === 'running') cancelNext()
      holders.add(holder)
      try {
        await inTurn(wake)
      } catch (error) {
        release()
        throw error
      }
      return release
    },
    touch: waitForIdleness,
    async whenAwake() {
      if (status === 'running' || isStopped) return
      await new Promise<void>((resolve) => waiting.add(resolve))
    },
    fallAsleep: (to) =>
      inTurn(async () => {
        await goWarm()
        if (to === 'cold') await goCold()
      }),
    stop() {
      isStopped = true
      cancelNext()
      for (const go of waiting) go()
      waiting.clear()
    },
  }
}
