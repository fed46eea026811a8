import { afterAll, describe, expect, it } from 'vitest'
import { getClaim, submitClaim } from '../../../specs/db/claims.ts'
import type { Sql } from '../../../specs/db/connect.ts'
import { isUniqueViolation } from '../../../specs/db/connect.ts'
import {
  beginDelivery,
  countInstances,
  insertInstances,
  loadInstances,
  removeInstance,
  unwantIdle,
  writeInstance,
} from '../../../specs/db/instances.ts'
import { releaseLease, takeLease } from '../../../specs/db/leases.ts'
import { getPool, listRevisions, putSpec } from '../../../specs/db/pools.ts'
import { writeProbes } from '../../../specs/db/probes.ts'
import { aClaim, aPool, idle, idleOnes, members, put, SPEC, snapshot } from '../../support/builders.ts'
import { testDatabase } from '../../support/database.ts'

const { sql, connect, drop } = await testDatabase()
afterAll(drop)

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'accepted',
    (error: { code?: string }) => error.code ?? String(error),
  )

describe('what the database refuses, even if the code is wrong', () => {
  it('one instance for two live claims, and two instances for one claim', async () => {
    const fence = await aPool(sql)
    const [a, b] = await idleOnes(sql, fence, 2)
    const claim = aClaim(fence.pool)
    expect(await submitClaim(sql, claim)).toMatchObject({ outcome: 'Bound', instanceId: a })
    expect(await codeOf(sql`update instances set claim_id = ${claim.claimId} where id = ${b ?? ''}`)).toBe(
      '23505',
    )
    await submitClaim(sql, aClaim(fence.pool, { claimId: 'other', wait: true }))
    const twice = sql`update claims set instance_id = ${a ?? ''} where id = 'other'`
    expect(await twice.then(() => false, isUniqueViolation)).toBe(true)
  })

  it('an idle row that is touched, or was never proven', async () => {
    const fence = await aPool(sql)
    const [id = ''] = await members(sql, fence, 1)
    expect(await codeOf(put(sql, fence, id, { ...idle(), proven_at: null }))).toBe('23514')
    expect(await codeOf(put(sql, fence, id, { ...idle(), touched: true }))).toBe('23514')
    expect(await codeOf(put(sql, fence, id, idle()))).toBe('accepted')
  })

  it('a phase that no machine knows, and a name that is taken', async () => {
    const fence = await aPool(sql)
    const [id = ''] = await members(sql, fence, 1)
    expect(await codeOf(put(sql, fence, id, { machine: snapshot('zombie') }))).toBe('23514')
    const [{ sprite_name: name = '' } = {}] = await sql<
      { sprite_name: string }[]
    >`select sprite_name from instances where id = ${id}`
    const twin = {
      id: 'abcdefghijkl' as never,
      spriteName: name,
      stamp: 's',
      revision: 1,
      machine: snapshot('pending'),
    }
    const pool = await getPool(sql, fence.pool)
    expect(await codeOf(insertInstances(sql, fence, pool.planVersion, [twin], null))).toBe('23505')
  })

  it('more rows than maxTotal, from however many plans at once', async () => {
    const fence = await aPool(sql, { maxTotal: 10 })
    const many = Array.from(
      { length: 8 },
      (_, n) =>
        sql`insert into instances (id, pool, machine, revision, sprite_name, stamp)
          select 'i' || lpad(to_hex(g), 2, '0') || ${`${n}xxxxxxxx`}, ${fence.pool}, ${sql.json(snapshot('pending') as never)}, 1, ${`s-${n}-`} || g, 's'
            from generate_series(1, 4) g`,
    )
    const results = await Promise.all(many.map(codeOf))
    expect(results.filter((code) => code === 'accepted')).toHaveLength(2)
    expect(results.filter((code) => code === '23514')).toHaveLength(6)
    expect((await countInstances(sql, fence.pool)).provisioning).toBe(8)
  })
})

describe('generation, revision and resource_version', () => {
  it('move when the spec differs, the revision only with the template, and an equal spec moves nothing', async () => {
    const { pool } = await aPool(sql)
    const first = await putSpec(sql, pool, SPEC, 1)
    expect(first).toMatchObject({ generation: 1, revision: 1 })
    const second = await putSpec(sql, pool, { ...SPEC, minIdle: 5 }, 1)
    expect(second).toMatchObject({ generation: 2, revision: 1 })
    const third = await putSpec(
      sql,
      pool,
      { ...SPEC, template: { ...SPEC.template, openclawRef: 'main' } },
      2,
    )
    expect(third).toMatchObject({ generation: 3, revision: 2 })
    expect((await listRevisions(sql, pool)).map(({ number }) => number)).toEqual([2, 1])
    expect(await putSpec(sql, pool, SPEC, 2)).toBeNull()
  })

  it('are moved for a writer with psql too', async () => {
    const { pool } = await aPool(sql)
    await sql`update pools set spec = jsonb_set(spec, '{minIdle}', '7'), generation = 99 where name = ${pool}`
    expect(await getPool(sql, pool)).toMatchObject({ generation: 2, spec: { minIdle: 7 } })
  })

  it('a spec that does not parse is kept, and read as none', async () => {
    const { pool } = await aPool(sql)
    await sql`update pools set spec = spec || '{"minIdel": 3}' where name = ${pool}`
    expect(await getPool(sql, pool)).toMatchObject({ generation: 2, spec: null })
  })

  it('count each change of an instance once, and none for a write that changes nothing', async () => {
    const fence = await aPool(sql)
    const [id = ''] = await members(sql, fence, 1)
    const before = (await loadInstances(sql, [id]))[0]?.instance.resourceVersion ?? 0
    expect((await put(sql, fence, id, { error: 'x' })).resourceVersion).toBe(before + 1)
    expect((await put(sql, fence, id, { error: 'x' })).resourceVersion).toBe(before + 1)
  })

  it('are left alone by a probe, so that a heartbeat never moves what a claim looks for', async () => {
    const fence = await aPool(sql)
    const [id = ''] = await idleOnes(sql, fence, 1)
    const [before] = await loadInstances(sql, [id])
    const version = before?.instance.resourceVersion ?? 0
    const result = { id, ok: false, latencyMs: 5, verdict: 'down', resourceVersion: version }
    expect(await writeProbes(sql, [result], 2)).toEqual([])
    expect(await writeProbes(sql, [result], 2)).toEqual([id])
    const [after] = await loadInstances(sql, [id])
    expect(after?.instance.resourceVersion).toBe(version)
    expect(after?.probe.strikes).toBe(2)
    expect(await writeProbes(sql, [{ ...result, ok: true, resourceVersion: version - 1 }], 2)).toEqual([])
    expect((await loadInstances(sql, [id]))[0]?.probe.strikes).toBe(2) // formed on another version: dropped
  })
})

describe('who may write', () => {
  it('the leader of this epoch alone: a decision, a plan, a removal and a drain of an old one change nothing', async () => {
    const old = await aPool(sql)
    const [id = ''] = await idleOnes(sql, old, 1)
    const [loaded] = await loadInstances(sql, [id])
    if (!loaded) throw new Error('lost')
    await releaseLease(sql, old.pool, old.epoch, null)
    const taken = await takeLease(sql, old.pool, 'another')
    expect(taken?.epoch).toBe(old.epoch + 1)
    const patch = { error: 'by the old one' }
    expect(await writeInstance(sql, old, loaded.instance, null, { patch }, 'old')).toBeNull()
    const pool = await getPool(sql, old.pool)
    const twin = {
      id: 'abcdefghijkm' as never,
      spriteName: 'n',
      stamp: 's',
      revision: 1,
      machine: snapshot('pending'),
    }
    expect(await insertInstances(sql, old, pool.planVersion, [twin], null)).toBeNull()
    expect(await unwantIdle(sql, old, 1)).toBeNull()
    expect(
      await removeInstance(
        sql,
        old,
        loaded.instance,
        { claim: { reason: 'x', message: 'x' }, news: [] },
        'old',
      ),
    ).toBe(false)
    expect((await loadInstances(sql, [id]))[0]?.instance).toMatchObject({ error: null, wanted: 'present' })
  })

  it('a write that waited for its row while the lease went over is refused', async () => {
    const old = await aPool(sql)
    const [id = ''] = await idleOnes(sql, old, 1)
    const [loaded] = await loadInstances(sql, [id])
    if (!loaded) throw new Error('lost')
    const holder = connect({ max: 1 })
    let waiting: Promise<unknown> = Promise.resolve()
    await holder.begin(async (tx) => {
      await tx`select 1 from instances where id = ${id} for update`
      waiting = writeInstance(sql, old, loaded.instance, null, { patch: { error: 'late' } }, 'old')
      await lockedBy(sql, 'write_instance')
      // The take-over changes the epoch, a key column: it waits for the write under way and cannot overtake it.
      const takeOver = connect({
        max: 1,
      })`update leases set expires_at = pool_now() - interval '1 s' where pool = ${old.pool}`
      await takeOver
    })
    await waiting
    expect((await loadInstances(sql, [id]))[0]?.instance.error).toBe('late') // it was written under its own lease
    expect((await takeLease(sql, old.pool, 'another'))?.epoch).toBe(old.epoch + 1)
    expect(await writeInstance(sql, old, loaded.instance, null, { patch: {} }, 'old')).toBeNull()
  })

  it('an outcome is written where its attempt still stands, whoever leads and whatever was edited meanwhile', async () => {
    const fence = await aPool(sql)
    const [id = ''] = await idleOnes(sql, fence, 1)
    const claim = aClaim(fence.pool)
    await submitClaim(sql, claim)
    const attempt = { id: 'attempt-1', call: 'converse' as const, until: 0 }
    const begun = await beginDelivery(sql, fence, id, attempt, snapshot('delivering'))
    expect(begun).toMatchObject({
      instance: { phase: 'delivering', touched: true, provenAt: null },
      claim: { attempts: 1 },
    })
    await releaseLease(sql, fence.pool, fence.epoch, null)
    await takeLease(sql, fence.pool, 'another')
    await sql`update instances set protected = true where id = ${id}`
    const outcome = {
      patch: { machine: snapshot('claimed'), attempt: null },
      claim: { id: claim.claimId, phase: 'Ready', conversation_id: 'c-1' },
    }
    const stale = { id: id as never, resourceVersion: 0 }
    expect(await writeInstance(sql, fence, stale, 'attempt-2', outcome, 'old')).toBeNull()
    expect(await writeInstance(sql, fence, stale, 'attempt-1', outcome, 'old')).toMatchObject({
      phase: 'claimed',
    })
    expect(await writeInstance(sql, fence, stale, 'attempt-1', outcome, 'old')).toBeNull()
    expect(await getClaim(sql, fence.pool, claim.claimId)).toMatchObject({
      phase: 'Ready',
      conversationId: 'c-1',
    })
  })

  it('a plan made of old news inserts nothing', async () => {
    const fence = await aPool(sql)
    const pool = await getPool(sql, fence.pool)
    const plans = Array.from({ length: 6 }, (_, n) =>
      insertInstances(
        sql,
        fence,
        pool.planVersion,
        [
          {
            id: `planmember${n}a` as never,
            spriteName: `plan-${fence.pool}-${n}`,
            stamp: 's',
            revision: 1,
            machine: snapshot('pending'),
          },
        ],
        null,
      ),
    )
    const made = await Promise.all(plans)
    expect(made.filter((count) => count === 1)).toHaveLength(1)
    expect(made.filter((count) => count === null)).toHaveLength(5)
  })
})

/** Resolves once a statement of that text waits for a lock. */
async function lockedBy(sql: Sql, text: string): Promise<void> {
  const until = performance.now() + 10_000
  while (performance.now() < until) {
    const waiting =
      await sql`select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like ${`%${text}%`}`
    if (waiting.length > 0) return
  }
  throw new Error(`${text} never waited`)
}
