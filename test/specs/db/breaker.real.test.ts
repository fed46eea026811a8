import { afterAll, expect, it } from 'vitest'
import { breaker } from '../../../machines/breaker.ts'
import { type BuildEnd, loadInstances, removeInstance, writeInstance } from '../../../specs/db/instances.ts'
import { type Fence, listRevisions } from '../../../specs/db/pools.ts'
import { aPool, members, put } from '../../support/builders.ts'
import { testDatabase } from '../../support/database.ts'

const { sql, drop } = await testDatabase()
afterAll(drop)

const FAILURE = { threshold: 3, openSeconds: 300 }
const READY: BuildEnd = { error: null, permanent: false }
const FLAKY: BuildEnd = { error: 'SetupFailed: no space left', permanent: false }
const REFUSED: BuildEnd = { error: 'TemplateRefused: no such ref', permanent: true }

async function stateOf({ pool }: Fence) {
  const [revision] = await listRevisions(sql, pool)
  if (!revision) throw new Error('no revision')
  return { ...breaker(revision, FAILURE, Date.now()), failures: revision.failures, rounds: revision.rounds }
}

/** What the breaker of a fresh pool's first revision is after builds that ended so. */
async function after(...ends: BuildEnd[]) {
  const fence = await aPool(sql)
  const [id = ''] = await members(sql, fence, 1)
  for (const end of ends) await put(sql, fence, id, {}, { build: { ...end, ...FAILURE } })
  return stateOf(fence)
}

it('opens by as many failures as the spec says, one after another', async () => {
  expect(await after(FLAKY, FLAKY)).toMatchObject({ state: 'closed', failures: 2 })
  expect(await after(FLAKY, FLAKY, FLAKY)).toMatchObject({ state: 'open', error: FLAKY.error })
  expect(await after(FLAKY, FLAKY, READY, FLAKY)).toMatchObject({ state: 'closed', failures: 1 })
})

it('opens by one failure that is permanent, and is closed by a build that ends well', async () => {
  expect(await after(REFUSED)).toMatchObject({ state: 'open', error: REFUSED.error })
  expect(await after(REFUSED, REFUSED)).toMatchObject({ state: 'open', failures: 4, rounds: 0 })
  expect(await after(REFUSED, READY)).toMatchObject({ state: 'closed', failures: 0 })
})

it('counts one more round when the build that it let through fails', async () => {
  const fence = await aPool(sql)
  const [id = ''] = await members(sql, fence, 1)
  const fail = () => put(sql, fence, id, {}, { build: { ...REFUSED, ...FAILURE } })
  await fail()
  await sql`update pool_revisions set last_failed_at = last_failed_at - interval '301 seconds' where pool = ${fence.pool}`
  expect(await stateOf(fence)).toMatchObject({ state: 'half-open' })
  await fail()
  expect(await stateOf(fence)).toMatchObject({ state: 'open', rounds: 1 })
})

it('counts a build with the write that ends it, or not at all', async () => {
  const fence = await aPool(sql)
  const [id = ''] = await members(sql, fence, 1)
  const [stale] = await loadInstances(sql, [id])
  if (!stale) throw new Error(`no instance ${id}`)
  await put(sql, fence, id, { error: 'moved on' })
  const build = { ...FLAKY, ...FAILURE }
  expect(await writeInstance(sql, fence, stale.instance, null, { patch: {}, build }, 'test')).toBeNull()
  const end = { claim: { reason: 'SpriteLost', message: 'gone' }, build, news: [] }
  expect(await removeInstance(sql, fence, stale.instance, end, 'test')).toBe(false)
  expect(await stateOf(fence)).toMatchObject({ failures: 0 })

  const [fresh] = await loadInstances(sql, [id])
  if (!fresh) throw new Error(`no instance ${id}`)
  expect(await removeInstance(sql, fence, fresh.instance, end, 'test')).toBe(true)
  expect(await stateOf(fence)).toMatchObject({ failures: 1 })
})
