import type { ZodType } from 'zod'
import type { Clock } from '../../specs/clock.ts'
import { deadline } from '../../specs/clock.ts'
import { isPage, parseObject, readBody } from '../sprites/body.ts'
import { failureWord, scrub } from '../sprites/scrub.ts'
import { GatewayBound, GatewayRejected, GatewayUnauthorized, GatewayUnknown } from './errors.ts'
import {
  ConversationWire,
  ExplodeWire,
  JoinWire,
  LockWire,
  RenameWire,
  SendWire,
  StatusWire,
} from './schemas.ts'
import { requireSecureUrl } from './secure-url.ts'

export type GatewayState =
  /** `conversationId` null: unbound. `streaming` null: not said. */
  | { kind: 'up'; conversationId: string | null; streaming: boolean | null }
  | { kind: 'unauthorized' }
  | { kind: 'down'; why: string }

export type JoinAnswer = { status: 'joined'; conversationId: string } | { status: 'waiting' }

/** The service inside each Sprite that holds its conversation. `url` is the Sprite's, as the provider gave it. */
export interface GatewayClient {
  /** Throws nothing but the reason of the caller's own abort. A hang, a page and wrong JSON are all `down`. */
  status(
    url: string,
    key: string | null,
    options?: { timeoutMs?: number },
    signal?: AbortSignal,
  ): Promise<GatewayState>
  /** A new conversation. Not idempotent: `GatewayUnknown` is never an invitation to repeat it. */
  converse(
    url: string,
    key: string,
    body: Record<string, unknown>,
    options: { timeoutMs: number },
    signal?: AbortSignal,
  ): Promise<{ conversationId: string; inviteUrl: string; inviteSlug: string }>
  /** `waiting`: nobody let it in, and the gateway is unbound again. It holds the request for up to 60 s. */
  join(
    url: string,
    key: string,
    body: Record<string, unknown>,
    options: { timeoutMs: number },
    signal?: AbortSignal,
  ): Promise<JoinAnswer>
  /** Says something in its conversation. Like all below not idempotent, and `GatewayRejected` where there is none. */
  send(...request: Order<{ message: string }>): Promise<{ messageId: string }>
  rename(...request: Order<{ name: string }>): Promise<void>
  /** Nobody new comes in; or again, with `unlock`. */
  lock(...request: Order<{ unlock: boolean }>): Promise<{ locked: boolean }>
  /** Ends the conversation for all who are in it. */
  explode(...request: Order<Record<string, never>>): Promise<void>
}

/** What goes to a gateway that holds a conversation. */
type Order<Body> = [
  url: string,
  key: string,
  body: Body,
  options: { timeoutMs: number },
  signal?: AbortSignal,
]

/** A port of a Sprite on which nobody listens hangs rather than refuses. */
const STATUS_TIMEOUT_MS = 10_000
/** Every honest answer has a few hundred bytes. */
const MOST_BYTES = 256 * 1024

interface Question {
  operation: string
  url: string
  path: string
  key: string | null
  body?: Record<string, unknown>
  timeoutMs: number
  signal: AbortSignal | undefined
}

interface Answer {
  status: number
  text: string
  page: boolean
}

export function createGatewayClient(config: {
  clock: Clock
  observeCall?: (call: { operation: string; status: number | 'error'; ms: number }) => void
}): GatewayClient {
  const { clock, observeCall } = config

  /** Any whole answer. Throws `GatewayUnknown` without one, `InsecureUrl`, or the reason of the caller's abort. */
  async function ask({ operation, url, path, key, body, timeoutMs, signal }: Question): Promise<Answer> {
    requireSecureUrl(url)
    if (key !== null && !/^[\x21-\x7e]+$/.test(key))
      throw new GatewayUnauthorized(operation, null, 'no header can carry the key')
    const limit = deadline(clock, `gateway ${operation}`, timeoutMs, signal)
    const startedAt = clock.monotonic()
    let seen: number | 'error' = 'error'
    try {
      const headers: Record<string, string> = { accept: 'application/json' }
      if (key !== null) headers.authorization = `Bearer ${key}`
      const init: RequestInit = { headers, signal: limit.signal, redirect: 'manual' }
      if (body) {
        headers['content-type'] = 'application/json'
        init.method = 'POST'
        init.body = JSON.stringify(body)
      }
      const response = await fetch(`${url.replace(/\/+$/, '')}${path}`, init)
      const text = Buffer.from(await readBody(response.body, MOST_BYTES)).toString('utf8')
      seen = response.status
      return { status: response.status, text, page: isPage(response.headers.get('content-type'), text) }
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      if (!limit.signal.aborted) throw new GatewayUnknown(operation, null, failureWord(error))
      throw new GatewayUnknown(operation, null, `not done within ${timeoutMs} ms`, {
        cause: limit.signal.reason,
      })
    } finally {
      limit.done()
      observeCall?.({ operation, status: seen, ms: clock.monotonic() - startedAt })
    }
  }

  /** For requests that change something. A refusal counts only from the gateway itself, in JSON: what an edge
   *  says under the same status proves nothing. */
  async function order<T>(
    question: Question & { body: Record<string, unknown> },
    schema: ZodType<T>,
  ): Promise<T> {
    const { operation, body, key } = question
    const { status, text, page } = await ask(question)
    const json = page ? null : parseObject(text)
    if (status === 200) {
      const parsed = schema.safeParse(json)
      if (parsed.success) return parsed.data
      throw new GatewayUnknown(operation, status, 'not the expected JSON')
    }
    if (status === 401) throw new GatewayUnauthorized(operation, status, '')
    if (isRedirect(status)) throw new GatewayUnauthorized(operation, status, 'the URL is not public')
    if (json && status === 409) throw new GatewayBound(operation, status, 'it already has a conversation')
    if (json && status === 400) {
      const said = typeof json.error === 'string' ? json.error : ''
      throw new GatewayRejected(operation, scrub(said, [key ?? '', ...stringsOf(body)]))
    }
    throw new GatewayUnknown(operation, status, page ? 'a page instead of an answer' : '')
  }

  return {
    async status(url, key, options, signal) {
      const timeoutMs = options?.timeoutMs ?? STATUS_TIMEOUT_MS
      try {
        const answer = await ask({ operation: 'status', url, path: '/convos/status', key, timeoutMs, signal })
        return toState(answer)
      } catch (error) {
        if (signal?.aborted) throw signal.reason
        return { kind: 'down', why: error instanceof Error ? error.message : 'unknown failure' }
      }
    },

    converse(url, key, body, { timeoutMs }, signal) {
      const question = {
        operation: 'converse',
        url,
        path: '/convos/conversation',
        key,
        body,
        timeoutMs,
        signal,
      }
      return order(question, ConversationWire)
    },

    async join(url, key, body, { timeoutMs }, signal) {
      const question = { operation: 'join', url, path: '/convos/join', key, body, timeoutMs, signal }
      const answer = await order(question, JoinWire)
      return answer.status === 'joined' ? answer : { status: 'waiting' }
    },

    async send(url, key, body, { timeoutMs }, signal) {
      const path = '/convos/conversation/send'
      const answer = await order({ operation: 'send', url, path, key, body, timeoutMs, signal }, SendWire)
      return { messageId: answer.messageId }
    },

    async rename(url, key, body, { timeoutMs }, signal) {
      const path = '/convos/rename'
      await order({ operation: 'rename', url, path, key, body, timeoutMs, signal }, RenameWire)
    },

    async lock(url, key, body, { timeoutMs }, signal) {
      const path = '/convos/lock'
      const answer = await order({ operation: 'lock', url, path, key, body, timeoutMs, signal }, LockWire)
      return { locked: answer.locked }
    },

    async explode(url, key, body, { timeoutMs }, signal) {
      const path = '/convos/explode'
      await order({ operation: 'explode', url, path, key, body, timeoutMs, signal }, ExplodeWire)
    },
  }
}

function toState({ status, text, page }: Answer): GatewayState {
  if (status === 401) return { kind: 'unauthorized' }
  if (isRedirect(status)) return { kind: 'down', why: `${status}, the URL is not public` }
  if (status !== 200) return { kind: 'down', why: String(status) }
  if (page) return { kind: 'down', why: 'a page instead of an answer' }
  const parsed = StatusWire.safeParse(parseObject(text))
  if (!parsed.success) return { kind: 'down', why: 'not the expected JSON' }
  const { conversation, streaming } = parsed.data
  return { kind: 'up', conversationId: conversation?.id ?? null, streaming }
}

function isRedirect(status: number): boolean {
  return status >= 300 && status < 400
}

/** Everything the user wrote, so that none of it comes back in a message. */
function stringsOf(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(stringsOf) : []
}
