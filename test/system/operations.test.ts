import { afterAll, beforeAll, expect, it } from 'vitest'
import { startPool, type TestPool } from '../support/pool.ts'
import { until } from '../support/until.ts'

let pool: TestPool
beforeAll(async () => {
  pool = await startPool({ env: { POOL_MIN_IDLE: '1' } })
  await pool.settle({ idle: 1 })
})
afterAll(() => pool.remove())

it('adds two by a replenish that are still there ten minutes later', async () => {
  const { status, body } = await pool.ask('POST', '/api/pool/replenish', { count: 2 })
  expect({ status, created: body.created }).toEqual({ status: 202, created: 2 })
  await pool.settle({ idle: 3, provisioning: 0 })
  const operation = await pool.get('GET', `/api/pool/operations/${body.operation.id}?wait=10`)
  expect(operation).toMatchObject({ phase: 'Succeeded', done: 2, failed: 0 })
  const members = (await pool.instances()).map(({ id }) => id)
  await pool.pass(10 * 60_000)
  await pool.looks(5)
  expect((await pool.instances()).map(({ id }) => id)).toEqual(members)
  expect(await pool.counts()).toMatchObject({ idle: 3, provisioning: 0, deleting: 0 })
})

it('looks at everything when it is asked to reconcile, and says how many were cleaned up', async () => {
  const { status, body } = await pool.ask('POST', '/api/pool/reconcile')
  expect({ status, cleaned: body.cleaned }).toEqual({ status: 200, cleaned: 0 })
})

it('takes a changed POOL_MIN_IDLE at a later start as an edit with an event, and an unset one as nothing', async () => {
  const spec = async (of: TestPool) => (await of.get('GET', '/api/pool/spec')).spec
  const edits = async (of: TestPool) =>
    (await of.events()).filter(({ actor, reason }) => actor === 'environment' && reason === 'SpecChanged')
  await pool.get('PATCH', '/api/pool/spec', { minIdle: 3 })
  await pool.stop()

  for (const { value, minIdle, events } of [
    { value: '1', minIdle: 3, events: 0 }, // as at the first start: what a person set since then stands
    { value: '2', minIdle: 2, events: 1 },
    { value: '', minIdle: 2, events: 1 },
    { value: '2', minIdle: 2, events: 1 },
  ]) {
    const again = await startPool({ ...pool, env: { POOL_MIN_IDLE: value } })
    try {
      await until(async () => (await again.get('GET', '/readyz')).leader, { what: 'led' })
      await again.looks(2)
      expect({ value, minIdle: (await spec(again)).minIdle }).toEqual({ value, minIdle })
      const seen = await edits(again)
      expect({ value, events: seen.length }).toEqual({ value, events })
      if (events > 0) expect(seen[0]?.message).toContain('POOL_MIN_IDLE=2')
    } finally {
      await again.stop()
    }
  }
})
