import { isPage, parseObject } from './body.ts'
import {
  NothingToCheckpoint,
  SpriteExists,
  SpriteMissing,
  type SpritesError,
  SpritesRateLimited,
  SpritesRejected,
  SpritesUnauthorized,
  SpritesUnavailable,
  SpritesUnsupported,
  type Thing,
} from './errors.ts'
import { scrub } from './scrub.ts'

/** An answer that is not the wanted one, as read from the wire. */
export interface Refusal {
  operation: string
  subject: string
  /** What the last part of the URL names. */
  looksFor: Thing
  status: number
  header: (name: string) => string | null
  text: string
}

/** An hour: a longer wait would be a fault of the answer. */
const LONGEST_WAIT_MS = 3_600_000

/**
 * The one place that knows what a refusal means. The order matters: a status that is about us (401, 429) holds
 * whatever the body is; a page comes from an edge and says nothing about the Sprite; "please retry" comes with
 * many statuses; and only words in a JSON body make something absent.
 */
export function toError(answer: Refusal, context: { token: string; nowMs: number }): SpritesError {
  const { operation, subject, status, text } = answer
  const json = parseObject(text)
  const said = json ? sentenceOf(json) : text
  const page = !json && isPage(answer.header('content-type'), text)
  const detail = page
    ? 'a page instead of an answer'
    : answer.looksFor === 'path'
      ? errnoPhrase(json, said)
      : scrub(said, [context.token])
  const details = detail ? { detail } : {}

  if (status >= 300 && status < 400)
    return new SpritesUnauthorized(operation, subject, status, { detail: 'redirected to a sign-in' })
  if (status === 401 || status === 403) return new SpritesUnauthorized(operation, subject, status, details)
  if (status === 429) return rateLimited(answer, json, context.nowMs)
  if (page) return new SpritesUnavailable(operation, subject, status, details)
  if (/please retry|try again|temporarily unavailable/i.test(said))
    return new SpritesUnavailable(operation, subject, status, details)
  if (isNothingToCheckpoint(said)) return new NothingToCheckpoint(operation, subject, status)
  const missing = json && missingThing(answer.looksFor, status, json, said)
  if (missing) return new SpriteMissing(operation, subject, status, missing)
  if (status === 405 || status === 410 || status === 501 || (status === 404 && !json))
    return new SpritesUnsupported(operation, subject, status, details)
  if (status === 404 || status === 408 || status === 425 || status < 400 || status >= 500)
    return new SpritesUnavailable(operation, subject, status, details)
  if (operation === 'create' && (status === 409 || (status === 400 && /exist|taken|in use/i.test(said))))
    return new SpriteExists(operation, subject, status, details)
  return new SpritesRejected(operation, subject, status, details)
}

export function isNothingToCheckpoint(text: string): boolean {
  return /no process is running to checkpoint/i.test(text)
}

/** `sprite not found` is said by every route; what else is missing depends on the route. A file route was seen
 *  to say `no such file or directory` without a code and under several statuses. */
function missingThing(
  looksFor: Thing,
  status: number,
  json: Record<string, unknown>,
  said: string,
): Thing | null {
  const absent = /not found|does not exist/i.test(said)
  if (status === 404 && absent && /\bsprite\b/i.test(said)) return 'sprite'
  if (looksFor === 'path') {
    if (json.code === 'ENOENT' || /no such file/i.test(said)) return 'path'
    return status === 404 && absent && /\b(file|path|directory)\b/i.test(said) ? 'path' : null
  }
  if (status !== 404 || !absent || /\b(route|page|endpoint)\b/i.test(said)) return null
  return looksFor
}

function sentenceOf(json: Record<string, unknown>): string {
  const errors = json.errors
  const first: unknown = Array.isArray(errors) ? errors[0] : errors
  const nested = typeof first === 'object' && first !== null && 'message' in first ? first.message : first
  const parts = [json.error, json.message, nested].filter((part) => typeof part === 'string')
  return parts.join(': ')
}

const ERRNO_PHRASES = [
  'permission denied',
  'operation not permitted',
  'no such file or directory',
  'not a directory',
  'is a directory',
  'file exists',
  'directory not empty',
  'no space left on device',
  'read-only file system',
  'input/output error',
  'file name too long',
  'invalid argument',
] as const

/** A file route's answer may quote the file, so of its words only the known ones are passed on. */
function errnoPhrase(json: Record<string, unknown> | null, said: string): string {
  const code = json?.code
  if (typeof code === 'string' && /^E[A-Z]{2,15}$/.test(code)) return code
  const words = said.toLowerCase()
  return ERRNO_PHRASES.find((phrase) => words.includes(phrase)) ?? ''
}

function rateLimited(answer: Refusal, json: Record<string, unknown> | null, nowMs: number) {
  const limit = Number(json?.limit ?? answer.header('x-ratelimit-limit') ?? Number.NaN)
  return new SpritesRateLimited(answer.operation, answer.subject, {
    code:
      json?.error === 'sprite_creation_rate_limited'
        ? 'creation'
        : json?.error === 'concurrent_sprite_limit_exceeded'
          ? 'concurrent'
          : 'other',
    retryAfterMs: retryAfterMs(answer, json, nowMs),
    limit: Number.isFinite(limit) ? limit : null,
  })
}

/** The body's seconds, else Retry-After (seconds or a date), else the instant the window starts anew. */
function retryAfterMs(answer: Refusal, json: Record<string, unknown> | null, nowMs: number): number | null {
  const header = answer.header('retry-after')
  const reset = answer.header('x-ratelimit-reset')
  const waits = [
    seconds(json?.retry_after_seconds),
    seconds(header),
    header ? Date.parse(header) - nowMs : Number.NaN,
    seconds(reset) - nowMs,
  ]
  const wait = waits.find(Number.isFinite)
  return wait === undefined ? null : Math.min(Math.max(wait, 0), LONGEST_WAIT_MS)
}

/** ms of a number of seconds; NaN for what is none. */
function seconds(value: unknown): number {
  return value === null || value === undefined || value === '' ? Number.NaN : Number(value) * 1000
}
