/** A call to an agent is sent once, whatever happens around it. */
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import type { GatewayClient } from '../../controller/gateway/client.ts'
import { GatewayRejected, GatewayUnknown } from '../../controller/gateway/errors.ts'
import { carryOutAgentAction } from '../../controller/instance/agent-action.ts'
import { type InstanceDeps, startRun } from '../../controller/instance/run.ts'
import { agentActions } from '../../controller/operations/agent-actions.ts'
import { getClaim, releaseClaim, submitClaim } from '../../specs/db/claims.ts'
import { beginDelivery, loadInstances } from '../../specs/db/instances.ts'
import { cancelOperation, createOperation, getOperation, writeOperation } from '../../specs/db/operations.ts'
import type { Fence } from '../../specs/db/pools.ts'
import type { AgentVerb } from '../../specs/operation.ts'
import { systemRandom } from '../../specs/random.ts'
import { aClaim, aPool, idleOnes, put, SPEC, snapshot } from '../support/builders.ts'
import { testDatabase } from '../support/database.ts'
import { virtualClock } from '../support/virtual-clock.ts'

/** On a machine that is busy with other tests. */
const SOON = { timeout: 10_000 }

const { sql, drop } = await testDatabase()
afterAll(drop)

let fence: Fence
let claimId: string
let instanceId: string
beforeEach(async () => {
  fence = await aPool(sql)
  ;[instanceId = ''] = await idleOnes(sql, fence, 1)
  const claim = aClaim(fence.pool)
  claimId = claim.claimId
  await submitClaim(sql, claim)
  await beginDelivery(sql, fence, instanceId, { id: 'a', call: 'converse', until: 0 }, snapshot('delivering'))
  await put(
    sql,
    fence,
    instanceId,
    { machine: snapshot('claimed'), attempt: null },
    {
      claim: { id: claimId, phase: 'Ready', conversation_id: 'c1' },
      secret: { gateway_key: 'key', gateway_token: 'token' },
    },
  )
})

const ask = (verb: AgentVerb, words: Record<string, unknown> = {}) =>
  createOperation(sql, {
    id: systemRandom.word(12),
    pool: fence.pool,
    kind: 'action',
    selector: { claim: claimId, instance: instanceId, verb },
    arguments: words,
    actor: 'admin',
    deadlineSeconds: 120,
  })

/** One controller, whose gateway answers like this. */
function controller(call: () => Promise<unknown> = async () => ({ messageId: 'm1' })) {
  const sent: { verb: string; body: unknown }[] = []
  const verb = (name: string) => (_url: string, _key: string, body: unknown) => {
    sent.push({ verb: name, body })
    return call()
  }
  const lead = { mayCall: () => true, foreignUntil: null as number | null, underway: () => () => {}, fence }
  const clock = virtualClock()
  const deps = {
    sql,
    clock,
    random: systemRandom,
    lead,
    moved() {},
    gateway: Object.fromEntries(
      ['send', 'rename', 'lock', 'explode'].map((name) => [name, verb(name)]),
    ) as unknown as GatewayClient,
  } as unknown as InstanceDeps // what an agent's action needs, and no more
  return {
    sent,
    lead,
    clock,
    async run() {
      const [loaded] = await loadInstances(sql, [instanceId])
      if (!loaded) throw new Error('no instance')
      const facts = { name: fence.pool, uid: 'uid', revision: 1, spec: SPEC }
      return carryOutAgentAction(deps, startRun(loaded, facts, new AbortController().signal))
    },
  }
}
const end = async (id: string) => {
  const { phase, result } = await getOperation(sql, fence.pool, id)
  return [phase, result?.reason ?? null]
}

it('is sent with what was asked, oldest first, and each once', async () => {
  const first = await ask('send', { message: 'Hi' })
  const second = await ask('unlock')
  const { run, sent } = controller()
  expect([await run(), await run(), await run()]).toEqual([true, true, false])
  expect(sent).toEqual([
    { verb: 'send', body: { message: 'Hi' } },
    { verb: 'lock', body: { unlock: true } },
  ])
  expect(await getOperation(sql, fence.pool, first.id)).toMatchObject({
    phase: 'Succeeded',
    done: 1,
    result: { messageId: 'm1' },
    arguments: {},
  })
  expect((await getOperation(sql, fence.pool, second.id)).phase).toBe('Succeeded')
})

it('renames the claim with its agent', async () => {
  await ask('rename', { name: 'Bob' })
  await controller().run()
  expect((await getClaim(sql, fence.pool, claimId)).agentName).toBe('Bob')
})

it('lets the claim go once its conversation is exploded, and not before', async () => {
  const refused = await ask('explode')
  await controller(() => Promise.reject(new GatewayRejected('explode', 'no'))).run()
  expect(await end(refused.id)).toEqual(['Failed', 'RequestRefused'])
  expect((await getClaim(sql, fence.pool, claimId)).releasedAt).toBeNull()
  await ask('explode')
  await controller().run()
  expect((await getClaim(sql, fence.pool, claimId)).releasedAt).not.toBeNull()
})

describe('is not repeated', () => {
  it('when its answer is lost', async () => {
    const { id } = await ask('send', { message: 'Hi' })
    const { run, sent } = controller(() => Promise.reject(new GatewayUnknown('send', 502, '')))
    expect([await run(), await run()]).toEqual([true, false])
    expect(sent).toHaveLength(1)
    expect(await end(id)).toEqual(['Failed', 'OutcomeUnknown'])
  })

  it('when the controller died while it was under way', async () => {
    const { id } = await ask('send', { message: 'Hi' })
    void controller(() => new Promise(() => {})).run()
    await expect.poll(() => end(id), SOON).toEqual(['Running', null])
    const next = controller()
    expect(await next.run()).toBe(true)
    expect(next.sent).toEqual([])
    expect(await end(id)).toEqual(['Failed', 'OutcomeUnknown'])
  })

  it('while the leader before us still reports what came of it', async () => {
    const { id } = await ask('send', { message: 'Hi' })
    let answer = (_: unknown) => {}
    const before = controller(() => new Promise((resolve) => (answer = resolve))).run()
    await expect.poll(() => end(id), SOON).toEqual(['Running', null])
    const next = controller()
    next.lead.foreignUntil = next.clock.now() + 1
    expect(await next.run()).toBe(false)
    answer({ messageId: 'm1' })
    await before
    expect([next.sent, await end(id)]).toEqual([[], ['Succeeded', null]])
  })
})

describe('is not sent', () => {
  it('for a claim that was let go', async () => {
    await ask('send', { message: 'Hi' })
    await releaseClaim(sql, fence.pool, claimId)
    const { run, sent } = controller()
    expect([await run(), sent]).toEqual([false, []])
  })

  it('after it was cancelled', async () => {
    const { id } = await ask('send', { message: 'Hi' })
    await cancelOperation(sql, fence.pool, id)
    const { run, sent } = controller()
    await run()
    expect(sent).toEqual([])
  })

  it('when the lease is about to end', async () => {
    const { id } = await ask('send', { message: 'Hi' })
    const { run, sent, lead } = controller()
    lead.mayCall = () => false
    expect([await run(), sent, await end(id)]).toEqual([false, [], ['Pending', null]])
    let asked = 0
    lead.mayCall = () => asked++ === 0
    await run()
    expect([sent, await end(id)]).toEqual([[], ['Failed', 'NotSent']])
  })
})

describe('while it waits', () => {
  const waiting = () => {
    const looked: string[] = []
    const clock = virtualClock()
    return { looked, clock, advance: agentActions({ sql, clock, look: (id) => looked.push(id) }) }
  }
  const advanceStored = async (advance: ReturnType<typeof waiting>['advance'], id: string) =>
    advance(await getOperation(sql, fence.pool, id))

  it('its instance is woken, and not at every look', async () => {
    const { id } = await ask('lock')
    const { looked, clock, advance } = waiting()
    await advanceStored(advance, id)
    expect(await advanceStored(advance, id)).toEqual({ phase: 'Pending' })
    expect(looked).toEqual([instanceId])
    await clock.advance(5_000)
    await advanceStored(advance, id)
    expect(looked).toEqual([instanceId, instanceId])
  })

  it('it ends with its claim, by a person, or when nobody could ask its agent in time', async () => {
    const { advance } = waiting()
    const cancelled = await ask('lock')
    await cancelOperation(sql, fence.pool, cancelled.id)
    expect(await advanceStored(advance, cancelled.id)).toMatchObject({ phase: 'Cancelled' })
    const late = await ask('lock')
    await sql`update operations set deadline_at = '2000-01-01' where id = ${late.id}`
    expect(await advanceStored(advance, late.id)).toMatchObject({ phase: 'Expired' })
    const { id } = await ask('lock')
    await releaseClaim(sql, fence.pool, claimId)
    expect(await advanceStored(advance, id)).toMatchObject({
      phase: 'Failed',
      result: { reason: 'ClaimEnded' },
    })
  })

  it('one that is under way is left to its end, and ends unknown past its time', async () => {
    const { id } = await ask('send', { message: 'Hi' })
    void controller(() => new Promise(() => {})).run()
    await expect.poll(() => end(id), SOON).toEqual(['Running', null])
    await cancelOperation(sql, fence.pool, id) // too late: what was sent cannot be called back
    const { clock, advance } = waiting()
    expect(await advanceStored(advance, id)).toEqual({ phase: 'Running' })
    await clock.advance(40_000)
    const unknown = await advanceStored(advance, id)
    expect(unknown).toMatchObject({ phase: 'Failed', result: { reason: 'OutcomeUnknown' } })
    await writeOperation(sql, fence, id, unknown)
    expect((await getOperation(sql, fence.pool, id)).arguments).toEqual({})
  })
})
