/** Whatever comes in, nothing breaks: no input of any caller makes a 500, and what is taken is stored word for word. */
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { SPEC, startWorld, type World } from './support.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterEach(() => world.stage.clear())
afterAll(() => world?.close())

const RUNS = { numRuns: 60 }
const nasty = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.string({ unit: 'grapheme', maxLength: 120 }),
  fc.constantFrom(
    '\0',
    '\ud800',
    '\udc00x',
    '$(rm -rf /)',
    '`id`',
    "'; drop table claims; --",
    '../../etc/passwd',
    '%00',
    '%2e%2e%2f',
    '<script>alert(1)</script>',
    '__proto__',
    'constructor',
    '\u202egnp.exe',
    '😀'.repeat(100),
    'INSTREOF',
  ),
)
const json = fc.json({ depthSize: 'small', stringUnit: 'binary' })

describe('no input makes a 500', () => {
  it('in a claim', async () => {
    const body = fc.record(
      { agentName: nasty, instructions: nasty, joinUrl: nasty, extra: json.map((text) => JSON.parse(text)) },
      { requiredKeys: [] },
    )
    await fc.assert(
      fc.asyncProperty(body, nasty, async (payload, key) => {
        const headers = { prefer: 'wait=0', 'idempotency-key': encodeURIComponent(key.toWellFormed()) }
        const { status } = await world.ask('POST', '/api/pool/claim', { payload, headers })
        expect([202, 400, 409, 422]).toContain(status)
      }),
      RUNS,
    )
  })

  it('as a body of any kind', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('claim', 'drain', 'replenish', 'reconcile'),
        fc.oneof(
          json,
          fc.string({ unit: 'binary' }),
          fc.uint8Array().map((bytes) => Buffer.from(bytes)),
        ),
        async (verb, payload) => {
          const { status } = await world.ask('POST', `/api/pool/${verb}?wait=0`, {
            payload,
            headers: { 'content-type': 'application/json', prefer: 'wait=0' },
          })
          expect(status).toBeLessThan(500)
        },
      ),
      RUNS,
    )
  })

  it('as a spec', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom('PUT' as const, 'PATCH' as const), json, async (method, payload) => {
        const { status } = await world.ask(method, '/api/pool/spec', { payload })
        expect([200, 400, 409, 422]).toContain(status)
      }),
      RUNS,
    )
    await world.ask('PUT', '/api/pool/spec', { payload: SPEC, headers: { 'if-match': '*' } })
  })

  const PATHS = [
    ['GET', (id: string) => `/api/pool/instances/${id}`],
    ['GET', (id: string) => `/api/pool/instances/${id}/logs?source=${id}`],
    ['GET', (id: string) => `/api/pool/claims/${id}`],
    ['GET', (id: string) => `/api/pool/operations/${id}`],
    ['GET', (id: string) => `/api/pool/debug/${id}`],
    ['GET', (id: string) => `/api/pools/${id}`],
    ['GET', (id: string) => `/api/pools/${id}/counts`],
    ['GET', (id: string) => `/api/pool/claims?phase=${id}&agentName=${id}&cursor=${id}`],
    ['GET', (id: string) => `/api/pool/claims?agentName=${id}`],
    ['GET', (id: string) => `/api/pool/events?instance=${id}&claim=${id}`],
    ['GET', (id: string) => `/api/pool/events?cursor=${id}`],
    ['GET', (id: string) => `/api/pool/revisions?cursor=${id}&limit=${id}`],
    ['GET', (id: string) => `/api/pool/${id}`],
    ['DELETE', (id: string) => `/api/pool/instances/${id}?wait=${id}&claim=${id}`],
    ['DELETE', (id: string) => `/api/pool/instances/${id}/destroy?claim=${id}`],
    ['DELETE', (id: string) => `/api/pool/claims/${id}`],
    ['DELETE', (id: string) => `/api/pool/operations/${id}`],
  ] as const
  it.each(PATHS.map(([method, path]) => [`${method} ${path('…')}`, method, path] as const))(
    'in %s',
    async (_, method, path) => {
      await fc.assert(
        fc.asyncProperty(nasty, async (id) => {
          for (const shown of [encodeURIComponent(id.toWellFormed()), '%00', '%', '%ff', 'a'.repeat(300)]) {
            const { status } = await world.ask(method, path(shown))
            expect(status).toBeLessThan(500)
          }
        }),
        { numRuns: 15 },
      )
    },
  )

  it('by nesting', async () => {
    const depth = 200_000
    const payload = `{"agentName":"a","instructions":"b","extra":{"a":${'['.repeat(depth)}${']'.repeat(depth)}}}`
    expect((await world.ask('POST', '/api/pool/claim', { payload })).status).toBe(422)
  })

  it.each(['wait=99999999999999999999', 'wait=-1', 'respond-async', ', ,', 'wait="0"', 'return=minimal'])(
    'in Prefer: %s',
    async (prefer) => {
      const { status } = await world.ask('POST', '/api/pool/claim', { payload: {}, headers: { prefer } })
      expect(status).toBe(422)
    },
  )

  it.each(['', 'x'.repeat(256), 'é'])('a bad Idempotency-Key is 422: %j', async (key) => {
    const { status, body } = await world.ask('POST', '/api/pool/claim', {
      payload: { agentName: 'a', instructions: 'b' },
      headers: { 'idempotency-key': key },
    })
    expect(status).toBe(422)
    expect(body.errors[0].path).toBe('Idempotency-Key')
  })
})

describe('what is taken is stored word for word', () => {
  const words = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 300 })
    .filter((text) => !text.includes('\0'))
  it('instructions', async () => {
    await fc.assert(
      fc.asyncProperty(words, async (instructions) => {
        const { status, body } = await world.ask('POST', '/api/pool/claim', {
          payload: { agentName: 'a', instructions },
          headers: { prefer: 'wait=0' },
        })
        expect(status).toBe(202)
        const [row] = await world.sql`select instructions from claims where id = ${body.claimId}`
        expect(row?.instructions).toBe(instructions)
      }),
      RUNS,
    )
  })

  it('256 KB of them, and not one byte more', async () => {
    const claim = (instructions: string) =>
      world.ask('POST', '/api/pool/claim', {
        payload: { agentName: 'a', instructions },
        headers: { prefer: 'wait=0' },
      })
    expect((await claim('"\n'.repeat(128 * 1024))).status).toBe(202)
    expect((await claim('x'.repeat(256 * 1024 + 1))).status).toBe(422)
    expect((await claim('é'.repeat(128 * 1024 + 1))).status).toBe(422)
  })
})
