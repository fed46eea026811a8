import { afterAll, beforeAll, expect, it } from 'vitest'
import { breaker } from '../../../machines/breaker.ts'
import type { Sql } from '../../../specs/db/connect.ts'
import { type BuildEnd, countBuild, listRevisions } from '../../../specs/db/pools.ts'
import { aPool } from '../../support/builders.ts'
import { type TestDatabase, testDatabase } from '../../support/database.ts'

let database: TestDatabase
let sql: Sql
beforeAll(async () => {
  database = await testDatabase()
  sql = database.sql
})
afterAll(() => database.drop())

const FAILURE = { threshold: 3, openSeconds: 300 }
const FLAKY: BuildEnd = { error: 'SetupFailed: no space left', permanent: false }
const REFUSED: BuildEnd = { error: 'TemplateRefused: no such ref', permanent: true }

/** What the breaker of a fresh pool's first revision is after these ends. */
async function after(...ends: BuildEnd[]) {
  const { pool } = await aPool(sql)
  for (const end of ends) await countBuild(sql, pool, 1, end, FAILURE)
  const [revision] = await listRevisions(sql, pool)
  if (!revision) throw new Error('no revision')
  return { ...breaker(revision, FAILURE, Date.now()), failures: revision.failures }
}

it('opens by as many failures as the spec says, one after another', async () => {
  expect(await after(FLAKY, FLAKY)).toMatchObject({ state: 'closed', failures: 2 })
  expect(await after(FLAKY, FLAKY, FLAKY)).toMatchObject({ state: 'open', error: FLAKY.error })
  expect(await after(FLAKY, FLAKY, 'ready', FLAKY)).toMatchObject({ state: 'closed', failures: 1 })
})

it('opens by one failure that is permanent, and is closed by a build that ends well', async () => {
  expect(await after(REFUSED)).toMatchObject({ state: 'open', error: REFUSED.error })
  expect(await after(REFUSED, REFUSED)).toMatchObject({ state: 'open', failures: 4 })
  expect(await after(REFUSED, 'ready')).toMatchObject({ state: 'closed', failures: 0 })
})
