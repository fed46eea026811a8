import { describe, expect, it } from 'vitest'
import { systemClock } from '../../specs/clock.ts'
import { rawStatus, startWorld, TOKEN } from './emulator-world.ts'

describe('Sprites', () => {
  it('creates one with labels and settings, and shows the same by name', async () => {
    const world = await startWorld()
    const made = await world.json('POST', '/sprites', {
      name: 'claw-dev-a1',
      labels: ['pool', 'uid'],
      url_settings: { auth: 'public' },
      wait_for_capacity: false,
    })
    expect(made.status).toBe(201)
    expect(made.body).toMatchObject({
      id: expect.stringMatching(/^sprite-[0-9a-f-]{36}$/),
      name: 'claw-dev-a1',
      url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      url_settings: { auth: 'public', private_access: 'admins' },
      labels: ['pool', 'uid'],
      status: 'running',
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    })
    expect(await world.json('GET', '/sprites/claw-dev-a1')).toEqual({ status: 200, body: made.body })
  })

  it.each(['Upper', 'under_score', '-front', 'back-', 'a'.repeat(64), '', '..', 'a/b'])(
    'refuses the name %j',
    async (name) => {
      const world = await startWorld()
      expect((await world.json('POST', '/sprites', { name })).status).toBe(400)
    },
  )

  it('refuses a second one of the same name, also when both are asked for at once', async () => {
    const world = await startWorld()
    const answers = await Promise.all([1, 2, 3].map(() => world.json('POST', '/sprites', { name: 'twin' })))
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 409, 409])
    expect((await world.json('GET', '/sprites')).body.sprites).toHaveLength(1)
  })

  it('changes only what a PUT names', async () => {
    const world = await startWorld()
    await world.create('a', { labels: ['one'] })
    const changed = await world.json('PUT', '/sprites/a', { url_settings: { auth: 'public' } })
    expect(changed.body).toMatchObject({
      labels: ['one'],
      url_settings: { auth: 'public', private_access: 'admins' },
    })
    expect((await world.json('PUT', '/sprites/a', { labels: ['two'] })).body).toMatchObject({
      labels: ['two'],
      url_settings: { auth: 'public' },
    })
    expect((await world.json('PUT', '/sprites/a', { url_settings: { auth: 'open' } })).status).toBe(400)
  })

  it('deletes one, and gives the next one of that name another id and an empty disk', async () => {
    const world = await startWorld()
    const first = await world.create('again')
    await world.write('again', '/home/sprite/kept', 'x')
    expect((await world.call('DELETE', '/sprites/again')).status).toBe(204)
    expect(await world.json('GET', '/sprites/again')).toEqual({
      status: 404,
      body: { error: 'sprite not found' },
    })
    expect((await world.json('DELETE', '/sprites/again')).status).toBe(404)
    const second = await world.create('again')
    expect(second.id).not.toBe(first.id)
    expect((await world.read('again', '/home/sprite/kept')).status).toBe(404)
  })

  it('lists pages of at most 50, by prefix, with entries that lack labels', async () => {
    const world = await startWorld()
    const names = Array.from({ length: 52 }, (_, n) => `p-${String(n).padStart(2, '0')}`)
    for (const name of [...names, 'other']) await world.create(name, { labels: ['x'] })

    const first = (await world.json('GET', '/sprites?prefix=p-&max_results=100')).body
    expect(first.sprites).toHaveLength(50)
    expect(first.has_more).toBe(true)
    expect(first.sprites[0]).not.toHaveProperty('labels')

    await world.call('DELETE', '/sprites/p-10') // between two pages: hides nothing of the second
    const token = encodeURIComponent(first.next_continuation_token)
    const second = (await world.json('GET', `/sprites?prefix=p-&continuation_token=${token}`)).body
    expect(second.has_more).toBe(false)
    expect(second).not.toHaveProperty('next_continuation_token')
    const seen = [...first.sprites, ...second.sprites].map(({ name }: { name: string }) => name)
    expect(seen).toEqual(names)
    expect((await world.json('GET', '/sprites?continuation_token=nonsense')).status).toBe(400)
  })

  it('limits creates in a rolling minute where that is asked for, and says when to come again', async () => {
    let now = 1_000_000
    const world = await startWorld({ createsPerMinute: 2, clock: { ...systemClock, now: () => now } })
    await world.create('a')
    now += 20_000
    await world.create('b')
    const refused = await world.call('POST', '/sprites', { name: 'c' })
    expect(refused.status).toBe(429)
    expect(refused.headers.get('retry-after')).toBe('40')
    expect(await refused.json()).toMatchObject({
      error: 'sprite_creation_rate_limited',
      limit: 2,
      window_seconds: 60,
      retry_after_seconds: 40,
      current_count: 2,
    })
    now += 40_000
    await world.create('c')
  })
})

describe('the door', () => {
  it('asks for the token on every call, unknown ones included', async () => {
    const world = await startWorld()
    for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: `Basic ${TOKEN}` }]) {
      for (const path of ['/sprites', '/sprites/a/fs/read?path=/x', '/nowhere']) {
        const response = await fetch(`${world.base}/v1${path}`, { headers })
        expect([response.status, await response.json()]).toEqual([401, { error: 'authentication failed' }])
      }
    }
  })

  it('answers to loopback names only, and to no web page', async () => {
    const world = await startWorld()
    const { port } = new URL(world.base)
    const authorization = `Bearer ${TOKEN}`
    const url = `${world.base}/v1/sprites`
    for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`, 'localhost']) {
      expect(await rawStatus(url, { authorization, host })).toBe(200)
    }
    for (const host of [
      'evil.example',
      `evil.example:${port}`,
      `127.0.0.1.evil.example:${port}`,
      '10.0.0.1',
    ]) {
      expect(await rawStatus(url, { authorization, host })).toBe(403)
    }
    for (const origin of ['https://evil.example', world.base, 'null']) {
      expect(await rawStatus(url, { authorization, origin })).toBe(403)
    }
  })

  it('sends no CORS header', async () => {
    const world = await startWorld()
    const response = await world.call('GET', '/sprites')
    expect([...response.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([])
  })

  it('answers an unknown route with text', async () => {
    const world = await startWorld()
    for (const [method, path] of [
      ['GET', '/nothing'],
      ['PATCH', '/sprites/a'],
      ['DELETE', '/sprites/a/checkpoints/v1'],
    ] as const) {
      const response = await world.call(method, path)
      expect([response.status, (await response.text()).trim()]).toEqual([404, '404 page not found'])
      expect(response.headers.get('content-type')).toContain('text/plain')
    }
  })

  it.each([
    ['GET', '/sprites/none'],
    ['PUT', '/sprites/none'],
    ['POST', '/sprites/none/exec?cmd=true'],
    ['GET', '/sprites/none/fs/list?path=/'],
    ['GET', '/sprites/none/checkpoints'],
    ['POST', '/sprites/none/checkpoint'],
    ['POST', '/sprites/none/checkpoints/v1/restore'],
    ['GET', '/sprites/none/services'],
    ['POST', '/sprites/none/services/web/start'],
  ])('says that there is no such Sprite: %s %s', async (method, path) => {
    const world = await startWorld()
    expect(await world.json(method, path, method === 'GET' ? undefined : {})).toEqual({
      status: 404,
      body: { error: 'sprite not found' },
    })
  })

  it('refuses a body that is no JSON, is too large, or names a wrong type', async () => {
    const world = await startWorld()
    expect((await world.json('POST', '/sprites', Buffer.from('{'))).status).toBe(400)
    expect((await world.json('POST', '/sprites', { name: 7 })).status).toBe(400)
    expect((await world.json('POST', '/sprites', Buffer.alloc(1_100_000, ' '))).status).toBe(413)
    expect((await world.json('GET', '/sprites/%E0%A4%A')).status).toBe(400)
  })
})
