/** A claim's words on the wire: what the caller prefers, which retry is the same claim, and what its phase comes to. */

import { createHash } from 'node:crypto'
import { ENDED } from '../specs/claim.ts'
import type { ClaimView } from '../specs/db/claims.ts'
import { Invalid } from '../specs/errors.ts'
import { MAX_WAIT_SECONDS } from './config.ts'

/** s to wait for the end, when the caller says that it can live with a 202 (RFC 7240); null: it cannot. */
export function preferredWait(header: string | string[] | undefined): number | null {
  const text = [header ?? ''].flat().join(',')
  const [, wait] = /(?:^|[,;])\s*wait\s*=\s*"?(\d{1,6})"?\s*(?=[,;]|$)/i.exec(text) ?? []
  if (wait !== undefined) return Math.min(Number(wait), MAX_WAIT_SECONDS)
  return /(?:^|[,;])\s*respond-async\s*(?=[,;]|$)/i.test(text) ? 0 : null
}

/** null: none was sent. @throws Invalid */
export function idempotencyKey(header: string | string[] | undefined): string | null {
  if (header === undefined) return null
  if (typeof header === 'string' && /^[\x20-\x7e]{1,255}$/.test(header)) return header
  throw new Invalid('the headers are not valid', [
    { path: 'Idempotency-Key', message: '1–255 printable ASCII characters' },
  ])
}

/** Equal for bodies that ask for the same, in whatever order their fields stand. */
export function bodyHash(value: unknown): string {
  return createHash('sha256').update(canonical(value)).digest('hex')
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const fields = Object.entries(value).filter(([, inner]) => inner !== undefined)
  fields.sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${fields.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join(',')}}`
}

/** Its caller can be answered: it is in its conversation, asks to be let in, or came to an end. */
export const isAnswerable = ({ phase }: Pick<ClaimView, 'phase'>): boolean =>
  isServed({ phase }) || ENDED.includes(phase)

export const isServed = ({ phase }: Pick<ClaimView, 'phase'>): boolean =>
  phase === 'Ready' || phase === 'Releasing' || phase === 'AwaitingAcceptance'

export const isEnded = ({ phase }: Pick<ClaimView, 'phase'>): boolean => ENDED.includes(phase)

/** For a caller that misspelt something: what was left out of account. */
export function unknownFields(body: object, known: readonly string[]): string[] {
  const names = Object.keys(body).filter((name) => !known.includes(name))
  const shown = names
    .slice(0, 20)
    .map((name) => `unknown field ${JSON.stringify(name.slice(0, 100))} was ignored`)
  return names.length > 20 ? [...shown, `and ${names.length - 20} more`] : shown
}
