import { afterAll, beforeAll, expect, it } from 'vitest'
import { startPool, type TestPool } from '../support/pool.ts'
import { until } from '../support/until.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND

let pool: TestPool
beforeAll(async () => {
  pool = await startPool({ env: { POOL_MIN_IDLE: '3' } })
  await pool.settle({ idle: 3 })
})
afterAll(() => pool.remove())

const instance = (id: string) => pool.get('GET', `/api/pool/instances/${id}`)
const condition = async (type: string) =>
  (await pool.get('GET', '/api/pool/status')).conditions.find((one: { type: string }) => one.type === type)
const missing = (id: string) =>
  until(async () => (await instance(id)).conditions.some((one: { type: string }) => one.type === 'Lost'), {
    what: `found missing: ${id}`,
  })

it('replaces an idle one whose Sprite was deleted behind its back, once that is certain, and never offers it meanwhile', async () => {
  const [victim] = await pool.instances()
  await pool.sprites.remove(victim.spriteName)
  await missing(victim.id)
  const { body } = await pool.claim({})
  expect(body.instanceId).not.toBe(victim.id)
  expect((await pool.ask('GET', `/api/pool/instances/${victim.id}`)).status).toBe(200) // seconds after one 404 it is not certain
  await pool.pass(31 * SECOND)
  await until(async () => (await pool.ask('GET', `/api/pool/instances/${victim.id}`)).status === 404, {
    what: 'rid of its row',
  })
  await pool.settle({ idle: 3, claimed: 1, provisioning: 0 })
  const events = await pool.events(`&instance=${victim.id}`)
  expect(events.map(({ reason }) => reason)).toContain('SpriteLost')
})

it('takes five minutes to believe that a claimed one is gone, and then says so to its claim', async () => {
  await pool.settle({ idle: 3 })
  const { body } = await pool.claim({})
  const { spriteName } = await instance(body.instanceId)
  await pool.sprites.remove(spriteName)
  await missing(body.instanceId)
  await pool.pass(MINUTE)
  await pool.looks(3)
  expect((await instance(body.instanceId)).status).toBe('claimed')
  await pool.pass(4 * MINUTE + SECOND)
  await until(async () => (await pool.ask('GET', `/api/pool/instances/${body.instanceId}`)).status === 404, {
    what: 'rid of its row',
  })
  const claim = await pool.get('GET', `/api/pool/claims/${body.claimId}`)
  expect(claim).toMatchObject({ phase: 'Failed', reason: 'SpriteLost' })
})

it('reports a Sprite with our prefix that is not ours, and leaves it alone', async () => {
  await pool.sprites.create('claw-dev-somebodyelse', ['of-somebody-else'])
  const found = await until(
    async () => {
      const { status, message } = await condition('OrphansFound')
      return status === 'True' && message
    },
    { what: 'reported' },
  )
  expect(found).toContain('claw-dev-somebodyelse')
  expect(found).toContain('left alone')
  await pool.pass(2 * 60 * MINUTE)
  await pool.looks(3)
  expect(await pool.sprites.get('claw-dev-somebodyelse')).not.toBeNull()
  expect((await pool.instances()).map(({ spriteName }) => spriteName)).not.toContain('claw-dev-somebodyelse')
  await pool.sprites.remove('claw-dev-somebodyelse')
  await until(async () => (await condition('OrphansFound')).status === 'False', { what: 'quiet again' })
})

it('counts a Sprite with our label and without a row against maxTotal', async () => {
  await pool.settle({ provisioning: 0, recycling: 0 })
  const [row] = await pool.sql<{ uid: string }[]>`select uid from pools`
  await pool.sprites.create('claw-dev-lostitsrow00', [`clawpool-${row?.uid}`])
  await until(async () => (await condition('OrphansFound')).message?.includes('claw-dev-lostitsrow00'), {
    what: 'reported',
  })
  const alive = Object.values(await pool.counts()).reduce((sum, n) => sum + n, 0)
  const { spec } = await pool.get('PATCH', '/api/pool/spec', { maxTotal: alive + 1, minIdle: alive + 1 })
  await until(async () => (await condition('AtCapacity')).status === 'True', { what: 'at capacity' })
  await pool.looks(3)
  expect((await pool.sprites.names()).length).toBeLessThanOrEqual(spec.maxTotal)
  expect(Object.values(await pool.counts()).reduce((sum, n) => sum + n, 0)).toBe(alive)
})
