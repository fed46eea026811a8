import postgres from 'postgres'

/** What a failed statement means for whoever sent it. Anything else is a bug, or a refusal of the statement itself. */

/** A unique index has it already. `constraint` narrows it to one index. */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  return (
    error instanceof postgres.PostgresError &&
    error.code === '23505' &&
    (!constraint || error.constraint_name === constraint)
  )
}

/** Serialization failure or deadlock: nothing was done, and the same statement may well succeed. */
export function isRetryable(error: unknown): boolean {
  return ['40001', '40P01'].includes(codeOf(error))
}

/** No database for now. What was under way may have been committed: look before doing it again. */
export function isUnavailable(error: unknown): boolean {
  const code = codeOf(error)
  return UNAVAILABLE.has(code) || code.startsWith('08')
}

const UNAVAILABLE = new Set([
  // The network, and a socket whose server is not up.
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
  // The driver.
  'CONNECT_TIMEOUT',
  'CONNECTION_CLOSED',
  'CONNECTION_DESTROYED',
  'CONNECTION_ENDED',
  // The server: shut down by an administrator, crashed, starting; too many connections.
  '57P01',
  '57P02',
  '57P03',
  '53300',
])

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}
