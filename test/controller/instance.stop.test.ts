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
import { until } from '../support/until.ts'
import { virtualClock } from '../support/virtual-clock.ts'

const { sql, drop } = await testDatabase()
afterAll(drop)

it('a stop that hurries what runs does not abort a conversation that is being made, and its outcome is recorded', async () => {
  const fence = await aPool(sql)
  const [id = ''] = await members(sql, fence, 1)
  await put(sql, fence, id, idle(), { secret: { gateway_key: 'key-of-this-life', gateway_token: 'token' } })
  const claim = aClaim(fence.pool)
  await submitClaim(sql, claim)
  let answer = () => {}
  const gateway: Partial<GatewayClient> = {
    converse: (_url, _key, _body, _limit, signal) =>
      new Promise((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
        answer = () => resolve({ conversationId: 'c1', inviteUrl: 'https://invite', inviteSlug: 'slug' })
      }),
  }
  const deps: InstanceDeps = {
    sql,
    clock: virtualClock(),
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
    joinBeats: createBeatWatch(virtualClock()),
    limited: () => {},
    massIll: () => false,
    anthropicApiKey: null,
    account: 'test',
  }
  const stop = new AbortController()
  const run = instanceReconciler(deps)(id, 'deliveries', stop.signal).catch(() => {})
  const phase = async () => (await getClaims(sql, [claim.claimId]))[0]?.phase
  await until(async () => (await phase()) === 'Delivering', { what: 'the request is sent' })
  stop.abort(new Error('the controller stopped'))
  answer()
  await run
  expect(await phase()).toBe('Ready')
})
