import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex, Readable } from 'node:stream'
import { Refusal, type UrlAuth } from './engine.ts'
import { type Interference, interfere, replay, stopStreaming } from './faults/interfere.ts'
import { readBody, sendJson } from './http/answer.ts'
import { bearerOf, refuseBrowsers, sameSecret } from './http/guard.ts'
import { urlOperation } from './operations.ts'
import type { Power } from './power.ts'

const LOOPBACK = '127.0.0.1'
/** A request that nobody answers hangs until its client gives up; one whose client never does, until this. */
const HANG_LIMIT_MS = 900_000
const LOGIN_PAGE = 'https://sprites.dev/auth/sprite'
const BODY_LIMIT_BYTES = 16 * 1_048_576

/** What is known of the Sprite behind a door. */
export interface DoorConfig {
  sprite: string
  url: () => string
  token: string
  auth: () => UrlAuth
  power: Power
  interference: Interference
  /** When the process on port 8080 was started, ms since the epoch; null: not known, or none runs. */
  appStartedAt: () => number | null
}

/**
 * The door in front of one Sprite's port 8080, whatever listens behind it. In the mode `sprite` the token is asked for
 * (302 to a login page without it, never 401) and taken off before the app sees the request; in the mode `public`
 * nothing is touched. Every request wakes the Sprite and keeps it awake until it is answered.
 */
export function createDoor(config: DoorConfig) {
  const { sprite, token, auth, power, interference } = config
  const { clock } = interference

  function isLetIn(request: IncomingMessage): boolean {
    refuseBrowsers(request)
    return auth() === 'public' || sameSecret(bearerOf(request), token)
  }

  /** `path` is what the app is asked for. */
  async function pass(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    forward: (input: Readable) => Promise<void> | void,
  ): Promise<void> {
    if (!isLetIn(request)) {
      const back = encodeURIComponent(config.url() + path)
      response.writeHead(302, { location: `${LOGIN_PAGE}?return_url=${back}` }).end()
      return
    }
    const operation = urlOperation(path)
    await interfere(interference, { operation, sprite, request, input: request, response }, async (input) => {
      const release = await power.hold(() => request.socket.destroy())
      response.once('close', release)
      if (response.closed) release()
      const isDeaf = operation === 'gateway.status' && power.pausedAt !== null
      if (isDeaf && (config.appStartedAt() ?? 0) < (power.pausedAt ?? 0)) stopStreaming(response)
      const fault = interference.faults.take(['never-accepted'], operation, sprite)
      await forward(fault ? await withoutAcceptance(input) : input)
    })
  }

  return {
    pass,
    /** For a raw connection: true when it may go on; else it was answered. */
    letsIn(request: IncomingMessage, socket: Duplex): boolean {
      try {
        if (isLetIn(request)) return true
        socket.end(`HTTP/1.1 302 Found\r\nlocation: ${LOGIN_PAGE}\r\nconnection: close\r\n\r\n`)
      } catch {
        socket.end('HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n')
      }
      return false
    },
    hold: (socket: Duplex) => power.hold(() => socket.destroy()),
    /** Nobody listens: as at the real edge there is no 502, so every probe needs a timeout of its own. */
    hang(socket: Duplex): void {
      const cancel = clock.after(HANG_LIMIT_MS, () => socket.destroy())
      socket.once('close', cancel)
    },
  }
}
export type Door = ReturnType<typeof createDoor>

/** What a request ends with when passing it threw. */
export function answerFailure(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  if (response.headersSent) return void response.destroy()
  if (!request.complete) response.setHeader('connection', 'close')
  const { status, body } =
    error instanceof Refusal ? error : new Refusal(500, { error: 'internal server error' })
  sendJson(response, status, body)
}

/** A join whose inviter never answers: the invite itself says so, and the app makes of it what it makes. */
async function withoutAcceptance(input: Readable): Promise<Readable> {
  const body = JSON.parse((await readBody(input, BODY_LIMIT_BYTES)).toString('utf8') || '{}')
  return replay(Buffer.from(JSON.stringify({ ...body, inviteUrl: `${body.inviteUrl ?? ''}-never` })))
}

/** As the edge does: the client's own `X-Forwarded-For` is kept in front, `Sprite-Client-Ip` is never the client's. */
export function forwardedHeaders(request: IncomingMessage, auth: UrlAuth): string[] {
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
