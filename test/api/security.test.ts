import Fastify, { type FastifyInstance } from 'fastify'
import { describe, expect, it } from 'vitest'
import { type Actor, authPlugin } from '../../api/plugins/auth.ts'
import { errorsPlugin } from '../../api/plugins/errors.ts'
import { CONFIG, startWorld } from './support.ts'

describe('roles', () => {
  async function ask(role: Actor['role'], access?: 'viewer' | 'operator') {
    const app = Fastify()
    await app.register(errorsPlugin)
    await app.register(authPlugin, {
      authenticate: (key) => (key === 'key' ? { name: 'somebody', role } : null),
      metricsToken: null,
    })
    app.get('/', access ? { config: { access } } : {}, async () => 'yes')
    return app.inject({ url: '/', headers: { authorization: 'Bearer key' } })
  }

  it('have the rights of those before them', async () => {
    expect((await ask('viewer', 'viewer')).statusCode).toBe(200)
    expect((await ask('operator', 'viewer')).statusCode).toBe(200)
    expect((await ask('admin', 'operator')).statusCode).toBe(200)
  })

  it('that are not enough are named in a 403', async () => {
    const answer = await ask('claimer', 'operator')
    expect(answer.statusCode).toBe(403)
    expect(answer.json().error).toContain('operator')
  })

  it('a route that does not say who may is the admin’s', async () => {
    expect((await ask('operator')).statusCode).toBe(403)
    expect((await ask('admin')).statusCode).toBe(200)
  })
})

describe('wrong keys', () => {
  const LIMIT = { failures: 3, windowSeconds: 60 }

  async function open(limit = LIMIT, before: (app: FastifyInstance) => void = () => {}) {
    const app = Fastify({ trustProxy: (_, hop) => hop < 1 })
    before(app)
    await app.register(errorsPlugin)
    const authenticate = (key: string) =>
      key === 'key' ? { name: 'somebody', role: 'admin' as const } : null
    await app.register(authPlugin, { authenticate, metricsToken: 'scrape-me', signInLimit: limit })
    app.get('/', async () => 'yes')
    app.get('/metrics', { config: { access: 'metrics' } }, async () => 'yes')
    return (key: string | null, address = '203.0.113.7', url = '/') =>
      app.inject({
        url,
        headers: { ...(key !== null && { authorization: `Bearer ${key}` }), 'x-forwarded-for': address },
      })
  }

  it('are refused unread after some, even when one is right by then', async () => {
    const ask = await open()
    for (let n = 0; n < LIMIT.failures; n++) expect((await ask(`guess-${n}`)).statusCode).toBe(401)
    for (const key of ['guess', 'key']) {
      const answer = await ask(key)
      expect(answer.statusCode).toBe(429)
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(50)
      expect(answer.json()).toMatchObject({
        code: 'TooManyFailedSignIns',
        error: expect.stringMatching(/try again in \d+ s/),
      })
    }
  })

  it('that are one and the same count once: a script with an old key keeps nobody out', async () => {
    const ask = await open()
    for (let n = 0; n < 10; n++) expect((await ask('of-last-year')).statusCode).toBe(401)
    expect((await ask('key')).statusCode).toBe(200)
  })

  it('of a caller whose connection is gone have no address, and break nothing', async () => {
    const ask = await open(LIMIT, (app) => {
      app.addHook('onRequest', async (request) => {
        Object.defineProperty(request, 'ip', { value: undefined }) // as a socket that was destroyed has it
      })
    })
    expect((await ask('guess')).statusCode).toBe(401)
  })

  it('of one caller keep nobody else out', async () => {
    const ask = await open()
    for (let n = 0; n < 10; n++) await ask(`guess-${n}`)
    expect((await ask('key', '203.0.113.8')).statusCode).toBe(200)
  })

  it('count for a whole network of IPv6, which one caller holds', async () => {
    const ask = await open()
    for (let n = 0; n < LIMIT.failures; n++) await ask(`guess-${n}`, `2001:db8:0:7::${n}`)
    expect((await ask('key', '2001:0db8::7:1:2:3:4')).statusCode).toBe(429)
    expect((await ask('key', '2001:db8:0:8::1')).statusCode).toBe(200)
  })

  it('count on every route, the scraper’s too; a right key or none at all counts nowhere', async () => {
    const ask = await open()
    for (let n = 0; n < 10; n++) {
      expect((await ask('key')).statusCode).toBe(200)
      expect((await ask(null)).statusCode).toBe(401)
    }
    for (let n = 0; n < LIMIT.failures; n++) await ask(`guess-${n}`, undefined, '/metrics')
    expect((await ask('scrape-me', undefined, '/metrics')).statusCode).toBe(429)
    expect((await ask('key')).statusCode).toBe(429)
  })

  it('are forgotten when their window is over', async () => {
    const ask = await open({ failures: 1, windowSeconds: 1 })
    await ask('guess')
    expect((await ask('key')).statusCode).toBe(429)
    await expect.poll(async () => (await ask('key')).statusCode).toBe(200)
  })
})

describe('answers', () => {
  it('tell a browser what it must not do, and ask for https only where a trusted proxy speaks it', async () => {
    const plain = await startWorld()
    const proxied = await startWorld({ config: { ...CONFIG, trustProxy: 1 } })
    try {
      const headers = { 'x-forwarded-proto': 'https' }
      const open = await plain.askOpenly('GET', '/', { headers })
      expect(open.headers['content-security-policy']).toMatch(/script-src 'self';.*frame-ancestors 'none'/)
      expect(open.headers['content-security-policy']).not.toMatch(/unsafe-inline|upgrade-insecure/)
      expect(open.headers['x-content-type-options']).toBe('nosniff')
      expect(open.headers['strict-transport-security']).toBeUndefined()
      expect(open.headers['access-control-allow-origin']).toBeUndefined()
      const secure = await proxied.askOpenly('GET', '/', { headers })
      expect(secure.headers['strict-transport-security']).toMatch(/^max-age=\d+/)
      const inside = await proxied.askOpenly('GET', '/')
      expect(inside.headers['strict-transport-security']).toBeUndefined()
    } finally {
      await plain.close()
      await proxied.close()
    }
  })

  it('of /metrics need the scraper’s token where one is set, and no other key will do', async () => {
    const world = await startWorld({ config: { ...CONFIG, metricsToken: 'scrape-me' } })
    try {
      expect((await world.askOpenly('GET', '/metrics')).status).toBe(401)
      expect((await world.ask('GET', '/metrics')).status).toBe(401)
      const headers = { authorization: 'Bearer scrape-me' }
      expect((await world.askOpenly('GET', '/metrics', { headers })).status).toBe(200)
      expect((await world.askOpenly('GET', '/api/pool/status', { headers })).status).toBe(401)
    } finally {
      await world.close()
    }
  })
})

describe('the page', () => {
  it('sets text only, and has no script or style of its own lines', async () => {
    const world = await startWorld()
    try {
      const html = (await world.askOpenly('GET', '/')).text
      expect(html).not.toMatch(/<script(?![^>]*src=)|<style|\son\w+=|style=/)
      expect(html).not.toMatch(/(src|href)="(https?:)?\/\//)
      const script = (await world.askOpenly('GET', '/assets/dashboard.js')).text
      expect(script).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|localStorage/)
    } finally {
      await world.close()
    }
  })
})
