import { afterAll, beforeAll, expect, it } from 'vitest'
import { LEASE_SECONDS } from '../../specs/db/leases.ts'
import { type TestDatabase, testDatabase } from '../support/database.ts'
import { startOutside } from '../support/emulator.ts'
import { KEY, urlOf } from '../support/pool.ts'
import { type PoolProcess, startPoolProcess } from '../support/pool-process.ts'
import { until } from '../support/until.ts'

let outside: Awaited<ReturnType<typeof startOutside>>
let database: TestDatabase
const started: PoolProcess[] = []

async function start(): Promise<PoolProcess> {
  const pool = await startPoolProcess({
    env: {
      ...outside.env,
      HOST: '127.0.0.1',
      DATABASE_URL: urlOf(database),
      POOL_API_KEY: KEY,
      POOL_MIN_IDLE: '2',
      POOL_MAX_TOTAL: '6',
    },
  })
  started.push(pool)
  return pool
}

beforeAll(async () => {
  database = await testDatabase()
  outside = await startOutside()
})
afterAll(async () => {
  for (const pool of started) await pool.remove()
  await outside.remove()
  await database.drop()
})

const leads = (pool: PoolProcess) => pool.output().match(/"message":"leading"/g)?.length ?? 0

/** ms from now until `pool` leads once more than before. */
async function untilItLeads(pool: PoolProcess, before: number): Promise<number> {
  const from = performance.now()
  await until(() => leads(pool) > before, { what: 'leading', everyMs: 10 })
  return performance.now() - from
}

it('hands the lead over within 2 s of SIGTERM and within a lease of kill -9, while claims go on and nothing is built twice', async () => {
  const first = await start()
  await until(() => leads(first) === 1, { what: 'leading' })
  const second = await start()
  await first.settle({ idle: 2, provisioning: 0 })
  const members = (await first.instances()).map(({ id }) => id).sort()
  expect(leads(second)).toBe(0)
  expect((await second.get('GET', '/readyz')).ok).toBe(true) // a stand-by is ready

  const stopping = first.stop('SIGTERM')
  const served = second.claim({}) // while nobody leads, or somebody is just about to
  expect(await untilItLeads(second, 0)).toBeLessThan(2_000)
  expect(await stopping).toMatchObject({ code: 0 })
  expect((await served).status).toBe(200)
  await second.settle({ idle: 2, claimed: 1, provisioning: 0 })

  const third = await start()
  const epoch = async () => (await database.sql`select epoch from leases`)[0]?.epoch
  const before = await epoch()
  await second.kill()
  expect(await untilItLeads(third, 0)).toBeLessThan((LEASE_SECONDS + 1) * 1000)
  expect(await epoch()).toBe(before + 1)
  expect((await third.claim({})).status).toBe(200)
  await third.settle({ idle: 2, claimed: 2, provisioning: 0, recycling: 0, deleting: 0 })
  const after = await third.instances()
  expect(after.map(({ id }) => id)).toEqual(expect.arrayContaining(members))
  expect(await outside.sprites.names()).toEqual(after.map(({ spriteName }) => spriteName).sort())
})
