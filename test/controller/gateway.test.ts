import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createGatewayClient, type GatewayClient } from '../../controller/gateway/client.ts'
import { systemClock } from '../../specs/clock.ts'

const URL_OF_SPRITE = 'https://claw-a-bmabx.sprites.app'
const KEY = 'canary-key-5c1d90'
const BODY = { name: 'Ada', instructions: 'canary instructions: you are Ada', env: 'dev' }
const LONG = { timeoutMs: 10_000 }

const server = setupServer()
beforeAll(() => server.listen({ onUnhandledFrame: 'error' }))
afterEach(() => server.resetHandlers())
afterAll(() => server.close())

const client = createGatewayClient({ clock: systemClock })

/** Answers everything with this one, and shows what was asked. */
function answer(reply: () => Response | Promise<Response>) {
  const seen: { url: string; method: string; authorization: string | null; body: string }[] = []
  server.use(
    http.all('*', async ({ request }) => {
      const authorization = request.headers.get('authorization')
      seen.push({ url: request.url, method: request.method, authorization, body: await request.text() })
      return reply()
    }),
  )
  return seen
}

const json =
  (body: unknown, status = 200) =>
  () =>
    HttpResponse.json(body as null, { status })
const page = (status: number) => () => HttpResponse.html('<html>hello</html>', { status })
const never = () => new Promise<Response>(() => {})
const refused = () => HttpResponse.error()

describe('status', () => {
  it.each([
    [
      'unbound',
      json({ ready: true, conversation: null, streaming: false }),
      { kind: 'up', conversationId: null, streaming: false },
    ],
    [
      'bound',
      json({ ready: true, conversation: { id: 'c1' }, streaming: true }),
      { kind: 'up', conversationId: 'c1', streaming: true },
    ],
    [
      'silent about its stream',
      json({ ready: true, conversation: null }),
      { kind: 'up', conversationId: null, streaming: null },
    ],
    ['of another key', json({ error: 'Unauthorized' }, 401), { kind: 'unauthorized' }],
    [
      'behind a sign-in',
      () => new HttpResponse(null, { status: 302, headers: { location: 'https://sprites.dev' } }),
      { kind: 'down', why: '302, the URL is not public' },
    ],
    ['a page', page(200), { kind: 'down', why: 'a page instead of an answer' }],
    ['other JSON', json({ hello: 'world' }), { kind: 'down', why: 'not the expected JSON' }],
    ['not ready', json({ ready: false, conversation: null }), { kind: 'down', why: 'not the expected JSON' }],
    ['silent about its conversation', json({ ready: true }), { kind: 'down', why: 'not the expected JSON' }],
    ['half an answer', () => new HttpResponse('{"ready":tr'), { kind: 'down', why: 'not the expected JSON' }],
    ['a bad gateway', page(502), { kind: 'down', why: '502' }],
  ])('tells one that is %s', async (_, reply, state) => {
    const seen = answer(reply)
    await expect(client.status(URL_OF_SPRITE, KEY)).resolves.toEqual(state)
    expect(seen).toEqual([
      { url: `${URL_OF_SPRITE}/convos/status`, method: 'GET', authorization: `Bearer ${KEY}`, body: '' },
    ])
  })

  it('asks without a key when there is none', async () => {
    const seen = answer(json({ error: 'Unauthorized' }, 401))
    await expect(client.status(`${URL_OF_SPRITE}/`, null)).resolves.toEqual({ kind: 'unauthorized' })
    expect(seen).toMatchObject([{ url: `${URL_OF_SPRITE}/convos/status`, authorization: null }])
  })

  it('is down when nobody listens, when nothing comes in time, and where the key would travel in clear', async () => {
    answer(refused)
    await expect(client.status(URL_OF_SPRITE, KEY)).resolves.toMatchObject({ kind: 'down' })
    answer(never)
    await expect(client.status(URL_OF_SPRITE, KEY, { timeoutMs: 20 })).resolves.toEqual({
      kind: 'down',
      why: 'gateway: status: no answer, not done within 20 ms',
    })
    await expect(client.status('http://claw-a.sprites.app', KEY)).resolves.toMatchObject({ kind: 'down' })
  })

  it("throws nothing but the caller's own abort", async () => {
    answer(never)
    const controller = new AbortController()
    const reason = new Error('shutting down')
    const pending = client.status(URL_OF_SPRITE, KEY, {}, controller.signal)
    controller.abort(reason)
    await expect(pending).rejects.toBe(reason)
  })
})

describe('converse', () => {
  it('sends the body as it is and returns the invitation', async () => {
    const made = { conversationId: 'c1', inviteUrl: 'https://dev.convos.org/v2?i=x', inviteSlug: 'x' }
    const seen = answer(json({ ...made, extra: 1 }))
    await expect(client.converse(URL_OF_SPRITE, KEY, BODY, LONG)).resolves.toEqual(made)
    expect(seen).toMatchObject([{ url: `${URL_OF_SPRITE}/convos/conversation`, method: 'POST' }])
    expect(JSON.parse(seen[0]?.body ?? '')).toEqual(BODY)
  })
})

describe('join', () => {
  it.each([
    ['joined', { status: 'joined', conversationId: 'c1' }, { status: 'joined', conversationId: 'c1' }],
    ['is left waiting', { status: 'waiting_for_acceptance' }, { status: 'waiting' }],
  ])('says that it %s', async (_, body, wanted) => {
    const seen = answer(json(body))
    await expect(client.join(URL_OF_SPRITE, KEY, BODY, LONG)).resolves.toEqual(wanted)
    expect(seen).toMatchObject([{ url: `${URL_OF_SPRITE}/convos/join`, method: 'POST' }])
  })
})

describe('of its conversation', () => {
  it.each([
    ['send', 'conversation/send', { message: 'Hi' }, { success: true, messageId: 'm1' }, { messageId: 'm1' }],
    ['rename', 'rename', { name: 'Bob' }, { ok: true }, undefined],
    ['lock', 'lock', { unlock: true }, { ok: true, locked: false }, { locked: false }],
    ['explode', 'explode', {}, { ok: true, exploded: true }, undefined],
  ] as const)('asks to %s', async (verb, path, body, reply, wanted) => {
    const seen = answer(json(reply))
    const call = client[verb] as unknown as GatewayClient['converse'] // one shape for four bodies
    await expect(call(URL_OF_SPRITE, KEY, body, LONG)).resolves.toEqual(wanted)
    expect(seen).toMatchObject([{ url: `${URL_OF_SPRITE}/convos/${path}`, method: 'POST' }])
    expect(JSON.parse(seen[0]?.body ?? '')).toEqual(body)
  })
})

const orders = (['converse', 'join', 'send', 'rename', 'lock', 'explode'] as const).map(
  (verb) => [verb, client[verb] as GatewayClient['converse']] as const, // whatever the body: here only its failures matter
)

describe.each(orders)('%s', (_, call) => {
  it.each([
    ['400', json({ error: 'inviteUrl (string) is required' }, 400), 'GatewayRejected'],
    ['409', json({ error: 'Instance already bound to a conversation.' }, 409), 'GatewayBound'],
    ['401', json({ error: 'Unauthorized' }, 401), 'GatewayUnauthorized'],
    ['302', () => new HttpResponse(null, { status: 302 }), 'GatewayUnauthorized'],
    ['400 in a page', page(400), 'GatewayUnknown'],
    ['409 in a page', page(409), 'GatewayUnknown'],
    ['404', json({ error: 'no route' }, 404), 'GatewayUnknown'],
    ['500', json({ error: 'it was made all the same' }, 500), 'GatewayUnknown'],
    ['502 in a page', page(502), 'GatewayUnknown'],
    ['a page', page(200), 'GatewayUnknown'],
    ['other JSON', json({ hello: 'world' }), 'GatewayUnknown'],
    ['half an answer', () => new HttpResponse('{"conversationId":"c'), 'GatewayUnknown'],
    ['no connection', refused, 'GatewayUnknown'],
  ])('turns %s into %s', async (_name, reply, wanted) => {
    answer(reply as () => Response)
    await expect(call(URL_OF_SPRITE, KEY, BODY, LONG)).rejects.toMatchObject({ name: wanted })
  })

  it('does not know what became of a request that nobody answered', async () => {
    answer(never)
    const failed = call(URL_OF_SPRITE, KEY, BODY, { timeoutMs: 20 })
    await expect(failed).rejects.toMatchObject({ name: 'GatewayUnknown', status: null })
  })

  it("rejects with the caller's own reason", async () => {
    answer(never)
    const controller = new AbortController()
    const reason = new Error('shutting down')
    const pending = call(URL_OF_SPRITE, KEY, BODY, LONG, controller.signal)
    controller.abort(reason)
    await expect(pending).rejects.toBe(reason)
  })

  it.each([
    'http://claw-a.sprites.app',
    'ftp://x',
    'nonsense',
    'https://user:canary@x.sprites.app',
    'http://127.0.0.1.evil.example',
  ])('sends nothing to %s', async (url) => {
    const seen = answer(json({}))
    const failed = call(url, KEY, BODY, LONG)
    await expect(failed).rejects.toMatchObject({ name: 'InsecureUrl' })
    await expect(failed).rejects.toThrow(/^(?!.*canary)/s)
    expect(seen).toEqual([])
  })

  it('passes on what the gateway says, but neither the key nor what the user wrote', async () => {
    answer(
      json(
        {
          error: `cannot use "${BODY.instructions}" with ${KEY}; inviteUrl is required. ${'x '.repeat(300)}`,
        },
        400,
      ),
    )
    const error = await call(URL_OF_SPRITE, KEY, BODY, LONG).catch((one: unknown) => one)
    expect(error).toMatchObject({
      name: 'GatewayRejected',
      reason: expect.stringContaining('inviteUrl is required'),
    })
    expect(JSON.stringify(error) + String(error)).not.toContain('canary')
    expect((error as { reason: string }).reason.length).toBeLessThanOrEqual(200)
  })
})
