import { afterAll, beforeAll, expect, it } from 'vitest'
import { startPool, type TestPool } from '../support/pool.ts'
import { commitBehaviour, commitWithoutInstructions } from '../support/standin.ts'

let pool: TestPool
beforeAll(async () => {
  pool = await startPool({ env: { POOL_MIN_IDLE: '0' } })
})
afterAll(() => pool.remove())

it('serves a claim by another instance when a gateway fails it, and restores and proves the first', async () => {
  await commitBehaviour(pool, { failClaims: true })
  await pool.get('PATCH', '/api/pool/spec', { minIdle: 1 })
  await pool.settle({ idle: 1 })
  const [bad] = await pool.instances()
  await commitBehaviour(pool, {})
  await pool.get('PATCH', '/api/pool/spec', { minIdle: 2 })
  await pool.settle({ idle: 2 })

  const { status, body } = await pool.claim({ instructions: 'secret words' }) // the oldest is tried first: the bad one
  expect(status).toBe(200)
  expect(body.instanceId).not.toBe(bad.id)
  await pool.settle({ idle: 2, claimed: 1, recycling: 0, provisioning: 0 })

  const after = (await pool.instances()).find(({ id }) => id === bad.id)
  expect(after).toMatchObject({ status: 'idle', spriteId: bad.spriteId, checkpointId: bad.checkpointId })
  expect(await pool.sprites.list(bad.spriteName, '')).not.toContain('.convos')
  expect(await pool.sprites.list(bad.spriteName, '.openclaw/workspace')).toEqual([])
  expect(await pool.sprites.list(bad.spriteName, '.clawpool')).not.toContain('canary')
  const reasons = (await pool.events(`&instance=${bad.id}`)).map(({ reason }) => reason)
  expect(reasons).toEqual(expect.arrayContaining(['DeliveryMovedOn', 'Proven']))
  await pool.get('DELETE', `/api/pool/instances/${bad.id}/destroy?wait=30`)
  await pool.get('DELETE', `/api/pool/instances/${body.instanceId}/destroy?wait=30`)
}, 120_000)

it('writes the instructions itself where the gateway would not take them', async () => {
  await pool.get('PATCH', '/api/pool/spec', { minIdle: 0, maxIdle: 0 })
  await pool.settle({ idle: 0, provisioning: 0, deleting: 0 })
  await commitWithoutInstructions(pool)
  await pool.get('PATCH', '/api/pool/spec', { minIdle: 1, maxIdle: null })
  await pool.settle({ idle: 1 })
  const instructions = `'"$(id)"'\nINSTREOF\n${'🦞'.repeat(50_000)}`
  const { status, body } = await pool.claim({ instructions })
  expect(status).toBe(200)
  const { spriteName } = await pool.get('GET', `/api/pool/instances/${body.instanceId}`)
  const written = await pool.sprites.read(spriteName, '.openclaw/workspace/INSTRUCTIONS.md')
  expect(written?.equals(Buffer.from(instructions))).toBe(true)
}, 120_000)
