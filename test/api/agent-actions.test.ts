import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { startWorld, type World } from './support.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterEach(() => world.stage.clear())
afterAll(() => world?.close())

async function claimed(): Promise<{ id: string; instanceId: string }> {
  await world.stage.shelve(1)
  const [{ body }] = await Promise.all([
    world.ask('POST', '/api/pool/claim', { payload: { agentName: 'Ada', instructions: 'Help.' } }),
    world.stage.deliver(),
  ])
  return { id: body.claimId, instanceId: body.instanceId }
}

describe.each([
  ['POST', 'rename', { name: 'Bob' }, 'rename', 'RenameRequested'],
  ['POST', 'send', { message: 'CANARY words' }, 'send', 'SendRequested'],
  ['POST', 'lock', undefined, 'lock', 'LockRequested'],
  ['POST', 'lock', { unlock: true }, 'unlock', 'UnlockRequested'],
  ['POST', 'explode', undefined, 'explode', 'ExplodeRequested'],
  ['PUT', 'instructions', { instructions: 'CANARY words' }, 'instruct', 'InstructionsChanged'],
] as const)('%s …/%s %j', (method, path, payload, verb, reason) => {
  const ask = (id: string, query = '') =>
    world.ask(method, `/api/pool/claims/${id}/${path}${query}`, payload ? { payload } : {})

  it('is an operation, 200 with its end', async () => {
    const { id, instanceId } = await claimed()
    const [answer, operation] = await Promise.all([
      ask(id),
      world.stage.finish('action', { result: { said: 'so' } }),
    ])
    expect(operation.selector).toEqual({ claim: id, instance: instanceId, verb })
    expect(answer).toMatchObject({
      status: 200,
      body: { id: operation.id, kind: 'action', phase: 'Succeeded', reason: null, result: { said: 'so' } },
    })
    const { items } = (await world.ask('GET', `/api/pool/events?claim=${id}`)).body
    expect(items).toContainEqual(expect.objectContaining({ reason, actor: 'admin', causeId: operation.id }))
    expect(JSON.stringify(items)).not.toContain('CANARY')
    const [row] = await world.sql`select arguments from operations where id = ${operation.id}`
    expect(row?.arguments).toEqual({}) // what was said is kept no longer than it is needed
  })

  it('goes on after a wait of nothing', async () => {
    const { id } = await claimed()
    const { status, body, headers } = await ask(id, '?wait=0')
    expect([status, body.phase, headers.location]).toEqual([
      202,
      'Pending',
      `/api/pool/operations/${body.id}`,
    ])
  })

  it('says when nobody knows what came of it', async () => {
    const { id } = await claimed()
    const result = { reason: 'OutcomeUnknown' }
    const [answer, operation] = await Promise.all([
      ask(id),
      world.stage.finish('action', { phase: 'Failed', failed: 1, result, message: 'No answer came back.' }),
    ])
    expect(answer).toMatchObject({
      status: 502,
      body: { code: 'OutcomeUnknown', error: 'No answer came back.', operationId: operation.id },
    })
    expect((await world.ask('GET', `/api/pool/operations/${operation.id}`)).body).toMatchObject({
      phase: 'Failed',
      reason: 'OutcomeUnknown',
    })
  })

  it('is 409 for a claim that is let go or waits, and 404 for none', async () => {
    const { id } = await claimed()
    await world.ask('DELETE', `/api/pool/claims/${id}`)
    expect(await ask(id)).toMatchObject({ status: 409, body: { code: 'NotReady' } })
    const { body } = await world.ask('POST', '/api/pool/claim', {
      payload: { agentName: 'Ada', instructions: 'Help.' },
      headers: { prefer: 'wait=0' },
    })
    expect((await ask(body.claimId)).status).toBe(409)
    expect((await ask('nobodys')).status).toBe(404)
    expect(await world.sql`select from operations`).toHaveLength(0)
  })
})

it.each([
  ['POST', 'rename', { name: '' }],
  ['POST', 'rename', { name: 'a\nb' }],
  ['POST', 'rename', { name: 'x'.repeat(101) }],
  ['POST', 'rename', undefined],
  ['POST', 'send', { message: ' \n' }],
  ['POST', 'send', { message: 'é'.repeat(33_000) }],
  ['POST', 'send', { message: 'Hi', to: 'all' }],
  ['POST', 'lock', { unlock: 'yes' }],
  ['POST', 'explode', { really: true }],
  ['PUT', 'instructions', { instructions: '' }],
  ['PUT', 'instructions', { instructions: 'x'.repeat(262_145) }],
  ['PUT', 'instructions', {}],
] as const)('%s …/%s %.60j is 422', async (method, path, payload) => {
  const { id } = await claimed()
  const answer = await world.ask(method, `/api/pool/claims/${id}/${path}`, payload ? { payload } : {})
  expect(answer).toMatchObject({ status: 422, body: { code: 'Invalid' } })
})
