import type { ZodType } from 'zod'
import type { Clock } from '../../specs/clock.ts'
import { deadline } from '../../specs/clock.ts'
import { BodyTooLarge, isPage, readBody } from './body.ts'
import { SpritesError, SpritesRejected, SpritesUnavailable, type Thing } from './errors.ts'
import { type Line, readNdjson, type StreamStop } from './ndjson.ts'
import { toError } from './refusal.ts'
import { failureWord } from './scrub.ts'

/** Of a JSON answer and of a file: nothing of ours is near it. */
const MOST_BYTES = 8 * 1024 * 1024
/** Of a refusal: enough for any sentence, cut without a fault beyond. */
const MOST_REFUSAL_BYTES = 64 * 1024

export interface Call {
  operation: string
  /** The Sprite's name; for a listing the prefix. */
  subject: string
  looksFor: Thing
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Already encoded, beginning with `/v1/`. */
  path: string
  query?: Record<string, string>
  json?: unknown
  bytes?: Uint8Array
  /** For all of it, from the first byte sent to the last byte read. */
  timeoutMs: number
  signal: AbortSignal | undefined
}

export interface CallSeen {
  operation: string
  /** 'error': no whole answer came. */
  status: number | 'error'
  ms: number
}

export interface HttpConfig {
  baseUrl: string
  token: string
  clock: Clock
  observeCall?: ((call: CallSeen) => void) | undefined
}

export type Http = ReturnType<typeof createHttp>

/** Global fetch with a deadline, bounded bodies and typed errors. Never retries: backoff is the work queue's. */
export function createHttp({ baseUrl, token, clock, observeCall }: HttpConfig) {
  const base = baseUrl.replace(/\/+$/, '')

  async function send<T>(
    call: Call,
    read: (response: Response, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const limit = deadline(clock, `sprites ${call.operation}`, call.timeoutMs, call.signal)
    const startedAt = clock.monotonic()
    let response: Response | null = null
    let seen: CallSeen['status'] = 'error'
    try {
      response = await fetch(url(base, call), request(call, token, limit.signal))
      if (!response.ok) {
        const refusal = toError(await readRefusal(call, response), { token, nowMs: clock.now() })
        seen = response.status
        throw refusal
      }
      if (isPage(response.headers.get('content-type')))
        throw unavailable(call, response.status, 'a page instead of an answer')
      const result = await read(response, limit.signal)
      seen = response.status
      return result
    } catch (error) {
      if (error instanceof SpritesError) throw error
      if (call.signal?.aborted) throw call.signal.reason
      if (error instanceof BodyTooLarge)
        throw new SpritesRejected(call.operation, call.subject, response?.status ?? null, {
          detail: error.message,
        })
      if (limit.signal.aborted)
        throw unavailable(call, null, `not done within ${call.timeoutMs} ms`, limit.signal.reason)
      throw unavailable(call, null, failureWord(error))
    } finally {
      limit.done()
      response?.body?.cancel().catch(() => {}) // frees the connection where nobody read to the end
      observeCall?.({ operation: call.operation, status: seen, ms: clock.monotonic() - startedAt })
    }
  }

  return {
    /** The parsed answer. What is not the expected JSON is `SpritesUnavailable`: some edge or a bug spoke. */
    json<T>(call: Call, schema: ZodType<T>): Promise<T> {
      return send(call, async (response) => {
        const text = Buffer.from(await readBody(response.body, MOST_BYTES)).toString('utf8')
        let value: unknown
        try {
          value = JSON.parse(text)
        } catch {
          throw unavailable(call, response.status, 'not JSON')
        }
        const parsed = schema.safeParse(value)
        if (parsed.success) return parsed.data
        const where = parsed.error.issues[0]?.path.map(String).join('.') || 'the whole'
        throw unavailable(call, response.status, `not the expected JSON at ${where.slice(0, 80)}`)
      })
    },

    bytes(call: Call): Promise<Uint8Array> {
      return send(call, (response) => readBody(response.body, MOST_BYTES))
    },

    /** Success is all that counts. The body is still read, since a cut answer is none. */
    async done(call: Call): Promise<void> {
      await send(call, (response) => readBody(response.body, MOST_BYTES))
    },

    /** NDJSON inside a 2xx, see `readNdjson`; a refusal throws as for every call. */
    async lines(call: Call, idleMs: number, onLine: (line: Line) => 'stop' | undefined): Promise<StreamStop> {
      const stop = await send(call, (response, signal) =>
        readNdjson(response.body, { clock, idleMs, signal }, onLine),
      )
      if (stop === 'total' && call.signal?.aborted) throw call.signal.reason // the caller's deadline, not ours
      return stop
    },
  }
}

function unavailable(call: Call, status: number | null, detail: string, cause?: unknown): SpritesUnavailable {
  return new SpritesUnavailable(call.operation, call.subject, status, { detail, cause })
}

function url(base: string, call: Call): string {
  const query = new URLSearchParams(call.query).toString()
  return `${base}${call.path}${query ? `?${query}` : ''}`
}

function request(call: Call, token: string, signal: AbortSignal): RequestInit {
  const headers: Record<string, string> = { authorization: `Bearer ${token}` }
  const init: RequestInit = { method: call.method, headers, signal, redirect: 'manual' } // a redirect is a sign-in page
  if (call.json !== undefined) {
    headers['content-type'] = 'application/json'
    init.body = JSON.stringify(call.json)
  } else if (call.bytes) {
    headers['content-type'] = 'application/octet-stream'
    init.body = new Uint8Array(call.bytes) // fetch's types refuse a view that may be shared memory
  }
  return init
}

async function readRefusal(call: Call, response: Response) {
  const text = await readBody(response.body, MOST_REFUSAL_BYTES).then(
    (bytes) => Buffer.from(bytes).toString('utf8'),
    (error: unknown) => {
      if (error instanceof BodyTooLarge) return ''
      throw error
    },
  )
  const header = (name: string) => response.headers.get(name)
  const { operation, subject, looksFor } = call
  return { operation, subject, looksFor, status: response.status, header, text }
}

/** One part of a URL's path. `.` and `..` would walk elsewhere, whatever encodes them. */
export function segment(operation: string, sprite: string, part: string): string {
  if (part === '' || part === '.' || part === '..')
    throw new SpritesRejected(operation, sprite, null, { detail: 'not a name' })
  return encodeURIComponent(part)
}
