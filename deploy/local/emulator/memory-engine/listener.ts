import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { answerFailure } from '../door.ts'
import { sendJson } from '../http/answer.ts'
import { listenOnLoopback } from '../ports.ts'
import type { MemorySprite } from './sprite.ts'

/** The original's; larger bodies and unreadable ones are both 500 there. */
const BODY_LIMIT_BYTES = 1_048_576

/**
 * The public URLs of all modelled Sprites: `http://127.0.0.1:<port>/s/<label>`, one listener for thousands. Names below
 * `localhost` would look more like the real ones, but resolve on some machines only.
 */
export async function openListener(find: (label: string) => MemorySprite | undefined) {
  const server = createServer((request, response) => {
    const [, label = '', path = '/'] = /^\/s\/([^/?]+)(.*)$/.exec(request.url ?? '') ?? []
    const sprite = find(label)
    if (!sprite) {
      response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>There is no Sprite here</h1>\n')
      return
    }
    sprite.door
      .pass(request, response, path === '' ? '/' : path, (input) =>
        serve(sprite, request, response, path, input),
      )
      .catch((error: unknown) => answerFailure(request, response, error))
  })
  server.on('upgrade', (_request, socket) => {
    socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n') // a modelled gateway speaks plain HTTP only
  })
  const port = await listenOnLoopback(server, null)
  return {
    urlOf: (label: string) => `http://127.0.0.1:${port}/s/${label}`,
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

async function serve(
  { machine, door, record }: MemorySprite,
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  input: Readable,
): Promise<void> {
  const { gateway } = machine
  if (!gateway) return door.hang(request.socket)
  const isPublic = record.urlSettings.auth === 'public'
  const { status, body } = await gateway.handle({
    method: request.method ?? 'GET',
    path: path.split('?')[0] ?? '',
    authorization: isPublic ? (request.headers.authorization ?? null) : null,
    body: () => readObject(input),
  })
  if (!request.complete) response.setHeader('connection', 'close')
  sendJson(response, status, body)
}

/** A JSON object; an empty body is an empty one. */
async function readObject(input: Readable): Promise<Record<string, unknown>> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of input) {
    size += piece.length
    if (size <= BODY_LIMIT_BYTES) pieces.push(piece) // the rest is read all the same, so that the answer arrives
  }
  if (size > BODY_LIMIT_BYTES) throw new Error('Request body too large')
  const text = Buffer.concat(pieces).toString('utf8')
  const body: unknown = text.trim() === '' ? {} : JSON.parse(text)
  return typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {}
}
