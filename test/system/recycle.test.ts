import { afterAll, beforeAll, expect, it } from 'vitest'
import { startPool, type TestPool } from '../support/pool.ts'
import { processesOf } from '../support/processes.ts'

let pool: TestPool
beforeAll(async () => {
  pool = await startPool({ env: { POOL_MIN_IDLE: '2' } })
  await pool.settle({ idle: 2 })
  await pool.get('PATCH', '/api/pool/spec', { minIdle: 0 }) // what is recycled is enough for the next test
})
afterAll(() => pool.remove())

/** What a workload with root could leave: a file, a process, a line in a profile. */
async function soil(spriteName: string) {
  await pool.sprites.write(spriteName, 'left-by-the-user', 'canary-of-the-first-user')
  await pool.sprites.write(spriteName, '.profile', 'export LEFT=canary-of-the-first-user')
  await pool.sprites.run(spriteName, 'sh', '-c', 'nohup sleep 600 >/dev/null 2>&1 &')
}

const keyOf = async (spriteName: string): Promise<string> =>
  JSON.parse(String(await pool.sprites.read(spriteName, '.openclaw/openclaw.json'))).channels.convos
    .poolApiKey

const status = async (url: string, key: string) =>
  (await fetch(`${url}/convos/status`, { headers: { authorization: `Bearer ${key}` } })).status

it('recycles a claimed one to the same Sprite, with nothing of its user left and no key that opens it', async () => {
  const { body } = await pool.claim({ instructions: 'words-of-the-first-user' })
  const before = await pool.get('GET', `/api/pool/instances/${body.instanceId}`)
  const { spriteName } = before
  const key = await keyOf(spriteName)
  await soil(spriteName)
  const sleeper = () => processesOf(spriteName).filter(({ command }) => command.includes('sleep 600'))
  expect(sleeper()).toHaveLength(1)
  expect(await status(before.spriteUrl, key)).toBe(200)

  const answer = await pool.ask('DELETE', `/api/pool/instances/${body.instanceId}?claim=${body.claimId}`)
  expect(answer).toMatchObject({ status: 200, body: { ok: true, outcome: 'recycled' } })

  const after = await pool.get('GET', `/api/pool/instances/${body.instanceId}`)
  expect(after).toMatchObject({ status: 'idle', spriteId: before.spriteId, claimId: null, agentName: null })
  expect((await pool.sprites.get(spriteName))?.id).toBe(before.spriteId)
  const home = await pool.sprites.list(spriteName, '')
  expect(home).not.toContain('.convos')
  expect(home).not.toContain('left-by-the-user')
  expect(String(await pool.sprites.read(spriteName, '.profile'))).not.toContain('canary')
  expect(await pool.sprites.list(spriteName, '.openclaw/workspace')).toEqual([])
  expect(await pool.sprites.list(spriteName, '.clawpool')).not.toContain('canary')
  expect(sleeper()).toEqual([])
  expect(await status(before.spriteUrl, key)).toBe(401)
  expect(await keyOf(spriteName)).not.toBe(key)
  expect(await pool.get('GET', `/api/pool/claims/${body.claimId}`)).toMatchObject({ phase: 'Released' })
  expect((await pool.get('GET', '/api/pool/agents')).map(({ id }: { id: string }) => id)).not.toContain(
    before.id,
  )
})

it('recycles when its claim is released, and an idle one when somebody asks for that', async () => {
  const { body } = await pool.claim({})
  const path = `/api/pool/claims/${body.claimId}`
  expect((await pool.get('DELETE', `${path}?wait=30`)).phase).toBe('Released')
  await pool.settle({ claimed: 0, recycling: 0 })
  const [idle] = (await pool.instances()).filter((instance) => instance.status === 'idle')
  const answer = await pool.get('DELETE', `/api/pool/instances/${idle.id}`)
  expect(answer).toMatchObject({ outcome: 'recycled' })
  const reasons = (await pool.events(`&instance=${idle.id}`)).map(({ reason }) => reason)
  expect(reasons).toContain('Recycling')
})

it('destroys one with its Sprite and its row, replaces it, and gives the same answer as often as it is asked', async () => {
  await pool.settle({ claimed: 0, recycling: 0 })
  const { idle } = await pool.counts()
  await pool.get('PATCH', '/api/pool/spec', { minIdle: idle })
  const { body } = await pool.claim({})
  expect((await pool.counts()).provisioning).toBe(1) // its replacement is on the way already
  const { spriteName } = await pool.get('GET', `/api/pool/instances/${body.instanceId}`)
  const path = `/api/pool/instances/${body.instanceId}/destroy`
  const destroyed = { ok: true, instanceId: body.instanceId, outcome: 'destroyed' }
  expect(await pool.ask('DELETE', path)).toMatchObject({ status: 200, body: destroyed })
  expect(await pool.sprites.get(spriteName)).toBeNull()
  expect((await pool.ask('GET', `/api/pool/instances/${body.instanceId}`)).status).toBe(404)
  expect(await pool.ask('DELETE', path)).toMatchObject({ status: 200, body: destroyed })
  const claim = await pool.get('GET', `/api/pool/claims/${body.claimId}`)
  expect(claim).toMatchObject({ phase: 'Failed', reason: 'Destroyed' })
  await pool.settle({ idle, provisioning: 0, deleting: 0 })
  const names = (await pool.instances()).map((instance) => instance.spriteName).sort()
  expect(await pool.sprites.names()).toEqual(names)
})
