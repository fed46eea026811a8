import { pino } from 'pino'
import { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type ClaimsDeps, claimsReconciler } from '../../controller/claims/reconciler.ts'
import type { GatewayClient } from '../../controller/gateway/client.ts'
import { LEASE_PAUSE_MS } from '../../controller/lease.ts'
import { controllerMetrics } from '../../controller/metrics.ts'
import { type PoolDeps, poolReconciler } from '../../controller/pool/reconciler.ts'
import { type ControllerConfig, runPool } from '../../controller/pool-runner.ts'
import type { SpritesClient } from '../../controller/sprites/client.ts'
import { SpritesUnavailable } from '../../controller/sprites/errors.ts'
import { LANE_SLOTS } from '../../controller/workqueue.ts'
import { spriteFiles } from '../../deploy/sprite/templates.ts'
import type { Clock } from '../../specs/clock.ts'
import { systemClock } from '../../specs/clock.ts'
import type { Sql } from '../../specs/db/connect.ts'
import { loadInstances, requestDestroy } from '../../specs/db/instances.ts'
import { createNewsHub, type NewsHub } from '../../specs/db/news-hub.ts'
import type { Fence } from '../../specs/db/pools.ts'
import { systemRandom } from '../../specs/random.ts'
import { aPool, idle, idleOnes, put } from '../support/builders.ts'
import { type TestDatabase, testDatabase } from '../support/database.ts'
import { until } from '../support/until.ts'
import { type VirtualClock, virtualClock } from '../support/virtual-clock.ts'

const RECONCILE_MS = 300_000
const CONFIG: ControllerConfig = {
  namePrefix: 'claw-dev',
  account: 'test',
  anthropicApiKey: null,
  tickMs: 30_000,
  reconcileMs: RECONCILE_MS,
  eventsDays: 14,
  specVariables: {},
}

let database: TestDatabase
let sql: Sql
let news: NewsHub
beforeAll(async () => {
  database = await testDatabase()
  sql = database.sql
  news = createNewsHub({
    sql,
    connect: (hooks) => database.connect({ max: 1, ...hooks }),
    clock: systemClock,
    random: systemRandom,
  })
  await until(() => news.listening(), { what: 'the echo' })
})
afterAll(async () => {
  await news.close()
  await database.drop()
})

let fence: Fence
let clock: VirtualClock
let end = async () => {}
beforeEach(async () => {
  fence = await aPool(sql, { minIdle: 0, maxTotal: 200 })
  clock = virtualClock(systemClock.now())
  end = async () => {}
})
afterEach(() => end())

/** One pool, led until the test's end, on a provider and gateways of the test's own. */
function lead(
  outside: { sprites?: Partial<SpritesClient>; gateway?: Partial<GatewayClient> },
  its: Clock = clock,
) {
  const over = new AbortController()
  const silent = new Proxy({} as SpritesClient, {
    get: (_, call) => () => Promise.reject(new SpritesUnavailable(String(call), 'claw', null)),
    ownKeys: () => [],
  })
  const running = runPool(
    {
      sql,
      clock: its,
      random: systemRandom,
      sprites: { ...silent, list: async () => ({ sprites: [] }), ...outside.sprites },
      gateway: {
        status: async () => ({ kind: 'down', why: 'no answer' }),
        ...outside.gateway,
      } as GatewayClient,
      files: spriteFiles,
      news,
      log: pino({ enabled: false }),
      metrics: controllerMetrics(new Registry()),
      config: CONFIG,
    },
    {
      fence,
      signal: over.signal,
      mayCall: () => !over.signal.aborted,
      foreignUntil: null,
      underway: () => () => {},
    },
  )
  end = async () => {
    over.abort(new Error('the test is over'))
    let ended = false
    void running.finally(() => {
      ended = true
    })
    await until(
      async () => {
        await clock.advance(100_000)
        return ended
      },
      { what: 'the end' },
    )
    await running
  }
}

describe('a pool that is led', () => {
  it('takes note of an end at once, though more are ill than there are slots to heal them', async () => {
    const ids = await idleOnes(sql, fence, LANE_SLOTS.healing + 6)
    for (const id of ids) await put(sql, fence, id, { ...idle(), sprite_url: `http://${id}.test` })
    await sql`update instance_probes set strikes = 9, failed_at = now() where instance_id = any (${ids})`
    const asked = new Set<string>()
    lead({
      gateway: {
        status(url, _, __, signal) {
          asked.add(new URL(url).hostname.replace('.test', ''))
          return new Promise((_resolve, reject) => {
            signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
          })
        },
      },
    })
    await until(() => asked.size === LANE_SLOTS.healing, { what: 'all slots hang' })
    const waiting = ids.find((id) => !asked.has(id)) ?? ''
    await requestDestroy(sql, fence.pool, waiting, null)
    await until(async () => (await loadInstances(sql, [waiting]))[0]?.instance.phase === 'deleting', {
      what: 'the one that was destroyed leaves the shelf',
    })
  })

  it('reads the list when it is old enough, though its own timer was lost, and not more often', async () => {
    const readAt: number[] = []
    const startedAt = clock.monotonic()
    const forgetful: Clock = {
      ...clock,
      after: (ms, run) => (ms === RECONCILE_MS ? () => {} : clock.after(ms, run)),
    }
    lead(
      {
        sprites: {
          async list() {
            readAt.push(clock.monotonic() - startedAt)
            return { sprites: [] }
          },
        },
      },
      forgetful,
    )
    await until(() => readAt.length === 1, { what: 'the first list' })
    for (let passed = 0; passed < RECONCILE_MS + CONFIG.tickMs; passed += CONFIG.tickMs / 2) {
      await clock.advance(CONFIG.tickMs / 2)
      await until(async () => (await sql`select 1`).length === 1, { what: 'the database' })
    }
    await until(() => readAt.length === 2, { what: 'the second list' })
    expect(readAt[1]).toBeGreaterThanOrEqual(RECONCILE_MS)
  })
})

describe('while no call may be begun', () => {
  const ending = { lead: { mayCall: () => false } }
  it.each([
    ['the plan', () => poolReconciler(ending as PoolDeps)()],
    ['the claims', () => claimsReconciler(ending as ClaimsDeps)()],
  ])('%s is looked at again: a late renewal may still come', async (_, reconcile) => {
    expect(await reconcile()).toEqual({ requeueAfterMs: LEASE_PAUSE_MS })
  })
})
