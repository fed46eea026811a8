import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SpritesRateLimited } from '../../controller/sprites/errors.ts'
import { createWorkQueue, LANES, type Lane } from '../../controller/workqueue.ts'
import { systemRandom } from '../../specs/random.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const random = { ...systemRandom, fraction: () => 0.5 }

function gate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

describe('the work queue', () => {
  it('runs a key that is added while it runs once more, and only once', async () => {
    const clock = virtualClock()
    const first = gate()
    let runs = 0
    const queue = createWorkQueue({
      clock,
      random,
      async reconcile() {
        runs++
        if (runs === 1) await first.opened
        return {}
      },
    })
    queue.add('a', 'builds')
    await clock.advance(0)
    for (const lane of LANES) queue.add('a', lane)
    first.open()
    await clock.advance(0)
    expect(runs).toBe(2)
  })

  it('never runs a key beside itself and loses no add, whatever the order of adds, delays and ends', async () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('add' as const),
        key: fc.constantFrom('a', 'b'),
        lane: fc.constantFrom(...LANES),
      }),
      fc.record({
        kind: fc.constant('nudgeAfter' as const),
        key: fc.constantFrom('a', 'b'),
        lane: fc.constantFrom(...LANES),
        ms: fc.integer({ min: 0, max: 50 }),
      }),
      fc.record({
        kind: fc.constant('nudge' as const),
        key: fc.constantFrom('a', 'b'),
        lane: fc.constantFrom(...LANES),
      }),
      fc.record({ kind: fc.constant('advance' as const), ms: fc.integer({ min: 0, max: 40 }) }),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 25 }),
        fc.integer({ min: 0, max: 7 }),
        async (steps, mode) => {
          const clock = virtualClock()
          const running = new Set<string>()
          const wanted = new Map<string, number>()
          const startedAt = new Map<string, number>()
          let order = 0
          const queue = createWorkQueue({
            clock,
            random,
            backoffBaseMs: 10,
            async reconcile(key) {
              expect(running.has(key)).toBe(false)
              running.add(key)
              startedAt.set(key, ++order)
              await new Promise<void>((resolve) => {
                clock.after(mode % 4 === 0 ? 0 : 7, resolve)
              })
              running.delete(key)
              if (mode >= 4 && order % 3 === 0) throw new Error('a failing pass')
              return mode % 2 === 0 ? {} : { requeueAfterMs: order < 20 ? mode : 1_000_000 }
            },
          })
          for (const action of steps) {
            if (action.kind === 'advance') await clock.advance(action.ms)
            else {
              wanted.set(action.key, ++order)
              if (action.kind === 'add') queue.add(action.key, action.lane)
              else if (action.kind === 'nudge') queue.nudge(action.key, action.lane)
              else queue.nudgeAfter(action.key, action.lane, action.ms)
            }
          }
          await clock.advance(10_000)
          for (const [key, asked] of wanted) expect(startedAt.get(key) ?? 0).toBeGreaterThan(asked)
          await queue.drain()
          expect(clock.waiting()).toBe(0)
        },
      ),
      { numRuns: 150 },
    )
  })

  it('gives each lane slots of its own', async () => {
    const clock = virtualClock()
    const held = gate()
    const seen: Lane[] = []
    const queue = createWorkQueue({
      clock,
      random,
      slots: { builds: 2 },
      async reconcile(_, lane) {
        seen.push(lane)
        if (lane === 'builds') await held.opened
        return {}
      },
    })
    for (let n = 0; n < 10; n++) queue.add(`build ${n}`, 'builds')
    queue.add('claim', 'deliveries')
    await clock.advance(0)
    expect(seen.filter((lane) => lane === 'builds')).toHaveLength(2)
    expect(seen).toContain('deliveries')
    expect(queue.depth().builds).toEqual({ waiting: 8, running: 2 })
    held.open()
    await clock.advance(0)
    expect(seen.filter((lane) => lane === 'builds')).toHaveLength(10)
  })

  it('moves a waiting key to the lane that asks last, so that a claim does not wait behind builds', async () => {
    const clock = virtualClock()
    const held = gate()
    const lanes: string[] = []
    const queue = createWorkQueue({
      clock,
      random,
      slots: { builds: 1 },
      async reconcile(key, lane) {
        lanes.push(`${key} ${lane}`)
        if (key === 'first') await held.opened
        return {}
      },
    })
    queue.add('first', 'builds')
    queue.add('claimed', 'builds')
    await clock.advance(0)
    queue.add('claimed', 'deliveries')
    await clock.advance(0)
    expect(lanes).toEqual(['first builds', 'claimed deliveries'])
    held.open()
    await clock.advance(0)
    expect(lanes).toHaveLength(2)
  })

  it('backs off after failures, doubling, and forgets them after a success', async () => {
    const clock = virtualClock()
    const runs: number[] = []
    const queue = createWorkQueue({
      clock,
      random: { ...random, fraction: () => 1 - Number.EPSILON },
      backoffBaseMs: 1_000,
      async reconcile() {
        runs.push(clock.monotonic())
        if (runs.length <= 3) throw new Error('not yet')
        return {}
      },
    })
    queue.add('a', 'builds')
    await clock.advance(60_000)
    expect(runs).toEqual([0, 1_000, 3_000, 7_000])
  })

  describe('while a key pauses after a failure', () => {
    /** Fails each time; what was asked of it meanwhile, and when it ran. */
    function failing(error: () => Error = () => new Error('not yet')) {
      const clock = virtualClock()
      const runs: number[] = []
      const queue = createWorkQueue({
        clock,
        random: { ...random, fraction: () => 0.5 },
        async reconcile() {
          runs.push(clock.monotonic())
          throw error()
        },
      })
      return { clock, runs, queue }
    }

    it('lets nobody who merely looks round shorten the pause', async () => {
      const { clock, runs, queue } = failing()
      queue.add('a', 'planning')
      for (let tick = 0; tick < 300; tick++) {
        await clock.advance(2_000)
        queue.nudge('a', 'planning')
        queue.nudgeAfter('a', 'planning', 1_000)
      }
      // 0.75, 1.5, 3, … s: twelve pauses fill ten minutes and more.
      expect(runs.length).toBeGreaterThan(5)
      expect(runs.length).toBeLessThan(13)
    })

    it('runs at once for news, also for those that came while it was failing', async () => {
      const { clock, runs, queue } = failing()
      queue.add('a', 'planning')
      await clock.advance(100)
      queue.add('a', 'planning')
      await clock.advance(0)
      expect(runs).toEqual([0, 100])

      const held = gate()
      let passes = 0
      const slow = createWorkQueue({
        clock,
        random,
        async reconcile() {
          if (++passes > 1) return {}
          await held.opened
          throw new Error('not yet')
        },
      })
      slow.add('b', 'builds')
      await clock.advance(0)
      slow.add('b', 'builds')
      slow.nudge('b', 'healing')
      held.open()
      await clock.advance(0)
      expect(passes).toBe(2)
    })

    it('waits at least as long as a limit said', async () => {
      const { clock, runs, queue } = failing(
        () =>
          new SpritesRateLimited('create', 'claw', { code: 'creation', retryAfterMs: 40_000, limit: null }),
      )
      queue.add('a', 'builds')
      await clock.advance(40_000)
      expect(runs).toEqual([0])
      await clock.advance(10_000)
      expect(runs).toHaveLength(2)
    })

    it('backs off as ever where a limit names no time', async () => {
      const { clock, runs, queue } = failing(
        () => new SpritesRateLimited('create', 'claw', { code: 'other', retryAfterMs: null, limit: null }),
      )
      queue.add('a', 'builds')
      await clock.advance(1_000)
      expect(runs).toEqual([0, 750])
    })
  })

  it('takes nothing more once it drains, waits for what runs, and leaves no timer', async () => {
    const clock = virtualClock()
    const held = gate()
    let ended = false
    const queue = createWorkQueue({
      clock,
      random,
      async reconcile(key) {
        if (key === 'slow') {
          await held.opened
          ended = true
        }
        return { requeueAfterMs: 5 }
      },
    })
    queue.add('slow', 'recycles')
    queue.nudgeAfter('later', 'builds', 100)
    await clock.advance(0)
    const drained = queue.drain()
    queue.add('late', 'builds')
    held.open()
    await drained
    expect(ended).toBe(true)
    expect(clock.waiting()).toBe(0)
  })

  it('asks what still runs to end after a while, and does not wait for ever for what does not', async () => {
    const clock = virtualClock()
    const queue = createWorkQueue({
      clock,
      random,
      async reconcile(key, _, signal) {
        await new Promise<void>((resolve) => {
          if (key === 'polite') signal.addEventListener('abort', () => resolve(), { once: true })
        })
        return {}
      },
    })
    queue.add('polite', 'builds')
    queue.add('deaf', 'builds')
    await clock.advance(0)
    let left: string[] | null = null
    void queue.drain({ abortMs: 20_000, leaveMs: 90_000 }).then((keys) => {
      left = keys
    })
    await clock.advance(19_999)
    expect(queue.depth().builds.running).toBe(2)
    await clock.advance(1)
    expect(queue.depth().builds.running).toBe(1)
    expect(left).toBeNull()
    await clock.advance(70_000)
    expect(left).toEqual(['deaf'])
    expect(clock.waiting()).toBe(0)
  })
})
