/**
 * What clients outside this repository rely on: shapes, words and status codes. A line here that has to change is a
 * breaking change, and belongs into the changelog.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { virtualClock } from '../support/virtual-clock.ts'
import { SPEC, startWorld, type World } from './support.ts'

const COUNTS = {
  provisioning: 0,
  idle: 0,
  claimed: 0,
  recycling: 0,
  recovering: 0,
  quarantined: 0,
  deleting: 0,
}
const CLAIM = { agentName: 'Ada', instructions: 'Help.' }
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterEach(async () => {
  await world.stage.clear()
  await world.ask('PUT', '/api/pool/spec', { payload: SPEC, headers: { 'if-match': '*' } })
})
afterAll(() => world?.close())

function pathsOf(problem: { errors: { path: string }[] }): string[] {
  return [...new Set(problem.errors.map(({ path }) => path))].sort()
}

/** One live agent, launched as anybody would. */
async function launch(body: object = CLAIM) {
  const [id = ''] = await world.stage.shelve(1)
  const [claimed] = await Promise.all([
    world.ask('POST', '/api/pool/claim', { payload: body }),
    world.stage.deliver(),
  ])
  return { id, claimed }
}

describe('open routes', () => {
  it('GET /healthz', async () => {
    const answer = await world.askOpenly('GET', '/healthz')
    expect(answer).toMatchObject({ status: 200, body: { ok: true } })
  })

  it('GET /readyz', async () => {
    const { status, body } = await world.askOpenly('GET', '/readyz')
    expect(status).toBe(200)
    expect(body).toEqual({ ok: true, database: true, listening: expect.any(Boolean), leader: true })
  })

  it('GET /version', async () => {
    const { body } = await world.askOpenly('GET', '/version')
    expect(body).toMatchObject({ version: '0.1.0+test', environment: 'dev', commit: null })
    expect(body.startedAt).toMatch(RFC3339)
  })

  it('GET counts: all seven words, zeros too, nothing else', async () => {
    expect(await world.askOpenly('GET', '/api/pool/counts')).toMatchObject({ status: 200 })
    expect((await world.askOpenly('GET', '/api/pool/counts')).body).toEqual(COUNTS)
    await world.stage.build(2)
    await world.stage.shelve(1)
    expect((await world.askOpenly('GET', '/api/pool/counts')).body).toEqual({
      ...COUNTS,
      provisioning: 2,
      idle: 1,
    })
  })

  it('GET agents: a bare array, and only four fields without a key', async () => {
    const { id } = await launch()
    const { body } = await world.askOpenly('GET', '/api/pool/agents')
    expect(body).toEqual([{ id, name: 'Ada', since: expect.stringMatching(RFC3339), state: 'live' }])
  })

  it('GET agents with a key: everything, the earlier names too', async () => {
    const { id, claimed } = await launch()
    const { body } = await world.ask('GET', '/api/pool/agents')
    expect(body).toHaveLength(1)
    const link = `https://dev.convos.org/v2?i=slug-${id}`
    expect(body[0]).toMatchObject({
      id,
      name: 'Ada',
      state: 'live',
      claimId: claimed.body.claimId,
      instructions: 'Help.',
      inviteUrl: link,
      conversationId: `conversation-${id}`,
      joinUrl: null,
      spriteName: `claw-dev-${id}`,
      commit: 'abc123',
      conditions: [],
      sprite_name: `claw-dev-${id}`,
      sprite_url: `https://${id}.example.com`,
      checkpoint_id: 'v1',
      claimed_by: 'Ada',
      claimed_at: expect.stringMatching(RFC3339),
      created_at: expect.stringMatching(RFC3339),
      updated_at: expect.stringMatching(RFC3339),
      invite_url: link,
      conversation_id: `conversation-${id}`,
      join_url: null,
    })
  })

  it('GET agents: newest claim first', async () => {
    await launch({ ...CLAIM, agentName: 'first' })
    await launch({ ...CLAIM, agentName: 'second' })
    const { body } = await world.askOpenly('GET', '/api/pool/agents')
    expect(body.map(({ name }: { name: string }) => name)).toEqual(['second', 'first'])
  })
})

describe('keys', () => {
  it.each([
    ['no key', undefined],
    ['a wrong key', 'Bearer nope'],
    ['another scheme', 'Basic abc'],
    ['an empty one', 'Bearer'],
  ])('401 with the promised sentence for %s', async (_, authorization) => {
    const answer = await world.askOpenly('GET', '/api/pool/status', {
      headers: authorization ? { authorization } : {},
    })
    expect(answer.status).toBe(401)
    expect(answer.body).toMatchObject({
      error: 'Invalid or missing API key',
      status: 401,
      code: 'Unauthorized',
    })
  })

  it('takes the scheme in any case', async () => {
    const { status } = await world.askOpenly('GET', '/api/pool/status', {
      headers: { authorization: `bEARER ${'a-key-of-the-tests-0123456789'}` },
    })
    expect(status).toBe(200)
  })
})

describe('errors', () => {
  it('are problem+json with one sentence for a person', async () => {
    const answer = await world.ask('GET', '/api/pool/instances/abcdefghijkl')
    expect(answer.status).toBe(404)
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(answer.body).toEqual({
      type: expect.any(String),
      title: 'Not Found',
      status: 404,
      code: 'NotFound',
      detail: expect.any(String),
      error: expect.any(String),
    })
  })

  it('400 when the body is not JSON', async () => {
    const answer = await world.ask('POST', '/api/pool/claim', {
      payload: '{"agentName": ',
      headers: { 'content-type': 'application/json' },
    })
    expect(answer).toMatchObject({ status: 400, body: { error: expect.stringContaining('JSON') } })
  })

  it('422 names every wrong field at once', async () => {
    const { status, body } = await world.ask('POST', '/api/pool/claim', {
      payload: { agentName: '', joinUrl: 'x y' },
    })
    expect(status).toBe(422)
    expect(pathsOf(body)).toEqual(['agentName', 'instructions', 'joinUrl'])
  })

  it('413 for a body that is too large', async () => {
    const payload = { ...CLAIM, instructions: 'x'.repeat(1_100_000) }
    expect(await world.ask('POST', '/api/pool/claim', { payload })).toMatchObject({ status: 413 })
  })

  it('404 for an unknown pool and an unknown route', async () => {
    expect((await world.askOpenly('GET', '/api/pools/nowhere/counts')).status).toBe(404)
    expect((await world.askOpenly('GET', '/nowhere')).status).toBe(404)
  })
})

describe('GET /api/pool/status', () => {
  it('has the pool and every instance, newest first', async () => {
    const [older = ''] = await world.stage.shelve(1)
    const [newer = ''] = await world.stage.build(1)
    const { status, body } = await world.ask('GET', '/api/pool/status')
    expect(status).toBe(200)
    expect(body).toMatchObject({
      name: 'default',
      generation: expect.any(Number),
      observedGeneration: 0,
      counts: { ...COUNTS, idle: 1, provisioning: 1 },
      conditions: [],
    })
    expect(body.instances.map(({ id }: { id: string }) => id)).toEqual([newer, older])
    expect(body.instances[1]).toEqual({
      id: older,
      status: 'idle',
      phase: 'idle',
      spriteName: `claw-dev-${older}`,
      spriteId: `sprite-${older}`,
      spriteUrl: `https://${older}.example.com`,
      revision: expect.any(Number),
      commit: 'abc123',
      checkpointId: 'v1',
      claimId: null,
      agentName: null,
      createdAt: expect.stringMatching(RFC3339),
      readyAt: expect.stringMatching(RFC3339),
      claimedAt: null,
      updatedAt: expect.stringMatching(RFC3339),
      lastProbeOkAt: null,
      strikes: 0,
      protected: false,
      progress: null,
      conditions: [],
      error: null,
      sprite_name: `claw-dev-${older}`,
      sprite_url: `https://${older}.example.com`,
      checkpoint_id: 'v1',
      claimed_by: null,
      claimed_at: null,
      created_at: expect.stringMatching(RFC3339),
      updated_at: expect.stringMatching(RFC3339),
      invite_url: null,
      conversation_id: null,
      join_url: null,
    })
  })

  it('shows a claimed one with its links', async () => {
    const { id } = await launch()
    const { body } = await world.ask('GET', '/api/pool/status')
    expect(body.instances[0]).toMatchObject({
      id,
      status: 'claimed',
      agentName: 'Ada',
      claimed_by: 'Ada',
      conversation_id: `conversation-${id}`,
      invite_url: `https://dev.convos.org/v2?i=slug-${id}`,
    })
  })

  it('says that nobody leads, since when, whatever the last leader wrote', async () => {
    await world.sql`update leases set expires_at = '2026-01-02T03:04:05Z'`
    const { body } = await world.ask('GET', '/api/pool/status')
    expect(body.conditions).toEqual([
      expect.objectContaining({
        type: 'LeaderElected',
        status: 'False',
        lastTransitionAt: '2026-01-02T03:04:05.000Z',
      }),
    ])
    await world.sql`update leases set expires_at = now() + interval '1 day'`
  })

  it('needs a key', async () => {
    expect((await world.askOpenly('GET', '/api/pool/status')).status).toBe(401)
  })
})

describe('spec', () => {
  it('GET has its generation as ETag', async () => {
    const { body, headers } = await world.ask('GET', '/api/pool/spec')
    expect(Object.keys(body).sort()).toEqual(
      ['name', 'generation', 'observedGeneration', 'spec', 'conditions', 'plan'].sort(),
    )
    expect(body.spec).toEqual(SPEC)
    expect(headers.etag).toBe(`"${body.generation}"`)
    expect(body.plan).toEqual(['create 2'])
  })

  it('PUT {"minIdle": 5} is valid', async () => {
    const { status, body } = await world.ask('PUT', '/api/pool/spec', { payload: { minIdle: 5 } })
    expect(status).toBe(200)
    expect(body.spec).toEqual({ ...SPEC, minIdle: 5 })
  })

  it('PUT that would reset what it does not name is 409 WouldReset, with the fields and both ways out', async () => {
    await world.ask('PATCH', '/api/pool/spec', { payload: { paused: { create: true }, maxIdle: 7 } })
    const refused = await world.ask('PUT', '/api/pool/spec', { payload: { minIdle: 5 } })
    expect(refused).toMatchObject({ status: 409, body: { code: 'WouldReset' } })
    expect(pathsOf(refused.body)).toEqual(['maxIdle', 'paused.create'])
    expect(refused.body.error).toMatch(/PATCH.*If-Match/)
    const { generation } = (await world.ask('GET', '/api/pool/spec')).body
    const meant = await world.ask('PUT', '/api/pool/spec', {
      payload: { minIdle: 5 },
      headers: { 'if-match': `"${generation}"` },
    })
    expect(meant.status).toBe(200)
    expect(meant.body.spec).toEqual({ ...SPEC, minIdle: 5 })
  })

  it('PATCH changes only what it names, nested', async () => {
    await world.ask('PATCH', '/api/pool/spec', { payload: { maxIdle: 7 } })
    const { body } = await world.ask('PATCH', '/api/pool/spec', {
      payload: { limits: { createConcurrency: 3 } },
    })
    expect(body.spec).toEqual({ ...SPEC, maxIdle: 7, limits: { ...SPEC.limits, createConcurrency: 3 } })
  })

  it('412 when If-Match names another generation', async () => {
    const answer = await world.ask('PATCH', '/api/pool/spec', {
      payload: { minIdle: 1 },
      headers: { 'if-match': '"0"' },
    })
    expect(answer).toMatchObject({ status: 412, body: { code: 'PreconditionFailed' } })
  })

  it('dryRun=true says what would come of it and writes nothing', async () => {
    const before = (await world.ask('GET', '/api/pool/spec')).body
    const { body } = await world.ask('PATCH', '/api/pool/spec?dryRun=true', { payload: { minIdle: 6 } })
    expect(body.spec.minIdle).toBe(6)
    expect(body.plan).toEqual(['create 6'])
    expect((await world.ask('GET', '/api/pool/spec')).body).toEqual(before)
  })

  it('422 for unknown and wrong fields, all with their paths', async () => {
    const { status, body } = await world.ask('PATCH', '/api/pool/spec', {
      payload: { minIdle: -1, nonsense: 1, limits: { createConcurrency: 0 } },
    })
    expect(status).toBe(422)
    expect(pathsOf(body)).toEqual(['limits.createConcurrency', 'minIdle', 'nonsense'])
  })

  it('an edit leaves an event with what changed', async () => {
    await world.ask('PATCH', '/api/pool/spec', { payload: { minIdle: 4 } })
    const { body } = await world.ask('GET', '/api/pool/events')
    expect(body.items[0]).toMatchObject({ reason: 'SpecChanged', message: 'minIdle: 2 → 4', actor: 'admin' })
  })
})

describe('POST /api/pool/claim', () => {
  it('200 with the invite link', async () => {
    const { id, claimed } = await launch()
    expect(claimed.status).toBe(200)
    expect(claimed.body).toEqual({
      inviteUrl: `https://dev.convos.org/v2?i=slug-${id}`,
      inviteSlug: `slug-${id}`,
      conversationId: `conversation-${id}`,
      instanceId: id,
      claimId: expect.any(String),
      joined: false,
      waitingForAcceptance: false,
      warnings: [],
    })
  })

  it('joined by a link: joined, and no invite link', async () => {
    await world.stage.shelve(1)
    const payload = { ...CLAIM, joinUrl: 'https://dev.convos.org/v2?i=abc' }
    const [claimed] = await Promise.all([
      world.ask('POST', '/api/pool/claim', { payload }),
      world.stage.deliver({ joined: true, invite_url: null, invite_slug: null }),
    ])
    expect(claimed).toMatchObject({ status: 200, body: { joined: true, inviteUrl: null, inviteSlug: null } })
  })

  it('not yet accepted: 200, waitingForAcceptance and no conversation', async () => {
    await world.stage.shelve(1)
    const payload = { ...CLAIM, joinUrl: 'abcSlug' }
    const awaiting = {
      phase: 'AwaitingAcceptance',
      conversation_id: null,
      invite_url: null,
      invite_slug: null,
      ready_at: null,
    }
    const [claimed] = await Promise.all([
      world.ask('POST', '/api/pool/claim', { payload }),
      world.stage.deliver(awaiting),
    ])
    expect(claimed).toMatchObject({
      status: 200,
      body: { waitingForAcceptance: true, joined: false, conversationId: null },
    })
    expect((await world.ask('GET', '/api/pool/agents')).body[0].state).toBe('waitingForAcceptance')
  })

  it('empty: 503, Retry-After and the promised sentence', async () => {
    const answer = await world.ask('POST', '/api/pool/claim', { payload: CLAIM })
    expect(answer.status).toBe(503)
    expect(answer.headers['retry-after']).toMatch(/^\d+$/)
    expect(answer.body.error).toBe('No idle instances available. Try again in a few minutes.')
  })

  it('202 and where to look, only for a caller that sent Prefer', async () => {
    const answer = await world.ask('POST', '/api/pool/claim', {
      payload: CLAIM,
      headers: { prefer: 'wait=0' },
    })
    expect(answer.status).toBe(202)
    expect(answer.body).toMatchObject({
      claimId: expect.any(String),
      phase: 'Waiting',
      position: 1,
      estimateSeconds: null,
    })
    expect(answer.headers.location).toBe(`/api/pool/claims/${answer.body.claimId}`)
  })

  it('504 with the claim for the others, when it is not delivered in time', async () => {
    const clock = virtualClock()
    const slow = await startWorld({ clock })
    try {
      await slow.stage.shelve(1)
      const asked = slow.ask('POST', '/api/pool/claim', { payload: CLAIM })
      await expect.poll(async () => (await slow.sql`select 1 from claims`).length).toBe(1)
      await clock.advance((SPEC.claim.deliverySeconds + 1) * 1000)
      expect(await asked).toMatchObject({ status: 504, body: { claimId: expect.any(String) } })
    } finally {
      await slow.close()
    }
  })

  it('502 naming the claim when no gateway could deliver', async () => {
    await world.stage.shelve(1)
    const failed = {
      phase: 'Failed',
      reason: 'DeliveryFailed',
      message: 'no gateway took it',
      ended_at: new Date().toISOString(),
    }
    const [answer] = await Promise.all([
      world.ask('POST', '/api/pool/claim', { payload: CLAIM }),
      world.stage.deliver(failed),
    ])
    expect(answer).toMatchObject({
      status: 502,
      body: { code: 'DeliveryFailed', claimId: expect.any(String), error: 'no gateway took it' },
    })
  })

  it('the same Idempotency-Key and body is the same claim, with another body 409', async () => {
    const headers = { 'idempotency-key': 'once' }
    await world.stage.shelve(2)
    const [first] = await Promise.all([
      world.ask('POST', '/api/pool/claim', { payload: CLAIM, headers }),
      world.stage.deliver(),
    ])
    const again = await world.ask('POST', '/api/pool/claim', {
      payload: { instructions: CLAIM.instructions, agentName: CLAIM.agentName },
      headers,
    })
    expect(again).toMatchObject({ status: 200, body: first.body })
    const other = await world.ask('POST', '/api/pool/claim', {
      payload: { ...CLAIM, agentName: 'Bob' },
      headers,
    })
    expect(other).toMatchObject({ status: 409, body: { code: 'IdempotencyKeyReused' } })
    expect(other.body.error).toMatch(/\(([0-9a-f]{8})… then, (?!\1)[0-9a-f]{8}… now\)/)
  })

  it('unknown fields are named in warnings', async () => {
    const { claimed } = await launch({ ...CLAIM, agentNmae: 'x' })
    expect(claimed).toMatchObject({ status: 200, body: { warnings: [expect.stringContaining('agentNmae')] } })
  })

  it('a link of the other environment is 422 and names both', async () => {
    const payload = { ...CLAIM, joinUrl: 'https://popup.convos.org/v2?i=abc' }
    const { status, body } = await world.ask('POST', '/api/pool/claim', { payload })
    expect(status).toBe(422)
    expect(body.errors[0].message).toMatch(/dev\.convos\.org.*popup\.convos\.org/)
  })

  it.each(['name', 'profileName', 'env', 'instructions', 'inviteUrl', 'accountId'])(
    'extra.%s is 422',
    async (field) => {
      const { status } = await world.ask('POST', '/api/pool/claim', {
        payload: { ...CLAIM, extra: { [field]: 'x' } },
      })
      expect(status).toBe(422)
    },
  )
})

describe('claims', () => {
  it('GET one has every promised key', async () => {
    const { id, claimed } = await launch()
    const { body } = await world.ask('GET', `/api/pool/claims/${claimed.body.claimId}`)
    expect(body).toEqual({
      id: claimed.body.claimId,
      phase: 'Ready',
      agentName: 'Ada',
      instanceId: id,
      inviteUrl: `https://dev.convos.org/v2?i=slug-${id}`,
      inviteSlug: `slug-${id}`,
      conversationId: `conversation-${id}`,
      joinUrl: null,
      position: null,
      estimateSeconds: null,
      createdAt: expect.stringMatching(RFC3339),
      boundAt: expect.stringMatching(RFC3339),
      readyAt: expect.stringMatching(RFC3339),
      endedAt: null,
      expiresAt: null,
      reason: null,
      conditions: [
        expect.objectContaining({ type: 'Bound', status: 'True' }),
        expect.objectContaining({ type: 'Delivered', status: 'True' }),
      ],
    })
  })

  it('lists newest first, by phase and by name, in pages', async () => {
    for (const agentName of ['a', 'b', 'c'])
      await world.ask('POST', '/api/pool/claim', {
        payload: { ...CLAIM, agentName },
        headers: { prefer: 'wait=0' },
      })
    const first = (await world.ask('GET', '/api/pool/claims?limit=2')).body
    expect(first.items.map(({ agentName }: { agentName: string }) => agentName)).toEqual(['c', 'b'])
    expect(first.items.map(({ position }: { position: number }) => position)).toEqual([3, 2])
    const second = (await world.ask('GET', `/api/pool/claims?limit=2&cursor=${first.nextCursor}`)).body
    expect(second.items.map(({ agentName }: { agentName: string }) => agentName)).toEqual(['a'])
    expect(second.nextCursor).toBeNull()
    expect((await world.ask('GET', '/api/pool/claims?phase=Ready')).body.items).toEqual([])
    expect((await world.ask('GET', '/api/pool/claims?agentName=b')).body.items).toHaveLength(1)
  })

  it('DELETE releases a delivered one: it is Releasing at once', async () => {
    const { claimed } = await launch()
    const path = `/api/pool/claims/${claimed.body.claimId}`
    const answer = await world.ask('DELETE', path)
    expect(answer).toMatchObject({ status: 202, body: { ok: true, phase: 'Releasing' } })
    expect(answer.headers.location).toBe(path)
    expect((await world.ask('GET', '/api/pool/agents')).body[0].state).toBe('releasing')
  })

  it('DELETE cancels one that waits', async () => {
    const { body } = await world.ask('POST', '/api/pool/claim', {
      payload: CLAIM,
      headers: { prefer: 'wait=0' },
    })
    expect(await world.ask('DELETE', `/api/pool/claims/${body.claimId}`)).toMatchObject({ status: 202 })
    await world.stage.endUnbegun()
    expect(await world.ask('DELETE', `/api/pool/claims/${body.claimId}`)).toMatchObject({
      status: 200,
      body: { ok: true, phase: 'Cancelled' },
    })
  })
})

describe('instances', () => {
  it('DELETE /instances: the ids of the claimed ones, and nothing changes', async () => {
    const { id } = await launch()
    await world.stage.shelve(1)
    const before = (await world.ask('GET', '/api/pool/status')).body
    expect(await world.ask('DELETE', '/api/pool/instances')).toMatchObject({
      status: 200,
      body: { ids: [id] },
    })
    expect((await world.ask('GET', '/api/pool/status')).body).toEqual(before)
  })

  it('GET one has a timeline', async () => {
    const [id] = await world.stage.shelve(1)
    await world.ask('PATCH', `/api/pool/instances/${id}`, { payload: { protected: true } })
    const { body } = await world.ask('GET', `/api/pool/instances/${id}`)
    expect(body).toMatchObject({ id, status: 'idle', protected: true })
    expect(body.timeline[0]).toMatchObject({ reason: 'Protected', instanceId: id, actor: 'admin' })
  })

  it('GET lists in pages, newest first', async () => {
    const made = [...(await world.stage.build(1)), ...(await world.stage.build(3))]
    const seen: string[] = []
    let cursor = ''
    do {
      const { body } = await world.ask('GET', `/api/pool/instances?limit=2${cursor}`)
      seen.push(...body.items.map(({ id }: { id: string }) => id))
      cursor = body.nextCursor ? `&cursor=${body.nextCursor}` : ''
    } while (cursor)
    expect(seen.toSorted()).toEqual(made.toSorted())
    expect(seen.at(-1)).toBe(made[0])
  })

  it('DELETE one: recycled when it is done', async () => {
    const { id } = await launch()
    const [answer] = await Promise.all([
      world.ask('DELETE', `/api/pool/instances/${id}`),
      world.stage.finish('action', { result: { outcome: 'recycled' } }),
    ])
    expect(answer).toMatchObject({ status: 200, body: { ok: true, instanceId: id, outcome: 'recycled' } })
  })

  it('DELETE one with wait=0: 202, ok, and where to look', async () => {
    const [id] = await world.stage.shelve(1)
    const answer = await world.ask('DELETE', `/api/pool/instances/${id}?wait=0`)
    expect(answer).toMatchObject({ status: 202, body: { ok: true, instanceId: id, outcome: null } })
    expect(answer.headers.location).toBe(`/api/pool/operations/${answer.body.operation.id}`)
  })

  it('DELETE of a provisioning one is 409, of an unknown one 404', async () => {
    const [id] = await world.stage.build(1)
    expect((await world.ask('DELETE', `/api/pool/instances/${id}`)).status).toBe(409)
    expect((await world.ask('DELETE', '/api/pool/instances/nosuchinstan')).status).toBe(404)
  })

  it.each(['', '/destroy'])(
    'DELETE …%s?claim= is 409 ClaimChanged when another claim holds it',
    async (verb) => {
      const { id } = await launch()
      const answer = await world.ask('DELETE', `/api/pool/instances/${id}${verb}?claim=another`)
      expect(answer).toMatchObject({ status: 409, body: { code: 'ClaimChanged' } })
    },
  )

  it('destroy: as often as one likes, the first answer, also when it is gone', async () => {
    const [id = ''] = await world.stage.shelve(1)
    const destroy = () => world.ask('DELETE', `/api/pool/instances/${id}/destroy`)
    const [first] = await Promise.all([
      destroy(),
      world.stage.finish('action', { result: { outcome: 'destroyed' } }),
    ])
    expect(first).toMatchObject({ status: 200, body: { ok: true, instanceId: id, outcome: 'destroyed' } })
    await world.stage.remove(id)
    for (let times = 0; times < 3; times++)
      expect(await destroy()).toMatchObject({ status: 200, body: first.body })
    expect((await world.sql`select id from operations`).length).toBe(1)
  })

  it('destroy of a protected one is 409', async () => {
    const [id] = await world.stage.shelve(1)
    await world.ask('PATCH', `/api/pool/instances/${id}`, { payload: { protected: true } })
    expect(await world.ask('DELETE', `/api/pool/instances/${id}/destroy`)).toMatchObject({
      status: 409,
      body: { code: 'Protected' },
    })
  })

  it('logs of the build come from the row, the gateway’s from its Sprite', async () => {
    const [id = ''] = await world.stage.build(1)
    await world.stage.write(id, {
      patch: { progress: { phase: 'clone', percent: 10, log: ['Cloning …', 'done'] } },
    })
    expect((await world.ask('GET', `/api/pool/instances/${id}/logs?source=build`)).body).toEqual({
      source: 'build',
      lines: ['Cloning …', 'done'],
    })
    const [answer] = await Promise.all([
      world.ask('GET', `/api/pool/instances/${id}/logs?source=gateway`),
      world.stage.finish('logs', { result: { lines: ['listening'] } }),
    ])
    expect(answer).toMatchObject({ status: 200, body: { source: 'gateway', lines: ['listening'] } })
  })
})

describe('supply', () => {
  it('replenish N: 202 at once, with what fits under maxTotal', async () => {
    await world.stage.build(8)
    const answer = await world.ask('POST', '/api/pool/replenish', { payload: { count: 5 } })
    expect(answer.status).toBe(202)
    expect(answer.body).toMatchObject({
      ok: true,
      created: 2,
      counts: { ...COUNTS, provisioning: 8 },
      operation: { kind: 'replenish', phase: 'Pending', wanted: 2 },
    })
  })

  it('replenish without a count: a pass now', async () => {
    const [answer] = await Promise.all([
      world.ask('POST', '/api/pool/replenish'),
      world.stage.finish('reconcile'),
    ])
    expect(answer).toMatchObject({ status: 200, body: { ok: true, counts: COUNTS } })
  })

  it('drain: one when nothing is said', async () => {
    await world.stage.shelve(2)
    const [answer] = await Promise.all([
      world.ask('POST', '/api/pool/drain'),
      world.stage.finish('drain', { done: 1 }),
    ])
    expect(answer).toMatchObject({
      status: 200,
      body: {
        ok: true,
        drained: 1,
        counts: { ...COUNTS, idle: 2 },
        operation: { wanted: 1, phase: 'Succeeded' },
      },
    })
  })

  it('drain: all, and 202 while it goes on', async () => {
    await world.stage.shelve(3)
    const answer = await world.ask('POST', '/api/pool/drain?wait=0', { payload: { all: true } })
    expect(answer).toMatchObject({ status: 202, body: { ok: true, drained: 0, operation: { wanted: 3 } } })
    expect(answer.headers.location).toMatch(/^\/api\/pool\/operations\//)
  })

  it.each([0, -1, 1.5, 11, 'all'])('a count of %s is 422', async (count) => {
    for (const verb of ['drain', 'replenish'])
      expect((await world.ask('POST', `/api/pool/${verb}`, { payload: { count } })).status).toBe(422)
  })

  it('reconcile', async () => {
    const [answer] = await Promise.all([
      world.ask('POST', '/api/pool/reconcile'),
      world.stage.finish('reconcile', { result: { cleaned: 2 } }),
    ])
    expect(answer).toMatchObject({ status: 200, body: { ok: true, cleaned: 2, counts: COUNTS } })
  })

  it('a failed one is a problem, an expired one 504', async () => {
    const [failed] = await Promise.all([
      world.ask('POST', '/api/pool/reconcile'),
      world.stage.finish('reconcile', { phase: 'Failed', message: 'the provider does not answer' }),
    ])
    expect(failed).toMatchObject({ status: 502, body: { error: 'the provider does not answer' } })
    const [late] = await Promise.all([
      world.ask('POST', '/api/pool/reconcile'),
      world.stage.finish('reconcile', { phase: 'Expired' }),
    ])
    expect(late.status).toBe(504)
  })
})

describe('operations', () => {
  it('list, get and cancel', async () => {
    const { body } = await world.ask('POST', '/api/pool/drain?wait=0')
    const path = `/api/pool/operations/${body.operation.id}`
    const one = await world.ask('GET', path)
    expect(one.body).toEqual({
      id: body.operation.id,
      kind: 'drain',
      phase: 'Pending',
      wanted: 1,
      done: 0,
      failed: 0,
      reason: null,
      message: null,
      result: null,
      createdAt: expect.stringMatching(RFC3339),
      startedAt: null,
      finishedAt: null,
      deadlineAt: expect.stringMatching(RFC3339),
    })
    expect((await world.ask('GET', '/api/pool/operations')).body).toEqual({
      items: [one.body],
      nextCursor: null,
    })
    expect((await world.ask('DELETE', path)).status).toBe(200)
    expect((await world.ask('GET', '/api/pool/operations/none')).status).toBe(404)
  })

  it('lists in pages', async () => {
    for (let times = 0; times < 5; times++) await world.ask('POST', '/api/pool/drain?wait=0')
    const first = (await world.ask('GET', '/api/pool/operations?limit=3')).body
    const second = (await world.ask('GET', `/api/pool/operations?limit=3&cursor=${first.nextCursor}`)).body
    expect(new Set([...first.items, ...second.items].map(({ id }: { id: string }) => id)).size).toBe(5)
    expect(second.nextCursor).toBeNull()
  })
})

describe('the rest', () => {
  it('debug: what the probe found beside what we know', async () => {
    const [id] = await world.stage.shelve(1)
    const probed = {
      processes: '1 node',
      localCheck: 'up',
      envExists: true,
      listening: ':8080',
      apiStatus: 200,
      apiBody: { ready: true },
      logTail: ['a'],
      probedAt: new Date(0).toISOString(),
    }
    const [answer] = await Promise.all([
      world.ask('GET', `/api/pool/debug/${id}`),
      world.stage.finish('probe', { result: probed }),
    ])
    expect(answer.status).toBe(200)
    expect(answer.body).toMatchObject({
      ...probed,
      id,
      name: `claw-dev-${id}`,
      status: 'idle',
      url: `https://${id}.example.com`,
      instance: { id },
      timeline: [],
    })
    expect(answer.text).not.toContain('CANARY')
  })

  it('events', async () => {
    const [id] = await world.stage.shelve(1)
    await world.ask('PATCH', `/api/pool/instances/${id}`, { payload: { protected: true } })
    await world.ask('PATCH', `/api/pool/instances/${id}`, { payload: { protected: false } })
    const { body } = await world.ask('GET', `/api/pool/events?instance=${id}&limit=1`)
    expect(body.items).toEqual([
      {
        id: expect.stringMatching(/^\d+-\d+$/),
        type: 'Normal',
        reason: 'Unprotected',
        message: expect.any(String),
        actor: 'admin',
        causeId: null,
        claimId: null,
        instanceId: id,
        count: 1,
        firstAt: expect.stringMatching(RFC3339),
        lastAt: expect.stringMatching(RFC3339),
      },
    ])
    const next = (await world.ask('GET', `/api/pool/events?instance=${id}&cursor=${body.nextCursor}`)).body
    expect(next.items.map(({ reason }: { reason: string }) => reason)).toEqual(['Protected'])
  })

  it('events come newest first by number, not by letter', async () => {
    for (const [xid, reason] of [
      ['999', 'Older'],
      ['1000', 'Newer'],
    ])
      await world.sql`insert into events (xid, pool, type, reason, message, actor)
        values (${xid ?? ''}::text::xid8, 'default', 'Normal', ${reason ?? ''}, '', 'test')`
    const { body } = await world.ask('GET', '/api/pool/events')
    expect(body.items.map(({ reason }: { reason: string }) => reason)).toEqual(['Newer', 'Older'])
    const { body: rest } = await world.ask('GET', '/api/pool/events?limit=1')
    const next = (await world.ask('GET', `/api/pool/events?cursor=${rest.nextCursor}`)).body
    expect(next.items.map(({ reason }: { reason: string }) => reason)).toEqual(['Older'])
  })

  it('revisions, newest first', async () => {
    await world.ask('PATCH', '/api/pool/spec', { payload: { template: { openclawRef: 'next' } } })
    const { body } = await world.ask('GET', '/api/pool/revisions')
    expect(body.items[0]).toMatchObject({ template: { openclawRef: 'next' } })
    expect(body.items.at(-1)).toMatchObject({ number: 1 })
  })

  it('pools', async () => {
    const { body } = await world.ask('GET', '/api/pools')
    expect(body.items).toEqual([expect.objectContaining({ name: 'default', counts: COUNTS })])
    expect((await world.ask('GET', '/api/pools/default')).body).toMatchObject({ name: 'default' })
    expect((await world.ask('GET', '/api/pools/default/status')).body).toMatchObject({ name: 'default' })
  })

  it('OpenAPI lists full paths, for the default pool and for any', async () => {
    const { body } = await world.askOpenly('GET', '/openapi.json')
    expect(Object.keys(body.paths)).toEqual(
      expect.arrayContaining([
        '/api/pool/claim',
        '/api/pools/{pool}/claim',
        '/api/pools/{pool}/instances/{id}',
      ]),
    )
    const agent = JSON.stringify(body.paths['/api/pool/agents'])
    expect(agent).toMatch(/"sprite_name":\{[^}]*"deprecated":true/)
  })

  it('/docs and the page are there without a key', async () => {
    expect((await world.askOpenly('GET', '/docs/')).status).toBe(200)
    expect((await world.askOpenly('GET', '/')).text).toContain('Claw Pool')
    expect((await world.askOpenly('GET', '/assets/dashboard.js')).status).toBe(200)
  })

  it('/metrics', async () => {
    const answer = await world.askOpenly('GET', '/metrics')
    expect(answer).toMatchObject({
      status: 200,
      text: expect.stringContaining('clawpool_http_request_seconds'),
    })
  })
})
