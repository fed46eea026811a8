import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { getClaim, renewClaim } from '../../specs/db/claims.ts'
import { loadInstances, writeInstance } from '../../specs/db/instances.ts'
import { startWorld, type World } from './support.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterEach(() => world.stage.clear())
afterAll(() => world?.close())

async function claimed(ttlSeconds?: number): Promise<{ id: string; instanceId: string }> {
  await world.stage.shelve(1)
  const payload = { agentName: 'Ada', instructions: 'Help.', ttlSeconds }
  const [{ body }] = await Promise.all([
    world.ask('POST', '/api/pool/claim', { payload }),
    world.stage.deliver(),
  ])
  return { id: body.claimId, instanceId: body.instanceId }
}
const renew = (id: string, ttlSeconds: unknown) =>
  world.ask('POST', `/api/pool/claims/${id}/renew`, { payload: { ttlSeconds } })
const secondsLeft = ({ expiresAt }: { expiresAt: string }) => (Date.parse(expiresAt) - Date.now()) / 1000

it('counts a claim’s time from its delivery, not from when it was asked for', async () => {
  const { body } = await world.ask('POST', '/api/pool/claim', {
    payload: { agentName: 'Ada', instructions: 'Help.', ttlSeconds: 100 },
    headers: { prefer: 'wait=0' },
  })
  await world.sql`update claims set created_at = created_at - interval '80 seconds'`
  expect((await world.ask('GET', `/api/pool/claims/${body.claimId}`)).body.expiresAt).toBeNull()
  await world.stage.shelve(1)
  await world.stage.deliver()
  const ready = (await world.ask('GET', `/api/pool/claims/${body.claimId}`)).body
  expect(ready.phase).toBe('Ready')
  expect(secondsLeft(ready)).toBeGreaterThan(95)
})

it('gives a delivered claim its time anew, and one that never ended an end', async () => {
  for (const ttlSeconds of [60, undefined]) {
    const { id } = await claimed(ttlSeconds)
    const { status, body } = await renew(id, 3600)
    expect([status, body.phase]).toEqual([200, 'Ready'])
    expect(secondsLeft(body)).toBeGreaterThan(3590)
    await world.stage.clear()
  }
})

it('of one that still waits counts from its delivery', async () => {
  const { body } = await world.ask('POST', '/api/pool/claim', {
    payload: { agentName: 'Ada', instructions: 'Help.' },
    headers: { prefer: 'wait=0' },
  })
  expect(await renew(body.claimId, 500)).toMatchObject({
    status: 200,
    body: { expiresAt: null, position: 1 },
  })
  await world.stage.shelve(1)
  await world.stage.deliver()
  expect(secondsLeft((await world.ask('GET', `/api/pool/claims/${body.claimId}`)).body)).toBeGreaterThan(490)
})

it('of an expired, released or unknown one changes nothing', async () => {
  const { id } = await claimed(60)
  await world.sql`update claims set expires_at = now() - interval '1 ms'`
  expect(await renew(id, 3600)).toMatchObject({ status: 409, body: { code: 'ClaimEnded' } })
  await world.sql`update claims set expires_at = null`
  await world.ask('DELETE', `/api/pool/claims/${id}`)
  expect((await renew(id, 3600)).status).toBe(409)
  expect((await renew('nobodys', 3600)).status).toBe(404)
  for (const wrong of [9, 31_536_001, 1.5, '60', undefined]) expect((await renew(id, wrong)).status).toBe(422)
})

it('and expiry are decided by the row: one of them wins, whatever the controller has read before', async () => {
  for (let round = 0; round < 20; round++) {
    const { id, instanceId } = await claimed(60)
    const [loaded] = await loadInstances(world.sql, [instanceId])
    if (!loaded) throw new Error('no instance')
    await world.sql`update claims set expires_at = pool_now() + interval '2 ms' where id = ${id}`
    const expire = () =>
      writeInstance(
        world.sql,
        world.stage.fence,
        loaded.instance,
        null,
        {
          patch: { machine: { version: 1, value: 'marking', context: {} }, touched: true, claim_id: null },
          claim: { id, phase: 'Expired', reason: 'TtlExpired', ended_at: new Date().toISOString() },
        },
        'controller',
      )
    const [renewed, expired] = await Promise.all([
      renewClaim(world.apiSql, 'default', id, 3600).catch(() => null),
      expire(),
    ])
    const after = await getClaim(world.sql, 'default', id)
    if (renewed) {
      expect(expired).toBeNull()
      expect(after).toMatchObject({ phase: 'Ready', instanceId })
    } else {
      expect(after.expiresAt?.getTime()).toBeLessThan(Date.now())
      const done = expired ?? (await expire()) // looked at again, as the queue does
      expect(done).toMatchObject({ phase: 'marking', claimId: null })
      expect((await getClaim(world.sql, 'default', id)).phase).toBe('Expired')
    }
    await world.stage.clear()
  }
})
