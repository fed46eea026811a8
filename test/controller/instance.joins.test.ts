import { afterAll, expect, it } from 'vitest'
import type { GatewayClient } from '../../controller/gateway/client.ts'
import { createBeatWatch } from '../../controller/instance/join-loop.ts'
import { instanceReconciler } from '../../controller/instance/reconciler.ts'
import type { InstanceDeps } from '../../controller/instance/run.ts'
import { createListingCache } from '../../controller/orphans/listing.ts'
import type { SpritesClient } from '../../controller/sprites/client.ts'
import { spriteFiles } from '../../deploy/sprite/templates.ts'
import { getClaims, submitClaim } from '../../specs/db/claims.ts'
import { systemRandom } from '../../specs/random.ts'
import { aClaim, aPool, idle, members, put, SPEC } from '../support/builders.ts'
import { testDatabase } from '../support/database.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const { sql, drop } = await testDatabase()
afterAll(drop)

it('sends every join request that it begins, also where the next one is due before its run has ended', async () => {
  const fence = await aPool(sql)
  const [id = ''] = await members(sql, fence, 1)
  await put(sql, fence, id, idle(), { secret: { gateway_key: 'key-of-this-life', gateway_token: 'token' } })
  const claim = aClaim(fence.pool, { joinUrl: 'nobody-approves' })
  await submitClaim(sql, claim)
  const clock = virtualClock()
  let sent = 0
  const gateway: Partial<GatewayClient> = {
    async join() {
      sent += 1
      return { status: 'waiting' }
    },
    // The machine sleeps whenever no request is under way: each next one is due before its run has ended.
    async status() {
      const idle = await sql`select from instances where id = ${id} and attempt is null`
      if (idle.length > 0) await clock.advance(150_000)
      return { kind: 'up', conversationId: null, streaming: false }
    },
  }
  const deps: InstanceDeps = {
    sql,
    clock,
    random: systemRandom,
    sprites: {} as SpritesClient,
    gateway: gateway as GatewayClient,
    files: spriteFiles,
    lead: {
      fence,
      signal: new AbortController().signal,
      mayCall: () => true,
      foreignUntil: null,
      underway: () => () => {},
    },
    listing: createListingCache(() => {}),
    pool: async () => ({ name: fence.pool, uid: 'uid', revision: 1, spec: SPEC }),
    moved: () => {},
    claimsDue: () => {},
    joinBeats: createBeatWatch(clock),
    limited: () => {},
    massIll: () => false,
    anthropicApiKey: null,
    account: 'test',
  }
  await instanceReconciler(deps)(id, 'deliveries', new AbortController().signal)
  const [after] = await getClaims(sql, [claim.claimId])
  expect({ sent, phase: after?.phase, reason: after?.reason }).toEqual({
    sent: SPEC.claim.joinAttempts,
    phase: 'Failed',
    reason: 'NotAccepted',
  })
})
