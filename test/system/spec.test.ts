import { afterAll, beforeAll, expect, it } from 'vitest'
import { startPool, type TestPool } from '../support/pool.ts'

let pool: TestPool
beforeAll(async () => {
  pool = await startPool({ env: { POOL_MIN_IDLE: '0' } })
})
afterAll(() => pool.remove())

const put = (spec: object) => pool.get('PUT', '/api/pool/spec', spec)

it('builds as many as minIdle asks for, destroys none when it is lowered, and adds only what is missing', async () => {
  await put({ minIdle: 3 })
  await pool.settle({ idle: 3, provisioning: 0 })
  const three = await pool.instances()
  const names = three.map(({ spriteName }) => spriteName).sort()
  expect(await pool.sprites.names()).toEqual(names)
  const keys = new Set<string>()
  for (const { spriteName, checkpointId } of three) {
    expect((await pool.sprites.checkpoints(spriteName)).map(({ id }) => id)).toContain(checkpointId)
    expect((await pool.sprites.services(spriteName)).map(({ name }) => name)).toEqual(['gateway'])
    const config = JSON.parse(String(await pool.sprites.read(spriteName, '.openclaw/openclaw.json')))
    keys.add(config.channels.convos.poolApiKey)
  }
  expect(keys.size).toBe(3)

  const { plan } = await put({ minIdle: 1 })
  expect(plan.join()).toContain('2 idle stay: maxIdle is not set')
  await put({ minIdle: 4 })
  await pool.settle({ idle: 4, provisioning: 0, deleting: 0 })
  const four = new Set((await pool.instances()).map(({ id }) => id))
  expect(three.every(({ id }) => four.has(id))).toBe(true)

  await put({ minIdle: 1, maxIdle: 2 })
  await pool.settle({ idle: 2, provisioning: 0, deleting: 0 })
  expect(await pool.sprites.names()).toHaveLength(2)
})
