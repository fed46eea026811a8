/** A claim that comes twice: by its key, or as a double tap on one link. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { forgetClaimKeys, getClaim, releaseClaim, submitClaim } from '../../../specs/db/claims.ts'
import type { Sql } from '../../../specs/db/connect.ts'
import { aClaim, aPool, idleOnes } from '../../support/builders.ts'
import { type TestDatabase, testDatabase } from '../../support/database.ts'

let database: TestDatabase
let sql: Sql
let other: Sql
beforeAll(async () => {
  database = await testDatabase()
  sql = database.connect({ max: 8 })
  other = database.connect({ max: 8 })
})
afterAll(() => database.drop())

const LINK = 'https://dev.convos.org/v2?i=a-slug'
const idOf = (submitted: Awaited<ReturnType<typeof submitClaim>>) =>
  'claimId' in submitted ? submitted.claimId : submitted.outcome

describe('a double tap on a link', () => {
  it('is one claim, however many callers of two servers race', async () => {
    const fence = await aPool(sql)
    await idleOnes(sql, fence, 10)
    const taps = await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        submitClaim(n % 2 ? sql : other, aClaim(fence.pool, { joinUrl: LINK })),
      ),
    )
    expect(new Set(taps.map(idOf)).size).toBe(1)
    expect(taps.filter(({ outcome }) => outcome === 'Bound')).toHaveLength(1)
    expect(await sql`select from claims where pool = ${fence.pool}`).toHaveLength(1)
  })

  it.each([
    ['another name', { agentName: 'Bob' }],
    ['other instructions', { instructions: 'Be brief.' }],
    ['another link', { joinUrl: `${LINK}2` }],
    ['no link', { joinUrl: null }],
    ['another caller', { actor: 'somebody' }],
    ['no such window', { joinDedupeSeconds: 0 }],
  ])('with %s is another agent', async (_, difference) => {
    const fence = await aPool(sql)
    await idleOnes(sql, fence, 2)
    const first = await submitClaim(sql, aClaim(fence.pool, { joinUrl: LINK }))
    const second = await submitClaim(sql, aClaim(fence.pool, { joinUrl: LINK, ...difference }))
    expect([first.outcome, second.outcome]).toEqual(['Bound', 'Bound'])
  })

  it('after the window, or after the first was let go, is another agent', async () => {
    const fence = await aPool(sql)
    await idleOnes(sql, fence, 3)
    const tap = () => submitClaim(sql, aClaim(fence.pool, { joinUrl: LINK }))
    const first = idOf(await tap())
    await sql`update claims set created_at = created_at - interval '61 seconds' where id = ${first}`
    const second = idOf(await tap())
    expect(second).not.toBe(first)
    await releaseClaim(sql, fence.pool, second)
    expect((await tap()).outcome).toBe('Bound')
  })

  it('with a key each is one claim for both keys', async () => {
    const fence = await aPool(sql)
    await idleOnes(sql, fence, 3)
    const tap = (key: string, bodyHash = 'h') =>
      submitClaim(sql, aClaim(fence.pool, { joinUrl: LINK, key: `${fence.pool}-${key}`, bodyHash }))
    const first = idOf(await tap('one'))
    expect(idOf(await tap('two'))).toBe(first)
    await sql`update claims set created_at = created_at - interval '1 hour' where id = ${first}`
    expect(await tap('two')).toMatchObject({ outcome: 'Known', claimId: first })
    expect(await tap('two', 'other')).toMatchObject({ outcome: 'KeyReused', bodyHash: 'h' })
  })

  it('that was refused stored nothing: the next one is a new try', async () => {
    const fence = await aPool(sql)
    const tap = () => submitClaim(sql, aClaim(fence.pool, { joinUrl: LINK, key: 'refused', bodyHash: 'h' }))
    expect(await tap()).toEqual({ outcome: 'Empty' })
    expect(await sql`select from claim_keys where key = 'refused'`).toHaveLength(0)
    await idleOnes(sql, fence, 1)
    expect((await tap()).outcome).toBe('Bound')
  })
})

describe('a key', () => {
  it('gives twins the one claim and never "empty" beside it, though only one instance is idle', async () => {
    for (let round = 0; round < 20; round++) {
      const fence = await aPool(sql)
      await idleOnes(sql, fence, 1)
      const key = `twin-${fence.pool}`
      const twins = await Promise.all(
        Array.from({ length: 8 }, (_, n) =>
          submitClaim(n % 2 ? sql : other, aClaim(fence.pool, { key, bodyHash: 'h' })),
        ),
      )
      expect(new Set(twins.map(idOf)).size).toBe(1)
    }
  })

  it('is forgotten after its day, and the claim is not', async () => {
    const fence = await aPool(sql)
    await idleOnes(sql, fence, 2)
    const [young, old] = ['young', 'old'].map((key) => `${fence.pool}-${key}`) as [string, string]
    const claims = []
    for (const key of [young, old])
      claims.push(idOf(await submitClaim(sql, aClaim(fence.pool, { key, bodyHash: 'h' }))))
    await sql`update claim_keys set created_at = created_at - interval '25 hours' where key = ${old}`
    expect(await forgetClaimKeys(sql, 86_400)).toBe(1)
    expect(await sql`select key from claim_keys where key in (${young}, ${old})`).toEqual([{ key: young }])
    for (const id of claims) expect(await getClaim(sql, fence.pool, id)).toMatchObject({ phase: 'Bound' })
  })
})
