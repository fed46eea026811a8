import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex, Readable } from 'node:stream'
import { z } from 'zod'
import { type Engine, type Log, Refusal } from '../engine.ts'
import { type Interference, interfere, replay } from '../faults/interfere.ts'
import { readBody, sendJson, sendUpgradeRefusal } from './answer.ts'
import { checkpointRoutes } from './checkpoint-routes.ts'
import { execRoutes } from './exec-routes.ts'
import { fileRoutes } from './file-routes.ts'
import { refuseBrowsers, requireToken } from './guard.ts'
import { type Call, findRoute, type Route, type SurfaceOptions } from './router.ts'
import { serviceRoutes } from './service-routes.ts'
import { sessionRoutes } from './session-routes.ts'
import { createSessions } from './sessions.ts'
import { spriteRoutes } from './sprite-routes.ts'
import { createUpgrades } from './upgrades.ts'

/** argv stands in the URL. The real edge answers 414 beyond about this. */
const URL_LIMIT_BYTES = 65_536
const CREATE_LIMIT_BYTES = 1_048_576

export interface SurfaceConfig {
  engine: Engine
  token: string
  interference: Interference
  log: Log
  options: SurfaceOptions
  /** Routes of the emulator itself, below `/__emulator`. Same token, no faults. */
  ownRoutes: readonly OwnRoute[]
}

export interface OwnRoute {
  method: string
  path: string
  handle(call: {
    input: Readable
    response: ServerResponse
    params: Record<string, string>
  }): Promise<void> | void
}

/** The Sprites API over one engine, not listening yet. `closeSockets` ends what `server.close()` would wait for. */
export function createSurface(config: SurfaceConfig): { server: Server; closeSockets(): void } {
  const { engine, token, interference, log, options, ownRoutes } = config
  const { faults, aftermath, clock } = interference
  const sessions = createSessions(clock)
  const upgrades = createUpgrades(config, sessions)
  const routes = [
    ...spriteRoutes(),
    ...execRoutes,
    ...sessionRoutes,
    ...fileRoutes,
    ...checkpointRoutes,
    ...serviceRoutes,
  ].filter(({ operation }) => !options.lacks.includes(operation))

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    refuseBrowsers(request)
    requireToken(request, token)
    const { pathname, searchParams: query } = urlOf(request)
    const method = request.method ?? ''
    const own = findRoute(ownRoutes, method, pathname)
    if (own) return own.route.handle({ input: request, response, params: own.params })
    const found = findRoute(routes, method, pathname)
    if (!found) {
      response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('404 page not found\n')
      return
    }
    const { route, params } = found
    const { operation } = route
    const body = operation === 'create' ? await readBody(request, CREATE_LIMIT_BYTES) : null
    const sprite = body ? nameIn(body) : (params.name ?? null)
    const encounter = { operation, sprite, request, input: body ? replay(body) : request, response }
    await interfere(interference, encounter, async (input) => {
      const call = {
        request,
        input,
        response,
        params,
        query,
        engine,
        sessions,
        faults,
        aftermath,
        clock,
        options,
      }
      await awake(route, call)
      await route.handle(call)
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
    const upgrade = async () => {
      refuseBrowsers(request)
      requireToken(request, token)
      await upgrades.upgrade(request, socket, head, urlOf(request))
    }
    upgrade().catch((error: unknown) => {
      if (!(error instanceof Refusal)) log.error({ err: error }, 'upgrade failed')
      const { status, body } = toRefusal(error)
      sendUpgradeRefusal(socket, status, body)
    })
  })
  return {
    server,
    closeSockets() {
      upgrades.close()
      server.closeAllConnections()
    },
  }
}

/** Wakes the Sprite, or waits until something else does, where the route is of that kind. */
async function awake({ asleep }: Route, { engine, params, request, response }: Call): Promise<void> {
  if (!asleep) return
  const power = engine.power(params.name ?? '')
  if (asleep === 'waits' && power.status === 'cold') await power.whenAwake()
  const release = await power.hold(() => request.socket.destroy())
  response.once('close', release)
  if (response.closed) release()
}

function nameIn(body: Buffer): string | null {
  try {
    return z.object({ name: z.string() }).parse(JSON.parse(body.toString('utf8'))).name
  } catch {
    return null // the route itself says what is wrong with it
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
