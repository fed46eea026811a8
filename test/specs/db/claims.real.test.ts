import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { endUnbegunClaims, getClaim, releaseClaim, submitClaim } from '../../../specs/db/claims.ts'
import type { Sql } from '../../../specs/db/connect.ts'
import { beginDelivery, loadInstances, unwantIdle } from '../../../specs/db/instances.ts'
import { writeProbes } from '../../../specs/db/probes.ts'
import { systemRandom } from '../../../specs/random.ts'
import { aClaim, aPool, idle, idleOnes, members, put, snapshot } from '../../support/builders.ts'
import { type TestDatabase, testDatabase } from '../../support/database.ts'

let database: TestDatabase
let sql: Sql
beforeAll(async () => {
  database = await testDatabase()
  sql = database.connect({ max: 8 })
})
afterAll(() => database.drop())

const attempt = () => ({ id: systemRandom.word(12), call: 'converse' as const, until: 0 })
const instanceOf = async (id: string) => {
  const [loaded] = await loadInstances(sql, [id])
  if (!loaded) throw new Error(`no instance ${id}`)
  return loaded.instance
}

describe('a claim', () => {
  it('takes the newest revision first, then the one that is ready the longest', async () => {
    const fence = await aPool(sql)
    const [oldest = '', older = '', newest = ''] = await idleOnes(sql, fence, 3)
    await put(sql, fence, newest, { rank: 2 })
    const order = []
    for (let n = 0; n < 3; n++) {
      const submitted = await submitClaim(sql, aClaim(fence.pool))
      if (submitted.outcome === 'Bound') order.push(submitted.instanceId)
    }
    expect(order).toEqual([newest, oldest, older])
  })

  it('is refused when nothing is idle, and the refusal stores nothing', async () => {
    const fence = await aPool(sql)
    const claim = aClaim(fence.pool, { key: 'k-refused', bodyHash: 'h' })
    expect(await submitClaim(sql, claim)).toEqual({ outcome: 'Empty' })
    await idleOnes(sql, fence, 1)
    expect(await submitClaim(sql, claim)).toMatchObject({ outcome: 'Bound' })
  })

  it('does not take what is missing, unwanted, bound, or about to be recycled', async () => {
    const fence = await aPool(sql)
    const [missing = '', unwanted = '', recycled = ''] = await idleOnes(sql, fence, 3)
    await sql`update instances set recycle_requested = 1 where id = ${recycled}`
    await put(sql, fence, missing, { machine: snapshot('idle', { missingAt: 1 }) })
    await sql`update instances set wanted = 'absent' where id = ${unwanted}`
    expect(await submitClaim(sql, aClaim(fence.pool))).toEqual({ outcome: 'Empty' })
  })

  it('with a known key is the same claim, and with another body a conflict, twins at once included', async () => {
    const fence = await aPool(sql)
    await idleOnes(sql, fence, 5)
    const twins = await Promise.all(
      Array.from({ length: 8 }, () => submitClaim(sql, aClaim(fence.pool, { key: 'k-twin', bodyHash: 'h' }))),
    )
    expect(twins.filter(({ outcome }) => outcome === 'Bound')).toHaveLength(1)
    expect(twins.filter(({ outcome }) => outcome === 'Known')).toHaveLength(7)
    expect(new Set(twins.map((twin) => ('claimId' in twin ? twin.claimId : '')))).toHaveLength(1)
    expect(await submitClaim(sql, aClaim(fence.pool, { key: 'k-twin', bodyHash: 'other' }))).toMatchObject({
      outcome: 'KeyReused',
    })
    expect(
      await submitClaim(sql, aClaim(fence.pool, { actor: 'somebody', key: 'k-twin', bodyHash: 'other' })),
    ).toMatchObject({ outcome: 'Bound' })
  })

  it('1,000 at once on 500 idle ones: 500 served, each by its own, 500 refused, no error', async () => {
    const fence = await aPool(sql, { maxTotal: 600 })
    const made = await members(sql, fence, 500)
    await sql`update instances set machine = ${sql.json(snapshot('idle') as never)}, proven_at = now(), ready_at = now() where id = any (${made as string[]})`
    const results = await Promise.all(
      Array.from({ length: 1000 }, () => submitClaim(sql, aClaim(fence.pool))),
    )
    const bound = results.flatMap((result) => (result.outcome === 'Bound' ? [result.instanceId] : []))
    expect(bound).toHaveLength(500)
    expect(new Set(bound)).toHaveLength(500)
    expect(results.filter(({ outcome }) => outcome === 'Empty')).toHaveLength(500)
  })

  it('is never told "empty" while an instance is free, with probes and edits going on', async () => {
    const fence = await aPool(sql, { maxTotal: 100 })
    const ids = await idleOnes(sql, fence, 60)
    let over = false
    const noise = (async () => {
      while (!over) {
        await writeProbes(
          sql,
          ids.map((id) => ({ id, ok: true, latencyMs: 1, verdict: 'ready', resourceVersion: 0 })),
          3,
        )
        await sql`update instances set protected = not protected where pool = ${fence.pool} and shelf`
      }
    })()
    const lanes = Array.from({ length: 4 }, async () => {
      const answers = []
      for (let n = 0; n < 15; n++) answers.push(await submitClaim(sql, aClaim(fence.pool)))
      return answers
    })
    const answers = (await Promise.all(lanes)).flat()
    over = true
    await noise
    expect(answers.filter(({ outcome }) => outcome === 'Empty')).toHaveLength(0)
  })

  it('waits for a write that holds the whole shelf while it commits, and is not told "empty"', async () => {
    const fence = await aPool(sql, { maxTotal: 100 })
    await idleOnes(sql, fence, 3)
    const isHeld = Promise.withResolvers<void>()
    const write = sql.begin(async (tx) => {
      await tx`update instances set protected = not protected where pool = ${fence.pool} and shelf`
      isHeld.resolve()
      await tx`select pg_sleep(0.1)` // as long as a slow disk takes for a commit
    })
    await isHeld.promise
    expect(await submitClaim(sql, aClaim(fence.pool))).toMatchObject({ outcome: 'Bound' })
    await write
  })

  it('and a drain never take the same instance', async () => {
    const fence = await aPool(sql, { maxTotal: 300 })
    for (let round = 0; round < 40; round++) {
      await sql`delete from instances where pool = ${fence.pool} and claim_id is null`
      await idleOnes(sql, fence, 3)
      const [a, b, drained] = await Promise.all([
        submitClaim(sql, aClaim(fence.pool)),
        submitClaim(sql, aClaim(fence.pool)),
        unwantIdle(sql, fence, 2),
      ])
      const bound = [a, b].filter(({ outcome }) => outcome === 'Bound').length
      const [clash] =
        await sql`select id from instances where pool = ${fence.pool} and claim_id is not null and wanted = 'absent'`
      expect(clash).toBeUndefined()
      expect(bound + (drained ?? 0)).toBeLessThanOrEqual(3)
    }
  })
})

describe('the line', () => {
  it('is served first come first served, by priority, by what makes an instance idle', async () => {
    const fence = await aPool(sql)
    const [id = ''] = await members(sql, fence, 1)
    const first = aClaim(fence.pool, { wait: true })
    const second = aClaim(fence.pool, { wait: true })
    const urgent = aClaim(fence.pool, { wait: true, priority: 5 })
    for (const claim of [first, second, urgent])
      expect(await submitClaim(sql, claim)).toMatchObject({ outcome: 'Waiting' })
    await put(sql, fence, id, idle())
    expect(await getClaim(sql, fence.pool, urgent.claimId)).toMatchObject({ phase: 'Bound', instanceId: id })
    const [next = ''] = await idleOnes(sql, fence, 1)
    expect(await getClaim(sql, fence.pool, first.claimId)).toMatchObject({ phase: 'Bound', instanceId: next })
    expect(await getClaim(sql, fence.pool, second.claimId)).toMatchObject({ phase: 'Waiting' })
  })

  it('is not overtaken by one that comes when an instance is free again', async () => {
    const fence = await aPool(sql)
    const waiting = aClaim(fence.pool, { wait: true })
    await submitClaim(sql, waiting)
    const [id = ''] = await members(sql, fence, 1)
    // Made idle past the function that serves the line: as after a hand-over, nobody has looked yet.
    await sql`update instances set machine = ${sql.json(snapshot('idle') as never)}, proven_at = now(), ready_at = now() where id = ${id}`
    expect(await submitClaim(sql, aClaim(fence.pool))).toEqual({ outcome: 'Empty' })
    expect(await getClaim(sql, fence.pool, waiting.claimId)).toMatchObject({ phase: 'Bound', instanceId: id })
  })

  it('takes a claim back whose delivery failed, at its old place', async () => {
    const fence = await aPool(sql)
    const [id = ''] = await idleOnes(sql, fence, 1)
    const unlucky = aClaim(fence.pool)
    await submitClaim(sql, unlucky)
    const later = aClaim(fence.pool, { wait: true })
    await submitClaim(sql, later)
    await beginDelivery(sql, fence, id, attempt(), snapshot('delivering'))
    await put(
      sql,
      fence,
      id,
      { machine: snapshot('marking'), attempt: null, claim_id: null },
      { claim: { id: unlucky.claimId, phase: 'Waiting', instance_id: null } },
    )
    const [next = ''] = await idleOnes(sql, fence, 1)
    expect(await getClaim(sql, fence.pool, unlucky.claimId)).toMatchObject({
      phase: 'Bound',
      instanceId: next,
    })
    expect(await getClaim(sql, fence.pool, later.claimId)).toMatchObject({ phase: 'Waiting' })
  })
})

describe('cancel and deadline', () => {
  it('end what never began, and the instance goes back to the shelf untouched', async () => {
    const fence = await aPool(sql)
    const [id = ''] = await idleOnes(sql, fence, 1)
    const claim = aClaim(fence.pool)
    await submitClaim(sql, claim)
    await releaseClaim(sql, fence.pool, claim.claimId)
    expect(await beginDelivery(sql, fence, id, attempt(), snapshot('delivering'))).toBeNull()
    expect(await endUnbegunClaims(sql, fence)).toMatchObject([{ phase: 'Cancelled' }])
    expect(await instanceOf(id)).toMatchObject({ phase: 'idle', claimId: null, touched: false })
    const overdue = aClaim(fence.pool, { deadlineSeconds: 0 })
    await submitClaim(sql, overdue)
    expect(await endUnbegunClaims(sql, fence)).toMatchObject([
      { phase: 'Expired', reason: 'DeadlineExceeded' },
    ])
    expect(await submitClaim(sql, aClaim(fence.pool))).toMatchObject({ outcome: 'Bound', instanceId: id })
  })

  it('race with the begin of the delivery: one of them has the claim, never both, never neither', async () => {
    const fence = await aPool(sql, { maxTotal: 300 })
    for (let round = 0; round < 60; round++) {
      const [id = ''] = await idleOnes(sql, fence, 1)
      const claim = aClaim(fence.pool)
      await submitClaim(sql, claim)
      const [begun] = await Promise.all([
        beginDelivery(sql, fence, id, attempt(), snapshot('delivering')),
        releaseClaim(sql, fence.pool, claim.claimId).then(() => endUnbegunClaims(sql, fence)),
      ])
      await endUnbegunClaims(sql, fence)
      const [after, instance] = [await getClaim(sql, fence.pool, claim.claimId), await instanceOf(id)]
      if (begun) {
        expect(after.phase).toBe('Delivering')
        expect(instance).toMatchObject({ phase: 'delivering', claimId: claim.claimId })
      } else {
        expect(after.phase).toBe('Cancelled')
        expect(instance).toMatchObject({ phase: 'idle', claimId: null, touched: false })
      }
      await sql`update instances set claim_id = null, wanted = 'absent' where id = ${id}`
    }
  })

  it('asked for while the request is under way ends the claim as cancelled, whatever was made', async () => {
    const fence = await aPool(sql)
    const [id = ''] = await idleOnes(sql, fence, 1)
    const claim = aClaim(fence.pool)
    await submitClaim(sql, claim)
    await beginDelivery(sql, fence, id, attempt(), snapshot('delivering'))
    await releaseClaim(sql, fence.pool, claim.claimId)
    await put(
      sql,
      fence,
      id,
      { machine: snapshot('claimed'), attempt: null },
      { claim: { id: claim.claimId, phase: 'Ready', conversation_id: 'c-1' } },
    )
    const after = await getClaim(sql, fence.pool, claim.claimId)
    expect(after.phase).toBe('Cancelled')
    expect(after.endedAt).not.toBeNull()
  })
})
