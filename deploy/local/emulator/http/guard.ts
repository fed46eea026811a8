import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Refusal } from '../engine.ts'

const LOOPBACK_HOST = /^(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?$/

/**
 * A browser on this machine can be made to send requests here by any page it shows, and by a name that resolves to
 * loopback. No page has a reason to: every request with an `Origin`, and every foreign `Host`, is refused, and no
 * answer carries a CORS header.
 */
export function refuseBrowsers(request: IncomingMessage): void {
  if (!LOOPBACK_HOST.test(request.headers.host ?? '')) {
    throw new Refusal(403, { error: 'this server answers to loopback names only' })
  }
  if (request.headers.origin !== undefined) {
    throw new Refusal(403, { error: 'this server does not talk to web pages' })
  }
}

export function bearerOf(request: IncomingMessage): string | null {
  return /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? null
}

/** Compares digests, so that neither the time nor a length tells anything of the token. */
export function sameSecret(given: string | null, expected: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return given !== null && timingSafeEqual(digest(given), digest(expected))
}

export function requireToken(request: IncomingMessage, token: string): void {
  if (!sameSecret(bearerOf(request), token)) throw new Refusal(401, { error: 'authentication failed' })
}
