import { afterEach, describe, expect, it } from 'vitest'
import {
  createSpritesClient,
  type SpritesClient,
  TIMEOUTS,
  type Timeouts,
} from '../../controller/sprites/client.ts'
import { SpritesError, SpritesRateLimited } from '../../controller/sprites/errors.ts'
import type { CallSeen } from '../../controller/sprites/http.ts'
import { systemClock } from '../../specs/clock.ts'
import { type Behaviour, closedPort, startServer } from './sprites.server.ts'

const TOKEN = 'acme/org-1/token-2/canary-8f31c07e5b'
const FILE = 'ANTHROPIC_API_KEY=canary-2d6fe01b99'
/** Of a server that hangs; all others get time enough for a busy machine. */
const HANG_MS = 60
const PLENTY_MS = 10_000

const closers: (() => Promise<void>)[] = []
afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()))
})

function clientOf(baseUrl: string, behaviour?: Behaviour, observeCall: (call: CallSeen) => void = () => {}) {
  const ms = behaviour === 'hang' ? HANG_MS : PLENTY_MS
  const timeouts: Partial<Timeouts> = Object.fromEntries(Object.keys(TIMEOUTS).map((name) => [name, ms]))
  return createSpritesClient({ baseUrl, token: TOKEN, clock: systemClock, timeouts, observeCall })
}

async function serving(behaviour: Behaviour): Promise<string> {
  const server = await startServer(() => behaviour)
  closers.push(server.close)
  return server.url
}

const operations: [name: string, call: (client: SpritesClient, signal?: AbortSignal) => Promise<unknown>][] =
  [
    ['list', (client, signal) => client.list('claw-', signal)],
    ['get', (client, signal) => client.get('claw-a', signal)],
    ['create', (client, signal) => client.create({ name: 'claw-a', labels: ['pool'] }, signal)],
    ['makePublic', (client, signal) => client.makePublic('claw-a', signal)],
    ['remove', (client, signal) => client.remove('claw-a', signal)],
    ['readFile', (client, signal) => client.readFile('claw-a', '/home/sprite/.env', signal)],
    [
      'writeFile',
      (client, signal) => client.writeFile('claw-a', '/home/sprite/.env', FILE, { mode: '0600' }, signal),
    ],
    ['listFiles', (client, signal) => client.listFiles('claw-a', '/home/sprite', signal)],
    ['removeFile', (client, signal) => client.removeFile('claw-a', '/home/sprite/.env', signal)],
    ['renameFile', (client, signal) => client.renameFile('claw-a', '/a', '/b', signal)],
    ['exec', (client, signal) => client.exec('claw-a', ['true'], {}, signal)],
    ['listCheckpoints', (client, signal) => client.listCheckpoints('claw-a', signal)],
    ['createCheckpoint', (client, signal) => client.createCheckpoint('claw-a', 'golden', signal)],
    ['restoreCheckpoint', (client, signal) => client.restoreCheckpoint('claw-a', 'v1', signal)],
    ['listServices', (client, signal) => client.listServices('claw-a', signal)],
    [
      'putService',
      (client, signal) => client.putService('claw-a', { name: 'gateway', cmd: '/g', httpPort: 8080 }, signal),
    ],
    ['restartService', (client, signal) => client.restartService('claw-a', 'gateway', signal)],
    ['removeService', (client, signal) => client.removeService('claw-a', 'gateway', signal)],
    ['serviceLogs', (client, signal) => client.serviceLogs('claw-a', 'gateway', 10, signal)],
  ]

const JSON_TYPE = { 'content-type': 'application/json' }
const LIMITED = JSON.stringify({
  error: 'sprite_creation_rate_limited',
  message: 'Sprite creation rate limit exceeded.',
  limit: 10,
  retry_after_seconds: 17,
})

const refusals: [name: string, behaviour: Behaviour, error: string][] = [
  ['never answers', 'hang', 'SpritesUnavailable'],
  ['cuts the connection', 'cut', 'SpritesUnavailable'],
  [
    'says 401',
    { status: 401, headers: JSON_TYPE, body: '{"error":"authentication failed"}' },
    'SpritesUnauthorized',
  ],
  ['says 403', { status: 403, headers: JSON_TYPE, body: '{"error":"no right"}' }, 'SpritesUnauthorized'],
  [
    'redirects to a sign-in',
    { status: 302, headers: { location: 'https://sprites.dev/auth' } },
    'SpritesUnauthorized',
  ],
  [
    'has no such route',
    { status: 404, headers: { 'content-type': 'text/plain' }, body: '404 page not found\n' },
    'SpritesUnsupported',
  ],
  ['says 405', { status: 405, body: 'Method Not Allowed' }, 'SpritesUnsupported'],
  ['says 501', { status: 501 }, 'SpritesUnsupported'],
  [
    'shows a page with 404',
    { status: 404, headers: { 'content-type': 'text/html' }, body: '<html>404</html>' },
    'SpritesUnavailable',
  ],
  [
    'says 404 about something else in JSON',
    { status: 404, headers: JSON_TYPE, body: '{"oops":1}' },
    'SpritesUnavailable',
  ],
  [
    'says 429 with a body',
    { status: 429, headers: { ...JSON_TYPE, 'retry-after': '20' }, body: LIMITED },
    'SpritesRateLimited',
  ],
  ['says 429 with a header only', { status: 429, headers: { 'retry-after': '7' } }, 'SpritesRateLimited'],
  [
    'shows a page with 500',
    { status: 500, headers: { 'content-type': 'text/html' }, body: '<html>oops</html>' },
    'SpritesUnavailable',
  ],
  ['says 503', { status: 503, headers: JSON_TYPE, body: '{"error":"no capacity"}' }, 'SpritesUnavailable'],
  [
    'asks to retry with 400',
    { status: 400, headers: JSON_TYPE, body: '{"error":"service temporarily unavailable, please retry"}' },
    'SpritesUnavailable',
  ],
  ['says 400', { status: 400, headers: JSON_TYPE, body: '{"error":"name is invalid"}' }, 'SpritesRejected'],
  [
    'says 422',
    { status: 422, headers: JSON_TYPE, body: '{"errors":[{"message":"too long"}]}' },
    'SpritesRejected',
  ],
  ['says 414', { status: 414, body: 'URI Too Long' }, 'SpritesRejected'],
]

describe.each(operations)('%s', (operation, call) => {
  it.each(refusals)(
    'turns a server that %s into an error that says what to do',
    async (_, behaviour, wanted) => {
      const seen: CallSeen[] = []
      const error = await call(clientOf(await serving(behaviour), behaviour, (one) => seen.push(one))).catch(
        (e: unknown) => e,
      )
      expect(error).toBeInstanceOf(SpritesError)
      expect(error).toMatchObject({ name: wanted, operation })
      expect(seen[0]).toMatchObject({
        operation,
        status: typeof behaviour === 'string' ? 'error' : behaviour.status,
      })
    },
  )

  it('says that nobody listens', async () => {
    await expect(call(clientOf(await closedPort()))).rejects.toMatchObject({
      name: 'SpritesUnavailable',
      status: null,
    })
  })

  it("rejects with the caller's own reason when the caller gives up", async () => {
    const controller = new AbortController()
    const reason = new Error('shutting down')
    const pending = call(clientOf(await serving('hang')), controller.signal)
    controller.abort(reason)
    await expect(pending).rejects.toBe(reason)
    await expect(call(clientOf('http://127.0.0.1:9'), controller.signal)).rejects.toBe(reason)
  })

  it('keeps the token and what it sent out of every error, whatever the answer quotes', async () => {
    const sent = operation.endsWith('File') ? FILE : ''
    const said = `bad: Bearer ${TOKEN} ${sent} /x?key=canary`
    const quoted = JSON.stringify({ error: said, message: TOKEN, code: said })
    const behaviours: Behaviour[] = [400, 401, 403, 404, 409, 422, 429, 500, 503].flatMap((status) => [
      { status, headers: JSON_TYPE, body: quoted },
      { status, headers: { 'content-type': 'text/plain' }, body: said },
    ])
    behaviours.push(
      'hang',
      'cut',
      { status: 200, body: quoted, missingBytes: 9 },
      { status: 200, body: quoted },
    )
    for (const behaviour of behaviours) {
      const outcome = await call(clientOf(await serving(behaviour), behaviour)).catch(
        (error: unknown) => error,
      )
      if (outcome instanceof Error) expect(everythingIn(outcome)).not.toContain('canary')
    }
  })
})

/** Message, stack and every field of an error and of what is below it. */
function everythingIn(error: unknown): string {
  if (!(error instanceof Error)) return JSON.stringify(error) ?? ''
  const own = Object.fromEntries(
    Object.getOwnPropertyNames(error).map((key) => [key, Reflect.get(error, key)]),
  )
  return `${JSON.stringify({ ...own, cause: undefined })} ${String(error)} ${error.stack} ${everythingIn(error.cause)}`
}

const wantJson = operations.filter(([name]) =>
  ['list', 'get', 'create', 'makePublic', 'listFiles', 'listCheckpoints', 'listServices'].includes(name),
)

describe.each(wantJson)('%s wants whole JSON and', (_, call) => {
  it.each<[string, Behaviour]>([
    ['half of it', { status: 200, headers: JSON_TYPE, body: '{"sprites":[{"na', missingBytes: 50 }],
    ['half of it, well counted', { status: 200, headers: JSON_TYPE, body: '{"sprites":[{"na' }],
    ['a page', { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>hello</html>' }],
    ['something else', { status: 200, headers: JSON_TYPE, body: '{"hello":"world"}' }],
    ['nothing', { status: 200 }],
  ])('calls %s unavailable', async (_name, behaviour) => {
    await expect(call(clientOf(await serving(behaviour), behaviour))).rejects.toMatchObject({
      name: 'SpritesUnavailable',
    })
  })
})

const notFound = { status: 404, headers: JSON_TYPE, body: '{"error":"sprite not found"}' }

describe('a definite "sprite not found"', () => {
  it('is an answer to get and remove', async () => {
    const client = clientOf(await serving(notFound))
    await expect(client.get('claw-a')).resolves.toBeNull()
    await expect(client.remove('claw-a')).resolves.toBe('absent')
  })

  it.each(operations.filter(([name]) => name !== 'get' && name !== 'remove'))(
    'is SpriteMissing to %s',
    async (_, call) => {
      const failed = call(clientOf(await serving(notFound)))
      await expect(failed).rejects.toMatchObject({ name: 'SpriteMissing', what: 'sprite' })
    },
  )
})

describe('a missing path', () => {
  it.each([
    ['without a code', 404, '{"error":"no such file or directory"}'],
    ['with a code and 500', 500, '{"error":"open /x","code":"ENOENT","path":"/x"}'],
    ['in other words', 404, '{"error":"file not found"}'],
  ])('%s is an answer to readFile, listFiles and removeFile', async (_, status, body) => {
    const client = clientOf(await serving({ status, headers: JSON_TYPE, body }))
    await expect(client.readFile('claw-a', '/x')).resolves.toBeNull()
    await expect(client.listFiles('claw-a', '/x')).resolves.toBeNull()
    await expect(client.removeFile('claw-a', '/x')).resolves.toBeUndefined()
    await expect(client.renameFile('claw-a', '/x', '/y')).rejects.toMatchObject({
      name: 'SpriteMissing',
      what: 'path',
    })
  })

  it('is not what a bare "not found" or another fault of the disk says', async () => {
    const bare = clientOf(await serving({ status: 404, headers: JSON_TYPE, body: '{"error":"not found"}' }))
    await expect(bare.readFile('claw-a', '/x')).rejects.toMatchObject({ name: 'SpritesUnavailable' })
    const io = clientOf(
      await serving({ status: 500, headers: JSON_TYPE, body: '{"error":"read /x: input/output error"}' }),
    )
    await expect(io.listFiles('claw-a', '/x')).rejects.toThrow(
      'sprites: listFiles claw-a: 500, input/output error',
    )
  })
})

describe('create', () => {
  it.each([
    ['409', 409, '{"error":"conflict"}'],
    ['400', 400, '{"error":"sprite with this name already exists"}'],
  ])('tells a taken name (%s) from a wrong one', async (_, status, body) => {
    const client = clientOf(await serving({ status, headers: JSON_TYPE, body }))
    await expect(client.create({ name: 'claw-a', labels: [] })).rejects.toMatchObject({
      name: 'SpriteExists',
    })
  })
})

describe('a rate limit', () => {
  it.each<[string, Behaviour, Pick<SpritesRateLimited, 'code' | 'retryAfterMs' | 'limit'>]>([
    [
      'believes the body first',
      { status: 429, headers: { 'retry-after': '20' }, body: LIMITED },
      { code: 'creation', retryAfterMs: 17_000, limit: 10 },
    ],
    [
      'knows the limit of running Sprites',
      { status: 429, body: '{"error":"concurrent_sprite_limit_exceeded","limit":3,"current_count":3}' },
      { code: 'concurrent', retryAfterMs: null, limit: 3 },
    ],
    [
      'takes the header',
      { status: 429, headers: { 'retry-after': '7', 'x-ratelimit-limit': '10' } },
      { code: 'other', retryAfterMs: 7_000, limit: 10 },
    ],
    [
      'never waits longer than an hour',
      { status: 429, headers: { 'retry-after': '86400' } },
      { code: 'other', retryAfterMs: 3_600_000, limit: null },
    ],
    [
      'never waits for the past',
      { status: 429, headers: { 'x-ratelimit-reset': '1000' } },
      { code: 'other', retryAfterMs: 0, limit: null },
    ],
    [
      'says when it was not told',
      { status: 429, body: 'slow down' },
      { code: 'other', retryAfterMs: null, limit: null },
    ],
  ])('%s', async (_, behaviour, wanted) => {
    const error = await clientOf(await serving(behaviour))
      .get('claw-a')
      .catch((e: unknown) => e)
    expect(error).toBeInstanceOf(SpritesRateLimited)
    expect(error).toMatchObject(wanted)
  })

  it('reads a date', async () => {
    const at = new Date(Date.now() + 30_000).toUTCString()
    const client = clientOf(await serving({ status: 429, headers: { 'retry-after': at } }))
    const error = await client.get('claw-a').catch((e: unknown) => e)
    if (!(error instanceof SpritesRateLimited)) throw error
    expect(error.retryAfterMs).toBeGreaterThan(25_000)
    expect(error.retryAfterMs).toBeLessThanOrEqual(30_000)
  })
})

describe('the factory', () => {
  it('refuses to send the token in clear, and one that no header can carry', () => {
    expect(() => clientOf('http://api.sprites.dev')).toThrow('neither https nor plain http on loopback')
    const bad = () =>
      createSpritesClient({ baseUrl: 'https://api.sprites.dev', token: 'canary\n', clock: systemClock })
    expect(bad).toThrow(/^(?!.*canary)/s)
  })

  it('never lets a name walk to another route', async () => {
    const client = clientOf(await serving(notFound))
    await expect(client.remove('..')).rejects.toMatchObject({ name: 'SpritesRejected' })
    await expect(client.restoreCheckpoint('claw-a', '.')).rejects.toMatchObject({ name: 'SpritesRejected' })
  })
})
