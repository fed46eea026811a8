import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock } from '../../../specs/clock.ts'
import { Refusal, type UrlAuth } from './engine.ts'
import { sendJson } from './http/answer.ts'
import { bearerOf, refuseBrowsers, sameSecret } from './http/guard.ts'
import { appPortOf, listenOnPair } from './ports.ts'

const LOOPBACK = '127.0.0.1'
/** A request that nobody answers hangs until its client gives up; one whose client never does, until this. */
const HANG_LIMIT_MS = 900_000
const LOGIN_PAGE = 'https://sprites.dev/auth/sprite'

export interface PublicUrl {
  url: string
  port: number
  /** What the app inside must bind on 127.0.0.1. */
  appPort: number
  close(): Promise<void>
}

/**
 * The door in front of one Sprite's port 8080. Where nobody listens behind it a request hangs, as at the real edge:
 * no 502, so every probe needs a timeout of its own. In the mode `sprite` the token is asked for (302 to a login page
 * without it, never 401) and taken off before the app sees the request; in the mode `public` nothing is touched.
 */
export async function openPublicUrl(config: {
  preferredPort: number | null
  token: string
  auth: () => UrlAuth
  clock: Clock
}): Promise<PublicUrl> {
  const { token, auth, clock } = config
  const server = createServer()
  const raw = new Set<Duplex>() // upgraded connections: the server no longer knows them
  const port = await listenOnPair(server, config.preferredPort)
  const appPort = appPortOf(port)
  const url = `http://${LOOPBACK}:${port}`

  /** False after it has sent the answer itself. */
  function isLetIn(request: IncomingMessage): boolean {
    refuseBrowsers(request)
    return auth() === 'public' || sameSecret(bearerOf(request), token)
  }

  function hang(socket: Duplex): void {
    const cancel = clock.after(HANG_LIMIT_MS, () => socket.destroy())
    socket.once('close', cancel)
  }

  function forward(request: IncomingMessage, response: ServerResponse): void {
    const headers = forwardedHeaders(request, auth())
    const { method, url: path } = request
    // No agent: a kept-alive connection to an app that was restarted would fail the next request.
    const onward = httpRequest({ host: LOOPBACK, port: appPort, method, path, headers, agent: false })
    onward.once('response', (answer) => {
      answer.once('error', () => response.destroy())
      try {
        response.writeHead(answer.statusCode ?? 502, answer.statusMessage, answer.rawHeaders)
        answer.pipe(response)
      } catch {
        response.destroy() // the app's headers may be read but not written
      }
    })
    onward.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') return hang(request.socket)
      if (response.headersSent) return void response.destroy()
      response
        .writeHead(502, { 'content-type': 'text/html', connection: 'close' })
        .end('<h1>502 Bad Gateway</h1>\n')
    })
    response.once('close', () => onward.destroy())
    request.pipe(onward)
  }

  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    try {
      if (!isLetIn(request)) {
        const back = encodeURIComponent(url + (request.url ?? '/'))
        return void response.writeHead(302, { location: `${LOGIN_PAGE}?return_url=${back}` }).end()
      }
    } catch (error) {
      const { status, body } =
        error instanceof Refusal ? error : new Refusal(500, { error: 'internal server error' })
      return sendJson(response, status, body)
    }
    try {
      forward(request, response)
    } catch {
      sendJson(response, 400, { error: 'malformed request' }) // a path that may come in but not go out again
    }
  })

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    raw.add(socket)
    socket.once('close', () => raw.delete(socket)).on('error', () => socket.destroy())
    try {
      if (!isLetIn(request)) {
        return void socket.end(`HTTP/1.1 302 Found\r\nlocation: ${LOGIN_PAGE}\r\nconnection: close\r\n\r\n`)
      }
    } catch {
      return void socket.end('HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n')
    }
    const app: Socket = connect(appPort, LOOPBACK)
    app.once('connect', () => {
      app.write(
        `${request.method} ${request.url} HTTP/1.1\r\n${headLines(forwardedHeaders(request, auth()))}\r\n`,
      )
      app.write(head)
      app.pipe(socket).pipe(app)
      app.once('close', () => socket.destroy())
    })
    app.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') hang(socket)
      else socket.destroy()
    })
    socket.once('close', () => app.destroy())
  })

  return {
    url,
    port,
    appPort,
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      for (const socket of raw) socket.destroy()
      await closed
    },
  }
}

/** As the edge does: the client's own `X-Forwarded-For` is kept in front, `Sprite-Client-Ip` is never the client's. */
function forwardedHeaders(request: IncomingMessage, auth: UrlAuth): string[] {
  const headers: string[] = []
  for (let at = 0; at + 1 < request.rawHeaders.length; at += 2) {
    const [name = '', value = ''] = [request.rawHeaders[at], request.rawHeaders[at + 1]]
    const lower = name.toLowerCase()
    if (lower === 'sprite-client-ip' || lower === 'x-forwarded-for') continue
    if (lower === 'authorization' && auth === 'sprite') continue
    headers.push(name, value)
  }
  const claimed = request.headers['x-forwarded-for']
  const hops = [...(claimed === undefined ? [] : [claimed].flat()), LOOPBACK]
  headers.push('Sprite-Client-Ip', LOOPBACK, 'X-Forwarded-For', hops.join(', '), 'Via', '1.1 fly.io')
  return headers
}

function headLines(headers: string[]): string {
  let lines = ''
  for (let at = 0; at + 1 < headers.length; at += 2) lines += `${headers[at]}: ${headers[at + 1]}\r\n`
  return lines
}
