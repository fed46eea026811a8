import { HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createSpritesClient } from '../../controller/sprites/client.ts'
import { systemClock } from '../../specs/clock.ts'

const BASE = 'https://api.sprites.dev'

interface Seen {
  method: string
  path: string
  query: Record<string, string>
  authorization: string | null
  body: string
}

let requests: Seen[] = []
const server = setupServer()
beforeAll(() => server.listen({ onUnhandledFrame: 'error' }))
beforeEach(() => {
  requests = []
})
afterEach(() => server.resetHandlers())
afterAll(() => server.close())

/** Answers each request with the next of `answers`, the last one for ever. */
function answer(...answers: (() => Response)[]): void {
  server.use(
    http.all(`${BASE}/*`, async ({ request }) => {
      const url = new URL(request.url)
      requests.push({
        method: request.method,
        path: url.pathname,
        query: Object.fromEntries(url.searchParams),
        authorization: request.headers.get('authorization'),
        body: await request.text(),
      })
      const next = answers.length > 1 ? answers.shift() : answers[0]
      return next?.() ?? HttpResponse.error()
    }),
  )
}

const json =
  (body: unknown, status = 200) =>
  () =>
    HttpResponse.json(body as null, { status })
const lines = (...objects: unknown[]) => {
  const body = objects.map((one) => `${typeof one === 'string' ? one : JSON.stringify(one)}\n`).join('')
  return () => new HttpResponse(body, { headers: { 'content-type': 'application/x-ndjson' } })
}
const text404 = () => new HttpResponse('404 page not found\n', { status: 404 })

const client = createSpritesClient({ baseUrl: `${BASE}/`, token: 'a/b/c/d', clock: systemClock })

const wire = {
  id: 'sprite-6f',
  name: 'claw-a',
  organization: 'acme',
  url: 'https://claw-a-bmabx.sprites.app',
  url_settings: { auth: 'public', private_access: 'admins' },
  status: 'cold',
  created_at: '2026-08-01T10:00:00Z',
  labels: ['pool:x'],
  config: { ram_mb: 1 },
}
const sprite = {
  id: 'sprite-6f',
  name: 'claw-a',
  url: 'https://claw-a-bmabx.sprites.app',
  urlAuth: 'public',
  status: 'cold',
  labels: ['pool:x'],
  createdAt: '2026-08-01T10:00:00Z',
}

describe('list', () => {
  it('follows the pages to their end and keeps one entry for each name', async () => {
    answer(
      json({
        sprites: [{ name: 'claw-a', updated_at: 'x' }, wire],
        has_more: true,
        next_continuation_token: 'p/2',
      }),
      json({
        sprites: [{ name: 'claw-b', status: 'frozen', labels: null }],
        has_more: false,
        next_continuation_token: 'x',
      }),
    )
    await expect(client.list('claw-')).resolves.toEqual({
      sprites: [
        { name: 'claw-a', id: 'sprite-6f', status: 'cold', url: sprite.url, labels: ['pool:x'] },
        { name: 'claw-b', id: null, status: 'unknown', url: null, labels: null },
      ],
    })
    expect(requests.map(({ path, query }) => [path, query])).toEqual([
      ['/v1/sprites', { prefix: 'claw-', max_results: '50' }],
      ['/v1/sprites', { prefix: 'claw-', max_results: '50', continuation_token: 'p/2' }],
    ])
  })

  it.each([
    ['a page fails', [json({ sprites: [], has_more: true, next_continuation_token: '2' }), json({}, 500)]],
    ['a token comes again', [json({ sprites: [wire], has_more: true, next_continuation_token: '2' })]],
    [
      'there is more, but no way to it',
      [json({ sprites: [wire], has_more: true, next_continuation_token: '' })],
    ],
  ])('is nothing at all when %s', async (_, pages) => {
    answer(...pages)
    await expect(client.list('claw-')).rejects.toMatchObject({ name: 'SpritesUnavailable' })
    expect(requests.length).toBeLessThan(4)
  })

  it('gives up on pages without an end', async () => {
    let page = 0
    answer(() => HttpResponse.json({ sprites: [], has_more: true, next_continuation_token: `t${page++}` }))
    await expect(client.list('claw-')).rejects.toThrow('pages without an end')
    expect(requests).toHaveLength(1_000)
  })

  it('takes the null of an empty Go slice for none', async () => {
    answer(json({ sprites: null }))
    await expect(client.list('claw-')).resolves.toEqual({ sprites: [] })
  })
})

describe('a Sprite', () => {
  it('is read by its name', async () => {
    answer(json(wire))
    await expect(client.get('claw-a')).resolves.toEqual(sprite)
    expect(requests).toEqual([
      { method: 'GET', path: '/v1/sprites/claw-a', query: {}, authorization: 'Bearer a/b/c/d', body: '' },
    ])
  })

  it('is read without what the answer leaves out, and with words we do not know', async () => {
    answer(
      json({ id: 'x', name: 'claw-a', url: 'https://x', status: 'thawing', url_settings: { auth: 'new' } }),
    )
    await expect(client.get('claw-a')).resolves.toEqual({
      ...{ id: 'x', name: 'claw-a', url: 'https://x', urlAuth: 'unknown', status: 'unknown' },
      ...{ labels: null, createdAt: null },
    })
  })

  it('is created public, and never waits in the queue of the provider', async () => {
    answer(json(wire, 201))
    await expect(client.create({ name: 'claw-a', labels: ['pool:x'] })).resolves.toEqual(sprite)
    expect(requests[0]).toMatchObject({ method: 'POST', path: '/v1/sprites' })
    expect(JSON.parse(requests[0]?.body ?? '')).toEqual({
      name: 'claw-a',
      labels: ['pool:x'],
      url_settings: { auth: 'public' },
      wait_for_capacity: false,
    })
  })

  it('is made public without touching its labels', async () => {
    answer(json(wire))
    await expect(client.makePublic('claw-a')).resolves.toEqual(sprite)
    expect(requests[0]).toMatchObject({ method: 'PUT', body: '{"url_settings":{"auth":"public"}}' })
  })

  it('is removed', async () => {
    answer(() => new HttpResponse(null, { status: 204 }))
    await expect(client.remove('claw-a')).resolves.toBe('deleted')
    expect(requests[0]).toMatchObject({ method: 'DELETE', path: '/v1/sprites/claw-a' })
  })
})

describe('a file', () => {
  it('is written byte for byte, with its mode and its parent folders', async () => {
    answer(json({ path: '/x', size: 1, mode: '0600' }, 201))
    const content = 'It\'s "quoted"\n$(rm) `x` 🦞\u0000\n'
    await client.writeFile('claw-a', '/home/sprite/a b?&.txt', content, { mode: '0600' })
    expect(requests[0]).toMatchObject({ method: 'PUT', path: '/v1/sprites/claw-a/fs/write', body: content })
    expect(requests[0]?.query).toEqual({
      path: '/home/sprite/a b?&.txt',
      workingDir: '/',
      mode: '0600',
      mkdirParents: 'true',
      mkdir: 'true',
    })
  })

  it('is read as bytes', async () => {
    answer(() => new HttpResponse(new Uint8Array([0, 255, 128, 10])))
    const bytes = await client.readFile('claw-a', '/x')
    expect([...(bytes ?? [])]).toEqual([0, 255, 128, 10])
    expect(requests[0]?.query).toEqual({ path: '/x', workingDir: '/' })
  })

  it('of more than 8 MB is refused', async () => {
    answer(() => new HttpResponse(new Uint8Array(8 * 1024 * 1024 + 1)))
    await expect(client.readFile('claw-a', '/x')).rejects.toMatchObject({ name: 'SpritesRejected' })
  })

  it('is renamed and removed', async () => {
    answer(json({}))
    await client.renameFile('claw-a', '/x.1', '/x')
    await client.removeFile('claw-a', '/x')
    expect(requests[0]).toMatchObject({
      method: 'POST',
      body: '{"source":"/x.1","dest":"/x","workingDir":"/"}',
    })
    expect(requests[1]).toMatchObject({ method: 'DELETE', query: { path: '/x', workingDir: '/' } })
  })

  it('is listed, and an empty directory is not an absent one', async () => {
    answer(
      json({
        entries: [
          { name: '.env', path: '/h/.env', type: 'file', size: 3, mode: '0600', modTime: 'x', isDir: false },
          { name: 'app', type: 'directory' },
        ],
        count: 2,
      }),
      json({ path: '/h', entries: null, count: 0 }),
    )
    await expect(client.listFiles('claw-a', '/h')).resolves.toEqual([
      { name: '.env', path: '/h/.env', isDir: false, size: 3, mode: '0600' },
      { name: 'app', path: 'app', isDir: true, size: 0, mode: '' },
    ])
    await expect(client.listFiles('claw-a', '/h')).resolves.toEqual([])
  })
})

describe('checkpoints', () => {
  it('are listed without the synthetic and the automatic ones', async () => {
    answer(
      json([
        { id: 'Current', create_time: 'now' },
        { id: 'auto-3', create_time: 'x', comment: 'y' },
        { id: 'v9', create_time: 'x', is_auto: true },
        { id: 'v1', create_time: '2026-08-10T19:42:00Z', comment: 'golden', health: '' },
        { id: 'v2', create_time: '2026-08-10T19:43:00Z' },
      ]),
    )
    await expect(client.listCheckpoints('claw-a')).resolves.toEqual([
      { id: 'v1', createdAt: '2026-08-10T19:42:00Z', comment: 'golden' },
      { id: 'v2', createdAt: '2026-08-10T19:43:00Z', comment: null },
    ])
  })

  it('are created by a stream of prose that ends in a verdict', async () => {
    answer(
      lines(
        { type: 'info', data: 'Creating checkpoint...' },
        { type: 'info', data: '\nCheckpoint Details:' },
        'not JSON at all',
        { type: 'complete', data: 'Checkpoint v1 created successfully' },
      ),
    )
    await expect(client.createCheckpoint('claw-a', 'golden 1')).resolves.toEqual({
      outcome: 'complete',
      message: 'Checkpoint v1 created successfully',
    })
    expect(requests[0]).toMatchObject({
      path: '/v1/sprites/claw-a/checkpoint',
      body: '{"comment":"golden 1"}',
    })
  })

  it('fail by a line inside a 200', async () => {
    answer(
      lines(
        { type: 'info', data: 'Restoring' },
        { type: 'error', error: 'checkpoint with path x not found' },
      ),
    )
    await expect(client.restoreCheckpoint('claw-a', 'v1')).resolves.toEqual({
      outcome: 'error',
      message: 'checkpoint with path x not found',
    })
    expect(requests[0]).toMatchObject({
      method: 'POST',
      path: '/v1/sprites/claw-a/checkpoints/v1/restore',
      body: '',
    })
  })

  it('end without a verdict where the stream has none', async () => {
    answer(lines({ type: 'info', data: '  ID: v1' }))
    await expect(client.createCheckpoint('claw-a', 'golden')).resolves.toMatchObject({ outcome: 'ended' })
  })

  it.each([
    ['a line', lines({ type: 'error', error: 'No process is running to checkpoint' })],
    ['a status', json({ error: 'no process is running to checkpoint' }, 500)],
  ])('say by %s that a process must run first', async (_, reply) => {
    answer(reply)
    await expect(client.createCheckpoint('claw-a', 'x')).rejects.toMatchObject({
      name: 'NothingToCheckpoint',
    })
  })

  it('tell an unknown checkpoint from an unknown Sprite', async () => {
    answer(json({ error: 'checkpoint not found' }, 404))
    const failed = client.restoreCheckpoint('claw-a', 'v7')
    await expect(failed).rejects.toMatchObject({ name: 'SpriteMissing', what: 'checkpoint' })
  })
})

describe('services', () => {
  const service = {
    name: 'gateway',
    cmd: '/g.sh',
    args: [],
    http_port: 8080,
    state: { status: 'running', pid: 7 },
  }

  it.each([
    ['bare', [service]],
    ['wrapped', { services: [service] }],
  ])('are listed from a %s array', async (_, body) => {
    answer(json(body))
    await expect(client.listServices('claw-a')).resolves.toEqual([
      { name: 'gateway', cmd: '/g.sh', args: [], httpPort: 8080, status: 'running' },
    ])
  })

  it('are listed as none from null', async () => {
    answer(json(null))
    await expect(client.listServices('claw-a')).resolves.toEqual([])
  })

  it('are read with nulls and unknown words', async () => {
    answer(
      json([
        { name: 'x', cmd: null, args: null, needs: null, http_port: null, state: { status: 'odd' } },
        { name: 'y' },
      ]),
    )
    await expect(client.listServices('claw-a')).resolves.toEqual([
      { name: 'x', cmd: '', args: [], httpPort: null, status: 'unknown' },
      { name: 'y', cmd: '', args: [], httpPort: null, status: 'unknown' },
    ])
  })

  it('are put with the arrays that the provider insists on, whatever the process does then', async () => {
    answer(
      lines(
        { type: 'started' },
        { type: 'stdout', data: 'hi' },
        { type: 'exit', exit_code: 1 },
        { type: 'complete' },
      ),
    )
    await client.putService('claw-a', { name: 'gateway', cmd: '/g.sh', httpPort: 8080 })
    expect(requests[0]).toMatchObject({ method: 'PUT', path: '/v1/sprites/claw-a/services/gateway' })
    expect(JSON.parse(requests[0]?.body ?? '')).toEqual({
      cmd: '/g.sh',
      args: [],
      env: {},
      needs: [],
      http_port: 8080,
    })
  })

  it('that the manager could not start are unavailable, and its words stay out', async () => {
    answer(lines({ type: 'error', data: 'env API_KEY=canary' }))
    const failed = client.putService('claw-a', { name: 'gateway', cmd: '/g.sh', httpPort: 8080 })
    await expect(failed).rejects.toMatchObject({ name: 'SpritesUnavailable' })
    await expect(failed).rejects.toThrow(/^(?!.*canary)/s)
  })

  it('are restarted by one call', async () => {
    answer(lines({ type: 'complete' }))
    await client.restartService('claw-a', 'gateway')
    expect(requests.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'POST /v1/sprites/claw-a/services/gateway/restart',
    ])
  })

  it.each([
    ['the route is missing', text404],
    ['the method is not allowed', () => new HttpResponse('', { status: 405 })],
    ['the route is not built', () => new HttpResponse('', { status: 501 })],
    ['the 404 does not say which of both is missing', json({ error: 'not found' }, 404)],
  ])('are stopped and started where %s', async (_, refusal) => {
    answer(refusal, json({ error: 'service is not running' }, 409), lines({ type: 'complete' }))
    await client.restartService('claw-a', 'gateway')
    expect(requests.map(({ path }) => path.split('/').at(-1))).toEqual(['restart', 'stop', 'start'])
  })

  it('that are absent are removed already, but cannot be restarted', async () => {
    answer(json({ error: 'service not found' }, 404))
    await client.removeService('claw-a', 'gateway')
    const failed = client.restartService('claw-a', 'gateway')
    await expect(failed).rejects.toMatchObject({ name: 'SpriteMissing', what: 'service' })
  })

  it('show their newest log lines', async () => {
    answer(
      lines(
        { type: 'stdout', data: 'one\ntwo\n' },
        { type: 'stderr', data: 'three' },
        { type: 'stdout', data: 'four\n' },
        { type: 'complete' },
      ),
    )
    await expect(client.serviceLogs('claw-a', 'gateway', 3)).resolves.toEqual(['two', 'three', 'four'])
    expect(requests[0]).toMatchObject({
      path: '/v1/sprites/claw-a/services/gateway/logs',
      query: { lines: '3' },
    })
  })
})

it('encodes what stands in a path', async () => {
  answer(json({ error: 'sprite not found' }, 404))
  await client.get('a/../b?c')
  expect(requests[0]?.path).toBe('/v1/sprites/a%2F..%2Fb%3Fc')
})
