import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex, Readable } from 'node:stream'
import type { z } from 'zod'
import { Refusal } from '../engine.ts'

const JSON_LIMIT_BYTES = 1_048_576

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

export function sendEmpty(response: ServerResponse, status = 204): void {
  response.writeHead(status).end()
}

export async function readBody(input: Readable, limitBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of input) {
    size += piece.length
    if (size > limitBytes) throw new Refusal(413, { error: 'request body too large' })
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

/** An empty body is `{}`. What does not parse is a 400 in the API's two shapes. */
export async function readJson<T extends z.ZodType>(input: Readable, schema: T): Promise<z.infer<T>> {
  const text = (await readBody(input, JSON_LIMIT_BYTES)).toString('utf8')
  const parsed = schema.safeParse(text.trim() === '' ? {} : parseJson(text))
  if (parsed.success) return parsed.data
  throw new Refusal(400, {
    errors: parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`),
  })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Refusal(400, { error: 'invalid JSON body' })
  }
}

/** Lines of JSON. The 200 goes out with the first line, so a refusal before it still has a status of its own. */
export function ndjson(response: ServerResponse) {
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  return {
    /** Aborts when the client hung up, or the stream ended. */
    closed: gone.signal,
    write(line: object): void {
      if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' })
      if (!response.destroyed) response.write(`${JSON.stringify(line)}\n`)
    },
    end(): void {
      response.end()
    },
  }
}

/** A refused upgrade is plain HTTP: only clients that look at the response can read it. */
export function sendUpgradeRefusal(
  socket: Duplex,
  status: number,
  body: unknown = { error: 'refused' },
): void {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: ${typeof body === 'string' ? 'text/plain' : 'application/json'}\r\n` +
      `content-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
  )
}
