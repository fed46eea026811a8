import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { rawStatus, startWorld, TOKEN, until } from './emulator-world.ts'

/** Tells the request back as JSON; on an upgrade it echoes bytes. */
const APP = `
const http = require('node:http')
const server = http.createServer((q, r) => {
  let body = ''
  q.on('data', (d) => (body += d)).on('end', () => {
    if (q.url === '/cut') return q.socket.destroy()
    r.writeHead(q.url === '/teapot' ? 418 : 200, { 'x-app': 'yes', 'set-cookie': ['a=1', 'b=2'] })
    r.end(JSON.stringify({ method: q.method, url: q.url, headers: q.headers, body }))
  })
})
server.on('upgrade', (q, socket, head) => {
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nupgrade: echo\\r\\nconnection: Upgrade\\r\\n\\r\\n')
  socket.write(JSON.stringify({ url: q.url, authorization: q.headers.authorization ?? null }) + '\\n')
  socket.write(head)
  socket.pipe(socket)
})
server.listen(process.env.SPRITE_PORT_8080, '127.0.0.1', () => console.log('listening'))
`

async function withApp(auth: 'public' | 'sprite') {
  const world = await startWorld()
  const { url } = await world.create('s', { url_settings: { auth } })
  await world.write('s', '/home/sprite/app.cjs', APP)
  const startApp = async () => {
    await world.lines('PUT', '/sprites/s/services/app?duration=1ms', {
      cmd: 'node',
      args: ['/home/sprite/app.cjs'],
    })
    await until(async () =>
      expect((await world.read('s', '/.sprite/logs/services/app.log')).text).toContain('listening'),
    )
  }
  return { ...world, url, startApp }
}

/** What a client with `ms` of patience learns. */
async function patience(url: string, ms: number): Promise<number | 'nothing'> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(ms) })).status
  } catch (error) {
    if (error instanceof DOMException && error.name === 'TimeoutError') return 'nothing'
    throw error
  }
}

/** The first bytes that come back for an upgrade, after which the connection is closed. */
function upgrade(url: string, headers: Record<string, string>, send = ''): Promise<string> {
  const { port, pathname } = new URL(url)
  return new Promise((resolve, reject) => {
    const socket = connect({ port: Number(port), host: '127.0.0.1', timeout: 20_000 })
    const all = { host: `127.0.0.1:${port}`, connection: 'Upgrade', upgrade: 'echo', ...headers }
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
    let text = ''
    socket.write(`GET ${pathname} HTTP/1.1\r\n${lines.join('')}\r\n${send}`)
    socket.on('data', (bytes) => {
      text += bytes
      if (send !== '' && text.endsWith(send)) socket.end()
    })
    socket
      .on('close', () => resolve(text))
      .on('error', reject)
      .on('timeout', () => socket.destroy(new Error('no answer')))
  })
}

describe('the public URL of a Sprite', () => {
  it('lets a request hang while nothing listens behind it, and serves when something does', async () => {
    const world = await withApp('public')
    expect(await patience(world.url, 300)).toBe('nothing')
    await world.startApp()
    expect(await patience(world.url, 10_000)).toBe(200)
    await world.lines('POST', '/sprites/s/services/app/stop')
    expect(await patience(world.url, 300)).toBe('nothing')
  })

  it('hands everything on as it came, Authorization included, when it is public', async () => {
    const world = await withApp('public')
    await world.startApp()
    const response = await fetch(`${world.url}/convos/x?y=%20z`, {
      method: 'POST',
      headers: {
        authorization: 'Bearer the-apps-own',
        'x-forwarded-for': '9.9.9.9',
        'sprite-client-ip': '6.6.6.6',
      },
      body: 'hello',
    })
    expect(response.headers.get('x-app')).toBe('yes')
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    expect(await response.json()).toMatchObject({
      method: 'POST',
      url: '/convos/x?y=%20z',
      body: 'hello',
      headers: {
        authorization: 'Bearer the-apps-own',
        'x-forwarded-for': '9.9.9.9, 127.0.0.1',
        'sprite-client-ip': '127.0.0.1',
        via: '1.1 fly.io',
      },
    })
    expect((await fetch(`${world.url}/teapot`)).status).toBe(418)
  })

  it('answers 502 when the app hangs up in the middle', async () => {
    const world = await withApp('public')
    await world.startApp()
    expect((await fetch(`${world.url}/cut`)).status).toBe(502)
    expect((await fetch(world.url)).status).toBe(200)
  })

  it('asks for the token in the mode sprite, by a redirect, and takes it off before the app', async () => {
    const world = await withApp('sprite')
    await world.startApp()
    for (const headers of [{}, { authorization: 'Bearer wrong' }]) {
      const refused = await fetch(`${world.url}/a?b=c`, { headers, redirect: 'manual' })
      expect(refused.status).toBe(302)
      expect(refused.headers.get('location')).toBe(
        `https://sprites.dev/auth/sprite?return_url=${encodeURIComponent(`${world.url}/a?b=c`)}`,
      )
    }
    const letIn = await fetch(world.url, { headers: { authorization: `Bearer ${TOKEN}` } })
    expect(await letIn.json()).not.toHaveProperty('headers.authorization')
  })

  it('changes its mode at once with a PUT', async () => {
    const world = await withApp('sprite')
    await world.startApp()
    expect((await fetch(world.url, { redirect: 'manual' })).status).toBe(302)
    await world.json('PUT', '/sprites/s', { url_settings: { auth: 'public' } })
    expect((await fetch(world.url, { redirect: 'manual' })).status).toBe(200)
  })

  it('passes an upgrade through, with the same rules for the token', async () => {
    const world = await withApp('public')
    await world.startApp()
    expect(await upgrade(`${world.url}/ws`, { authorization: 'Bearer x' }, 'ping')).toContain(
      '{"url":"/ws","authorization":"Bearer x"}\nping',
    )
    await world.json('PUT', '/sprites/s', { url_settings: { auth: 'sprite' } })
    expect(await upgrade(`${world.url}/ws`, { authorization: 'Bearer x' })).toContain('302 Found')
    expect(await upgrade(`${world.url}/ws`, { authorization: `Bearer ${TOKEN}` }, 'ping')).toContain(
      '{"url":"/ws","authorization":null}\nping',
    )
  })

  it('lets an upgrade hang too while nothing listens', async () => {
    const world = await withApp('public')
    const socket = new WebSocket(world.url.replace('http', 'ws'), { handshakeTimeout: 300 })
    const said = await new Promise((resolve) => socket.on('error', ({ message }) => resolve(message)))
    expect(said).toBe('Opening handshake has timed out')
  })

  it('answers to loopback names only, and to no web page', async () => {
    const world = await withApp('public')
    await world.startApp()
    expect(await rawStatus(world.url, { host: 'evil.example' })).toBe(403)
    expect(await rawStatus(world.url, { origin: 'https://evil.example' })).toBe(403)
    expect(await upgrade(world.url, { origin: 'https://evil.example' })).toContain('403')
    expect(await rawStatus(world.url, { host: 'localhost:1' })).toBe(200)
  })

  it('survives a request that cannot be handed on', async () => {
    const world = await withApp('public')
    await world.startApp()
    const socket = connect({ port: Number(new URL(world.url).port), host: '127.0.0.1', timeout: 20_000 })
    socket.end(
      Buffer.from('GET /\xff\x01 HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n', 'latin1'),
    )
    const said = await new Promise<string>((resolve) =>
      socket.once('data', (bytes) => resolve(String(bytes))),
    )
    expect(said).toMatch(/^HTTP\/1.1 400 /)
    expect((await fetch(world.url)).status).toBe(200)
  })

  it('closes with the Sprite, hanging requests included', async () => {
    const world = await withApp('public')
    const hanging = fetch(world.url).then(
      () => 'answered',
      () => 'cut',
    )
    await new Promise((resolve) => setTimeout(resolve, 50))
    await world.call('DELETE', '/sprites/s')
    expect(await hanging).toBe('cut')
    await expect(fetch(world.url)).rejects.toThrow()
  })

  it('is another one for each Sprite, and so is the port behind it', async () => {
    const world = await startWorld()
    const sprites = await Promise.all(['a', 'b', 'c', 'd'].map((name) => world.create(name)))
    const outer = sprites.map(({ url }) => new URL(url).port)
    const inner = await Promise.all(
      ['a', 'b', 'c', 'd'].map(async (name) =>
        (await world.bash(name, 'echo $SPRITE_PORT_8080')).stdout.trim(),
      ),
    )
    expect(new Set([...outer, ...inner]).size).toBe(8)
  })
})
