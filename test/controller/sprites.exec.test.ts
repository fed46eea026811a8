import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import { createSpritesClient, type Timeouts } from '../../controller/sprites/client.ts'
import type { CallSeen } from '../../controller/sprites/http.ts'
import { systemClock } from '../../specs/clock.ts'
import { eventually } from './sprites.server.ts'

let server: Server
let sockets: Set<Duplex>
let upgrades: IncomingMessage[]
let baseUrl: string
/** What the Sprite does with a connection that is open. */
let serve: (socket: WebSocket) => void

beforeEach(async () => {
  sockets = new Set()
  upgrades = []
  server = createServer()
  const webSockets = new WebSocketServer({ noServer: true })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('upgrade', (request, socket, head) => {
    upgrades.push(request)
    webSockets.handleUpgrade(request, socket, head, (open) => serve(open))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await new Promise((resolve) => server.close(resolve))
})

function clientOf(timeouts: Partial<Timeouts> = {}, observeCall: (call: CallSeen) => void = () => {}) {
  return createSpritesClient({ baseUrl, token: 'a/b/c/d', clock: systemClock, timeouts, observeCall })
}

const out = (text: string | Uint8Array) => Buffer.concat([Buffer.from([1]), Buffer.from(text)])
const err = (text: string) => Buffer.concat([Buffer.from([2]), Buffer.from(text)])
const exit = (code: number) => Buffer.from([3, code])

describe('exec', () => {
  it('asks with the token, each word of argv by itself and no stdin', async () => {
    serve = (socket) => socket.send(exit(0))
    await clientOf().exec('claw-a', ['bash', '-c', 'echo "$1" && x', 'a b&c'])
    const url = new URL(upgrades[0]?.url ?? '', baseUrl)
    expect(url.pathname).toBe('/v1/sprites/claw-a/exec')
    expect([...url.searchParams]).toEqual([
      ['cmd', 'bash'],
      ['cmd', '-c'],
      ['cmd', 'echo "$1" && x'],
      ['cmd', 'a b&c'],
    ])
    expect(upgrades[0]?.headers.authorization).toBe('Bearer a/b/c/d')
  })

  it('collects both streams and the one byte of the exit', async () => {
    const lobster = Buffer.from('🦞')
    serve = (socket) => {
      socket.send('{"type":"session_info","session_id":"7","tty":false}')
      socket.send(out('a'))
      socket.send(err('b'))
      socket.send(out(lobster.subarray(0, 2)))
      socket.send('{"type":"exit","exit_code":0}')
      socket.send(out(lobster.subarray(2)))
      socket.send(Buffer.from([9, 9]))
      socket.send(exit(143))
      socket.send(exit(0))
    }
    const seen: CallSeen[] = []
    const result = await clientOf({}, (call) => seen.push(call)).exec('claw-a', ['x'])
    expect(result).toEqual({ exitCode: 143, stdout: 'a🦞', stderr: 'b' })
    expect(seen).toMatchObject([{ operation: 'exec', status: 101 }])
  })

  it.each<[string, (socket: WebSocket) => void]>([
    ['closes cleanly', (socket) => socket.close(1000)],
    ['is cut', (socket) => socket.terminate()],
    ['sends an exit without its byte', (socket) => socket.send(Buffer.from([3]), () => socket.close(1000))],
    [
      'sends the exit as text only',
      (socket) => socket.send('{"type":"exit","exit_code":0}', () => socket.close()),
    ],
    ['sends a frame beyond all measure', (socket) => socket.send(Buffer.alloc(9 * 1024 * 1024, 1))],
  ])('says that the outcome is unknown when the socket %s', async (_, behave) => {
    serve = behave
    await expect(clientOf().exec('claw-a', ['x'])).resolves.toMatchObject({ exitCode: null })
    await eventually(() => sockets.size === 0, 'the connection is closed')
  })

  it('keeps the first megabyte of a flood, and the exit code after it', async () => {
    serve = (socket) => {
      for (let i = 0; i < 40; i++) socket.send(out(Buffer.alloc(64 * 1024, 'x')))
      socket.send(exit(3))
    }
    const { exitCode, stdout } = await clientOf().exec('claw-a', ['yes'])
    expect([exitCode, stdout.length]).toEqual([3, 1024 * 1024])
  })

  it('does not wait for a server that lingers after the exit, and ends its connection', async () => {
    server.removeAllListeners('upgrade')
    server.on('upgrade', (request, socket) => {
      const accepted = createHash('sha1')
        .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest('base64')
      socket.write(
        `HTTP/1.1 101 Go\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accepted}\r\n\r\n`,
      )
      socket.write(Buffer.from([0x82, 2, 3, 0])) // one binary frame: the exit; then deaf to the closing frame
      socket.resume().on('end', () => socket.end())
    })
    await expect(clientOf().exec('claw-a', ['true'])).resolves.toMatchObject({ exitCode: 0 })
    await eventually(() => sockets.size === 0, 'the connection is closed')
  })

  it('gives a silent command its time and no more', async () => {
    serve = (socket) => socket.send(out('working'))
    const failed = clientOf().exec('claw-a', ['sleep', '9'], { timeoutMs: 50 })
    await expect(failed).rejects.toMatchObject({ name: 'SpritesUnavailable' })
    await expect(failed).rejects.toThrow('command not done within 50 ms')
    await eventually(() => sockets.size === 0, 'the connection is closed')
  })

  it("rejects with the caller's own reason in the middle of a command", async () => {
    const controller = new AbortController()
    const reason = new Error('shutting down')
    serve = () => controller.abort(reason)
    await expect(clientOf().exec('claw-a', ['x'], {}, controller.signal)).rejects.toBe(reason)
    await eventually(() => sockets.size === 0, 'the connection is closed')
  })

  it.each([
    ['nothing', []],
    ['more than a URL holds', ['x'.repeat(70_000)]],
  ])('refuses %s to run before it connects', async (_, argv) => {
    await expect(clientOf().exec('claw-a', argv)).rejects.toMatchObject({ name: 'SpritesRejected' })
    expect(upgrades).toHaveLength(0)
  })

  it('leaves no socket after 200 failures of every kind', async () => {
    const refusals = ['401 Unauthorized', '404 Not Found', '500 Oops', '429 Slow', '302 Found']
    server.removeAllListeners('upgrade')
    const webSockets = new WebSocketServer({ noServer: true })
    let count = 0
    server.on('upgrade', (request, socket, head) => {
      upgrades.push(request)
      socket.on('error', () => {})
      const kind = count++ % 10
      if (kind >= 8) {
        webSockets.handleUpgrade(request, socket, head, (open) => {
          if (kind === 8) open.terminate() // 9 stays silent
        })
        return
      }
      socket.resume().on('end', () => socket.end()) // so that the client's end of the socket ends this one too
      if (kind === 5) socket.destroy()
      else if (kind === 6)
        socket.write('HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\n{') // never ends
      else if (kind < 5) socket.write(`HTTP/1.1 ${refusals[kind]}\r\ncontent-length: 2\r\n\r\n{}`) // 7 never begins
    })
    const client = clientOf({ handshakeMs: 1_000, execMs: 500 })
    const runs = Array.from({ length: 200 }, () => client.exec('claw-a', ['x']))
    const outcomes = await Promise.allSettled(runs)
    expect(outcomes.filter((one) => one.status === 'fulfilled' && one.value.exitCode !== null)).toEqual([])
    expect(upgrades.length).toBeLessThanOrEqual(200) // none was asked twice
    await eventually(() => sockets.size === 0, 'no socket is open')
    const kinds = () =>
      process.getActiveResourcesInfo().filter((kind) => /TCP(Socket|Connect)Wrap/.test(kind))
    await eventually(() => kinds().length === 0, 'no handle is left')
  })
})
