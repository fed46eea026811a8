import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { holdLease, type Lead, MARGIN_MS, RENEW_MS, STAND_BY_MS } from '../../controller/lease.ts'
import { STATEMENT_MS } from '../../controller/limited.ts'
import { systemClock } from '../../specs/clock.ts'
import type { Sql } from '../../specs/db/connect.ts'
import { LEASE_SECONDS, releaseLease, takeLease } from '../../specs/db/leases.ts'
import { createNewsHub } from '../../specs/db/news-hub.ts'
import { ensurePool } from '../../specs/db/pools.ts'
import { systemRandom } from '../../specs/random.ts'
import { SPEC } from '../support/builders.ts'
import { type TestDatabase, testDatabase } from '../support/database.ts'
import { until } from '../support/until.ts'
import { virtualClock } from '../support/virtual-clock.ts'

let database: TestDatabase
let sql: Sql
beforeAll(async () => {
  database = await testDatabase()
  sql = database.sql
  // The database's clock is the tests' too: leases end by it.
  await sql`create table test_clock (now timestamptz not null)`
  await sql`insert into test_clock values ('2026-01-01T00:00:00Z')`
  await sql`create or replace function pool_now() returns timestamptz language sql volatile as 'select now from test_clock'`
})
afterAll(() => database.drop())

let pool = ''
beforeEach(async () => {
  pool = systemRandom.word(10)
  await ensurePool(sql, { name: pool, uid: systemRandom.word(16), spec: SPEC, appliedEnvironment: {} })
})

const passInDatabase = (ms: number) =>
  sql`update test_clock set now = now + make_interval(secs => ${ms / 1000})`
const row = async () => {
  const [lease] = await sql<
    { holder: string; epoch: number; ends: Date; drain_until: Date | null; live: boolean }[]
  >`
    select holder, epoch, expires_at as ends, drain_until, expires_at > pool_now() as live from leases where pool = ${pool}`
  return lease
}

/** A controller that does nothing but lead. */
function contender(
  holder: string,
  on: Sql = sql,
  onRelease: (wake: () => void) => () => void = () => () => {},
) {
  const clock = virtualClock()
  const stop = new AbortController()
  const leads: Lead[] = []
  const errors: unknown[] = []
  let end = () => {}
  const held = holdLease(
    {
      sql: on,
      clock,
      pool,
      holder,
      onLead(lead) {
        leads.push(lead)
        return new Promise<void>((resolve) => {
          end = resolve
          lead.signal.addEventListener('abort', () => resolve(), { once: true })
        })
      },
      onError: (error) => errors.push(error),
      onRelease,
    },
    stop.signal,
  )
  return {
    clock,
    leads,
    errors,
    endActing: () => end(),
    async stop() {
      stop.abort(new Error('stop'))
      await held
    },
  }
}

describe('the lease of a pool', () => {
  it('is held by one; a stand-by leads as soon as it looks after the release, with the next epoch', async () => {
    const first = contender('first')
    await until(() => first.leads.length === 1, { what: 'the first leads' })
    const second = contender('second')
    await second.clock.advance(STAND_BY_MS * 3)
    expect(second.leads).toHaveLength(0)
    await first.stop()
    await until(
      async () => {
        await second.clock.advance(STAND_BY_MS)
        return second.leads.length === 1
      },
      { what: 'the second leads' },
    )
    expect(first.leads[0]?.fence.epoch).toBe(1)
    expect(second.leads[0]?.fence.epoch).toBe(2)
    await second.stop()
  })

  it('is released at once, and nothing is begun, when the end comes while it is being taken', async () => {
    const first = contender('first')
    await first.stop() // its first statement is on its way
    expect(first.leads).toHaveLength(0)
    expect((await row())?.live ?? false).toBe(false)
  })

  it('names, when it is released, until when calls are under way, and the next leader is told', async () => {
    const first = contender('first')
    await until(() => first.leads.length === 1, { what: 'the first leads' })
    const at = Date.UTC(2026, 0, 1, 0, 5)
    const done = first.leads[0]?.underway(at - 60_000)
    first.leads[0]?.underway(at)
    done?.()
    await first.stop()
    const second = contender('second')
    await until(() => second.leads.length === 1, { what: 'the second leads' })
    expect(second.leads[0]?.foreignUntil).toBe(at)
    await second.stop()
  })

  it('is renewed while it is held', async () => {
    const one = contender('one')
    await until(() => one.leads.length === 1, { what: 'it leads' })
    const before = (await row())?.ends.getTime() ?? 0
    await passInDatabase(RENEW_MS)
    await one.clock.advance(RENEW_MS)
    await until(async () => ((await row())?.ends.getTime() ?? 0) === before + RENEW_MS, {
      what: 'the renewal',
    })
    expect(one.leads[0]?.mayCall()).toBe(true)
    await one.stop()
  })

  it('allows no new call in its last two seconds, counted from when its last renewal was sent', async () => {
    let broken = false
    const shaky = ((...given: Parameters<Sql>) =>
      broken ? Promise.reject(new Error('the database is away')) : sql(...given)) as unknown as Sql
    const one = contender('one', shaky)
    await until(() => one.leads.length === 1, { what: 'it leads' })
    broken = true
    const lead = one.leads[0]
    await one.clock.advance(LEASE_SECONDS * 1000 - MARGIN_MS - 1)
    expect(lead?.mayCall()).toBe(true)
    await one.clock.advance(1)
    expect(lead?.mayCall()).toBe(false)
    expect(lead?.signal.aborted).toBe(false) // what is under way goes on
    await one.clock.advance(MARGIN_MS + RENEW_MS)
    expect(lead?.signal.aborted).toBe(true)
    expect(one.errors.length).toBeGreaterThan(0)
    broken = false
    await one.stop()
  })

  it('ends for the one whom another followed, at its next renewal', async () => {
    const paused = contender('paused')
    await until(() => paused.leads.length === 1, { what: 'it leads' })
    await passInDatabase(LEASE_SECONDS * 1000 + 1)
    expect(await takeLease(sql, pool, 'another')).toMatchObject({ epoch: 2 })
    await paused.clock.advance(RENEW_MS)
    await until(() => paused.leads[0]?.signal.aborted, { what: 'its lead ends' })
    expect(await row()).toMatchObject({ holder: 'another', epoch: 2, live: true }) // and it released nobody else's
    await paused.stop()
    expect(await row()).toMatchObject({ holder: 'another', epoch: 2, live: true })
  })

  it('is given up when nothing is done with it any more', async () => {
    const one = contender('one')
    await until(() => one.leads.length === 1, { what: 'it leads' })
    one.endActing()
    await until(async () => (await row())?.live === false, { what: 'the release' })
    await one.stop()
  })

  describe('on a connection that swallows everything', () => {
    /** Statements are sent and never answered, once it is silent. */
    function swallowing() {
      const line = { silent: false }
      const through = ((...given: Parameters<Sql>) =>
        line.silent ? new Promise(() => {}) : sql(...given)) as unknown as Sql
      return { line, through }
    }

    it('ends by itself ten seconds after its last renewal was sent, and not when an answer comes', async () => {
      const { line, through } = swallowing()
      const one = contender('one', through)
      await until(() => one.leads.length === 1, { what: 'it leads' })
      line.silent = true
      await one.clock.advance(LEASE_SECONDS * 1000 - 1)
      expect(one.leads[0]?.signal.aborted).toBe(false)
      expect(String(one.errors[0])).toContain('renew the lease')
      await one.clock.advance(1)
      expect(one.leads[0]?.signal.aborted).toBe(true)
      line.silent = false
      const stopped = one.stop()
      await one.clock.advance(STATEMENT_MS)
      await stopped
    })

    it('a stop waits for one statement at most', async () => {
      const { line, through } = swallowing()
      const one = contender('one', through)
      await until(() => one.leads.length === 1, { what: 'it leads' })
      line.silent = true
      await one.clock.advance(RENEW_MS)
      let stopped = false
      const stopping = one.stop().then(() => {
        stopped = true
      })
      await one.clock.advance(STATEMENT_MS - 1)
      expect(stopped).toBe(false)
      await one.clock.advance(1)
      expect(stopped).toBe(true)
      await stopping
    })

    it('a stand-by goes on looking', async () => {
      const { line, through } = swallowing()
      line.silent = true
      const one = contender('one', through)
      await one.clock.advance(STATEMENT_MS)
      expect(String(one.errors[0])).toContain('take the lease')
      line.silent = false
      await one.clock.advance(STAND_BY_MS)
      await until(() => one.leads.length === 1, { what: 'it leads' })
      await one.stop()
    })
  })

  it('is taken at the news of its release, without waiting for the next look', async () => {
    const news = createNewsHub({
      sql,
      connect: (hooks) => database.connect({ max: 1, ...hooks }),
      clock: systemClock,
      random: systemRandom,
    })
    try {
      await until(() => news.listening(), { what: 'the echo' })
      const first = contender('first')
      await until(() => first.leads.length === 1, { what: 'the first leads' })
      const second = contender('second', sql, (wake) =>
        news.on('lease', (told) => told.pool === pool && wake()),
      )
      await second.clock.advance(STAND_BY_MS - 1)
      await first.stop()
      await until(() => second.leads.length === 1, {
        what: 'the second leads, though no time has passed for it',
      })
      await second.stop()
    } finally {
      await news.close()
    }
  })

  it('tells nobody of calls that a leader before the last one named', async () => {
    const first = await takeLease(sql, pool, 'first')
    const at = new Date('2026-01-01T00:05:00Z')
    await releaseLease(sql, pool, first?.epoch ?? 0, at)
    expect(await takeLease(sql, pool, 'second')).toEqual({ epoch: 2, drainUntil: at })
    await passInDatabase(LEASE_SECONDS * 1000 + 1) // it crashed, and said nothing
    expect(await takeLease(sql, pool, 'third')).toEqual({ epoch: 3, drainUntil: null })
  })

  it('is not locked by a look of a stand-by, and a look does not wait for a write under way', async () => {
    const held = await takeLease(sql, pool, 'leader')
    await sql.begin(async (tx) => {
      await tx`select 1 from leases where pool = ${pool} and epoch = ${held?.epoch ?? 0} for key share`
      const looks = sql.begin(async (other) => {
        await other`set local lock_timeout = '1s'`
        return other`select * from take_lease(${pool}, 'stand-by', ${LEASE_SECONDS})`
      })
      expect(await looks).toHaveLength(0)
    })
  })

  it('is taken by one of many who find it expired at once', async () => {
    const rivals = Array.from({ length: 4 }, (_, n) => takeLease(sql, pool, `rival ${n}`))
    expect((await Promise.all(rivals)).filter(Boolean)).toEqual([{ epoch: 1, drainUntil: null }])
    await passInDatabase(LEASE_SECONDS * 1000 + 1)
    const again = Array.from({ length: 4 }, (_, n) => takeLease(sql, pool, `rival ${n}`))
    expect((await Promise.all(again)).filter(Boolean)).toEqual([{ epoch: 2, drainUntil: null }])
  })
})
