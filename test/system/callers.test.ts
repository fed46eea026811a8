/** Callers that wait for what is not there yet, and callers that leave. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { KEY, startPool, type TestPool } from '../support/pool.ts'
import { commitSlowClaims } from '../support/standin.ts'
import { until } from '../support/until.ts'

let pool: TestPool
beforeAll(async () => {
  pool = await startPool({ env: { POOL_MIN_IDLE: '0' } })
  await commitSlowClaims(pool, 1_500)
})
afterAll(() => pool.remove())

it('one that waits in line is served by an instance that is built for it, in a pool that keeps none', async () => {
  await pool.settle({ idle: 0, provisioning: 0, claimed: 0 })
  const { status, body, headers } = await pool.claim({}, { prefer: 'wait=0' })
  expect([status, body.phase, body.position]).toEqual([202, 'Waiting', 1])
  const path = String(headers.get('location'))
  const claim = await until(
    async () => {
      const seen = await pool.get('GET', `${path}?wait=5`)
      return seen.phase === 'Ready' && seen
    },
    { what: 'built and served', deadlineMs: 60_000 },
  )
  expect(claim.inviteUrl).toMatch(/^https:\/\/dev\.convos\.org/)
  await pool.get('DELETE', path)
  await pool.settle({ idle: 1, claimed: 0, recycling: 0 })
})

it('one that leaves before its answer, without a key to come back with, has its claim let go in time', async () => {
  await pool.settle({ idle: 1, claimed: 0, recycling: 0 })
  const leave = new AbortController()
  const asked = fetch(`${pool.url}/api/pool/claim`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}` },
    body: JSON.stringify({ agentName: 'Ada', instructions: 'Be kind.' }),
    signal: leave.signal,
  }).catch(() => 'left')
  await pool.settle({ claimed: 1 })
  leave.abort()
  expect(await asked).toBe('left')
  const [agent] = await pool.get('GET', '/api/pool/agents')
  const path = `/api/pool/claims/${agent.claimId}`
  await until(async () => (await pool.get('GET', path)).phase === 'Ready', { what: 'delivered all the same' })
  await pool.pass(61_000)
  await until(async () => (await pool.get('GET', path)).phase === 'Released', { what: 'let go' })
  expect((await pool.events(`&claim=${agent.claimId}`)).map(({ reason }) => reason)).toContain('ClaimUnseen')
  await pool.settle({ idle: 1, claimed: 0, recycling: 0 })
})
