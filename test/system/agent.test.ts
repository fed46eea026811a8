/** A live agent, asked for this and that by whoever claimed it; and what the pool knows nothing of, passed on to it. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openEventStream } from '../support/event-stream.ts'
import { KEY, startPool, type TestPool } from '../support/pool.ts'
import { commitBehaviour } from '../support/standin.ts'
import { until } from '../support/until.ts'

let pool: TestPool
beforeAll(async () => {
  pool = await startPool({ env: { POOL_MIN_IDLE: '0' } })
  await commitBehaviour(pool, { extraField: true }) // a version of the bot that knows a field which no code here names
  await pool.get('PATCH', '/api/pool/spec', { minIdle: 1, maxIdle: 1 })
  await pool.settle({ idle: 1 })
}, 120_000)
afterAll(() => pool.remove())

/** What the gateway knows of its agent, as it keeps it on its own disk. */
async function identityOf(instanceId: string) {
  const { spriteName } = await pool.get('GET', `/api/pool/instances/${instanceId}`)
  const [name] = (await pool.sprites.list(spriteName, '.convos/identities')) ?? []
  return JSON.parse(String(await pool.sprites.read(spriteName, `.convos/identities/${name}`)))
}

it('takes a new name, messages, a lock and new instructions, and a field that only the bot knows', async () => {
  await pool.settle({ idle: 1 })
  const { status, body } = await pool.claim({ extra: { tone: 'warm', description: 'A test.' } })
  expect(status).toBe(200)
  expect(await identityOf(body.instanceId)).toMatchObject({ tone: 'warm', description: 'A test.' })

  const path = `/api/pool/claims/${body.claimId}`
  const renamed = await pool.get('POST', `${path}/rename`, { name: `O'Neil "$(id)"` })
  expect(renamed).toMatchObject({ kind: 'action', phase: 'Succeeded' })
  expect(await identityOf(body.instanceId)).toMatchObject({ profileName: `O'Neil "$(id)"` })
  expect((await pool.get('GET', '/api/pool/agents'))[0].name).toBe(`O'Neil "$(id)"`)

  const said = await pool.get('POST', `${path}/send`, { message: 'Hello.\n$(id)' })
  expect(said.result.messageId).toMatch(/^[0-9a-f]{32}$/)

  await pool.get('POST', `${path}/lock`)
  expect(await identityOf(body.instanceId)).toMatchObject({ locked: true })
  await pool.get('POST', `${path}/lock`, { unlock: true })
  expect(await identityOf(body.instanceId)).toMatchObject({ locked: false })

  const instructions = `'"$(id)"'\nINSTREOF\n${'🦞'.repeat(10_000)}`
  await pool.get('PUT', `${path}/instructions`, { instructions })
  const { spriteName } = await pool.get('GET', `/api/pool/instances/${body.instanceId}`)
  const workspace = '.openclaw/workspace'
  expect(String(await pool.sprites.read(spriteName, `${workspace}/INSTRUCTIONS.md`))).toBe(instructions)
  expect(await pool.sprites.list(spriteName, workspace)).toEqual(['INSTRUCTIONS.md'])
  expect((await pool.get('GET', '/api/pool/agents'))[0].instructions).toBe(instructions)
  expect(pool.logs()).not.toContain('INSTREOF')
  await pool.get('DELETE', path)
}, 120_000)

it('explodes: the claim ends, its stream says so, and the instance comes back clean', async () => {
  await pool.settle({ idle: 1, recycling: 0 })
  const { body } = await pool.claim({})
  const stream = await openEventStream(`${pool.url}/api/pool/claims/${body.claimId}/events`, KEY)
  const exploded = await pool.get('POST', `/api/pool/claims/${body.claimId}/explode`)
  expect(exploded).toMatchObject({ phase: 'Succeeded', result: { exploded: true } })
  const reasons: string[] = []
  while (reasons.at(-1) !== 'ClaimEnded') reasons.push((await stream.next()).data.reason)
  stream.leave()
  expect(reasons).toEqual(expect.arrayContaining(['ClaimBound', 'Delivered', 'ExplodeRequested']))
  expect((await pool.get('GET', `/api/pool/claims/${body.claimId}`)).phase).toBe('Released')
  await pool.settle({ claimed: 0, recycling: 0 })
  const { spriteName } = await pool.get('GET', `/api/pool/instances/${body.instanceId}`)
  expect(await pool.sprites.list(spriteName, '')).not.toContain('.convos')
}, 120_000)

it('of a link is in its conversation once the inviter approved, and the claim’s stream says so', async () => {
  await pool.settle({ idle: 1, recycling: 0 })
  const { body } = await pool.claim({ joinUrl: 'wait-1-for-a-stream' })
  expect(body.waitingForAcceptance).toBe(true)
  const stream = await openEventStream(`${pool.url}/api/pool/claims/${body.claimId}/events`, KEY)
  const told = async (reason: string) => {
    while ((await stream.next()).data.reason !== reason);
  }
  await told('AwaitingAcceptance')
  await pool.pass(35_000)
  await told('Delivered')
  stream.leave()
  const claim = await pool.get('GET', `/api/pool/claims/${body.claimId}`)
  expect(claim).toMatchObject({ phase: 'Ready', conversationId: expect.stringMatching(/^[0-9a-f]{32}$/) })
  await pool.get('DELETE', `/api/pool/claims/${body.claimId}`)
}, 120_000)

it('is let go when its time is over, renewed once before', async () => {
  await pool.settle({ idle: 1, recycling: 0 })
  const { body } = await pool.claim({ ttlSeconds: 600 })
  await pool.pass(500_000)
  await pool.get('POST', `/api/pool/claims/${body.claimId}/renew`, { ttlSeconds: 600 })
  await pool.pass(500_000)
  expect((await pool.get('GET', `/api/pool/claims/${body.claimId}`)).phase).toBe('Ready')
  await pool.pass(110_000)
  const claim = await until(
    async () => {
      const seen = await pool.get('GET', `/api/pool/claims/${body.claimId}`)
      return seen.phase === 'Expired' && seen
    },
    { what: 'expired' },
  )
  expect(claim.reason).toBe('TtlExpired')
  expect((await pool.ask('POST', `/api/pool/claims/${body.claimId}/renew`, { ttlSeconds: 600 })).status).toBe(
    409,
  )
}, 120_000)
