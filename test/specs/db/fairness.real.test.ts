import { afterAll, beforeAll, expect, it } from 'vitest'
import { submitClaim } from '../../../specs/db/claims.ts'
import type { Sql } from '../../../specs/db/connect.ts'
import { aClaim, aPool, idle, members, put } from '../../support/builders.ts'
import { type TestDatabase, testDatabase } from '../../support/database.ts'

const CLAIMS = 3_000
const CALLERS = 32

let database: TestDatabase
let servers: Sql[]
let controller: Sql
beforeAll(async () => {
  database = await testDatabase()
  servers = [database.connect({ max: 8 }), database.connect({ max: 8 })]
  controller = database.connect({ max: 4 })
})
afterAll(() => database.drop())

it('3,000 claims of 32 callers on two servers, instances trickling in: none is bound after one submitted later', async () => {
  const fence = await aPool(controller, { maxTotal: CLAIMS })
  const ids = await members(controller, fence, CLAIMS)
  const seen: { id: string; sentAt: number; acceptedAt: number }[] = []
  let left = CLAIMS

  const call = async (sql: Sql) => {
    while (left-- > 0) {
      const claim = aClaim(fence.pool, { wait: true, deadlineSeconds: 600 })
      const sentAt = performance.now()
      await submitClaim(sql, claim)
      seen.push({ id: claim.claimId, sentAt, acceptedAt: performance.now() })
    }
  }
  // Now one, now a handful: at times the shelf is empty, at times nobody waits.
  const trickle = async (lane: number) => {
    for (let n = lane; n < ids.length; n += 4) await put(controller, fence, ids[n] ?? '', idle(n))
  }
  await Promise.all([
    ...Array.from({ length: CALLERS }, (_, n) => call(servers[n % 2] ?? controller)),
    ...Array.from({ length: 4 }, (_, lane) => trickle(lane)),
  ])

  const rows = await controller<{ id: string; at: number; held: string }[]>`
    select c.id, extract(epoch from c.bound_at)::float8 as at, i.id as held
      from claims c join instances i on i.claim_id = c.id and c.instance_id = i.id where c.pool = ${fence.pool}`
  expect(rows).toHaveLength(CLAIMS)
  expect(new Set(rows.map(({ held }) => held)).size).toBe(CLAIMS)

  const boundAt = new Map(rows.map(({ id, at }) => [id, at]))
  expect(overtaken(seen.map((claim) => ({ ...claim, boundAt: boundAt.get(claim.id) ?? Infinity })))).toBe(0)
}, 120_000)

/** Claims that were accepted before another was sent, and bound after it. */
function overtaken(claims: { sentAt: number; acceptedAt: number; boundAt: number }[]): number {
  const bySent = claims.toSorted((a, b) => b.sentAt - a.sentAt)
  const byAccepted = claims.toSorted((a, b) => b.acceptedAt - a.acceptedAt)
  let count = 0
  let next = 0
  let earliest = Infinity // of all that were sent after this one was accepted
  for (const claim of byAccepted) {
    for (; (bySent[next]?.sentAt ?? -1) > claim.acceptedAt; next++)
      earliest = Math.min(earliest, bySent[next]?.boundAt ?? Infinity)
    if (claim.boundAt > earliest) count += 1
  }
  return count
}
