import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import type { Clock } from '../../../../specs/clock.ts'
import { type Engine, type Log, Refusal } from '../engine.ts'
import { sendJson } from './answer.ts'
import { checkpointRoutes } from './checkpoint-routes.ts'
import { execRoutes } from './exec-routes.ts'
import { serveExecSocket } from './exec-socket.ts'
import { fileRoutes } from './file-routes.ts'
import { refuseBrowsers, requireToken } from './guard.ts'
import { findRoute, matchPath, type SurfaceOptions } from './router.ts'
import { serviceRoutes } from './service-routes.ts'
import { spriteRoutes } from './sprite-routes.ts'

/** argv stands in the URL. The real edge answers 414 beyond about this. */
const URL_LIMIT_BYTES = 65_536

export interface SurfaceConfig {
  engine: Engine
  token: string
  clock: Clock
  log: Log
  options: SurfaceOptions
}

/** The Sprites API over one engine, not listening yet. `closeSockets` ends what `server.close()` would wait for. */
export function createSurface(config: SurfaceConfig): { server: Server; closeSockets(): void } {
  const { engine, token, clock, log, options } = config
  const routes = [...spriteRoutes(), ...execRoutes, ...fileRoutes, ...checkpointRoutes, ...serviceRoutes]
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 16 * 1_048_576 })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    refuseBrowsers(request)
    requireToken(request, token)
    const { pathname, searchParams: query } = urlOf(request)
    const found = findRoute(routes, request.method ?? '', pathname)
    if (!found) {
      response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('404 page not found\n')
      return
    }
    await found.route.handle({ request, response, params: found.params, query, engine, clock, options })
  }

  async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    refuseBrowsers(request)
    requireToken(request, token)
    const { pathname, searchParams: query } = urlOf(request)
    const params = matchPath('/v1/sprites/:name/exec', pathname)
    if (!params) throw new Refusal(404, { error: 'not found' })
    await serveExecSocket({
      request,
      socket,
      head,
      sockets,
      query,
      name: params.name ?? '',
      engine,
      clock,
      options,
    })
  }

  const server = createServer({ maxHeaderSize: URL_LIMIT_BYTES + 16_384 }, (request, response) => {
    answer(request, response).catch((error: unknown) => {
      if (!(error instanceof Refusal))
        log.error({ err: error, path: request.url?.split('?')[0] }, 'request failed')
      if (response.writableEnded) return
      if (response.headersSent) return void response.destroy()
      const { status, body, headers } = toRefusal(error)
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
      // A body that nobody read would be taken for the next request.
      if (!request.complete) response.setHeader('connection', 'close')
      sendJson(response, status, body)
    })
  })
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy())
    upgrade(request, socket, head).catch((error: unknown) => {
      if (!(error instanceof Refusal)) log.error({ err: error }, 'upgrade failed')
      refuseUpgrade(socket, toRefusal(error))
    })
  })
  return {
    server,
    closeSockets() {
      for (const socket of sockets.clients) socket.terminate()
      server.closeAllConnections()
    },
  }
}

function urlOf(request: IncomingMessage): URL {
  if ((request.url ?? '').length > URL_LIMIT_BYTES) throw new Refusal(414, { error: 'URI too long' })
  try {
    return new URL(request.url ?? '/', 'http://127.0.0.1')
  } catch {
    throw new Refusal(400, { error: 'malformed path' })
  }
}

function toRefusal(error: unknown): Refusal {
  return error instanceof Refusal ? error : new Refusal(500, { error: 'internal server error' })
}

/** A refused upgrade is plain HTTP: only clients that look at the response can read it. */
function refuseUpgrade(socket: Duplex, { status, body }: Refusal): void {
  const text = JSON.stringify(body)
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/json\r\n` +
      `content-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
  )
}
