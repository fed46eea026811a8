import postgres from 'postgres'
import { types } from './types.ts'

export { isRetryable, isUnavailable, isUniqueViolation } from './failures.ts'

/** A pool of connections. Statements are tagged templates; see the driver's README. */
export type Sql = postgres.Sql<Record<string, never>>
/** One transaction of it, as `sql.begin` hands it out. */
export type Tx = postgres.TransactionSql<Record<string, never>>

/** Where a database is: an address, or the folder of a socket (the embedded one). */
export type Place = { url: string } | { socket: { host: string; database: string; username: string } }

export interface ConnectOptions {
  /** Shown in pg_stat_activity. */
  applicationName: string
  /** Connections at most. 8 carry all the claims that a server of two cores can answer. */
  max?: number
  onnotice?: (notice: postgres.Notice) => void
  /** What LISTEN brings on any of these connections. */
  onnotify?: (channel: string, payload: string) => void
  /** A connection was lost, or could not be made. The pool makes the next one by itself. */
  onclose?: () => void
}

const CONNECT_LIMIT_SECONDS = 10
/** Of a URL's parameters these go to the server; the driver would send it all (`channel_binding`), and it refuses. */
const SETTINGS = ['application_name', 'options']
const LOOPBACK = ['', 'localhost', '127.0.0.1', '::1']

/**
 * Opens nothing yet: the first statement does.
 * Timeouts are no start-up parameters, since poolers refuse those; see `setRoleTimeouts` in `migrate.ts`.
 */
export function connect(place: Place, options: ConnectOptions): Sql {
  const { applicationName, max = 8, onnotice = () => {}, onnotify, onclose } = options
  const address =
    'url' in place ? fromUrl(place.url) : { ...place.socket, port: 5432, ssl: false, parameters: {} }
  const { parameters, ...rest } = address
  // `onnotify` is missing in the driver's types; its own `listen` stands on it.
  const driver: postgres.Options<Record<string, postgres.PostgresType>> & Pick<ConnectOptions, 'onnotify'> = {
    connect_timeout: CONNECT_LIMIT_SECONDS,
    ...rest,
    connection: { application_name: applicationName, ...parameters },
    max,
    prepare: !('url' in place && isPooled(place.url)),
    fetch_types: false, // a round trip for each connection; the types we use are below
    types,
    onnotice,
    ...(onnotify && { onnotify, max_lifetime: null }), // the driver would end it after half an hour
    ...(onclose && { onclose }),
  }
  return postgres(driver) as unknown as Sql // the names of `types` are no business of a caller
}

/** A URL without what a log may not have, and what is worth nothing in one: password and parameters. */
export function redactUrl(url: string): string {
  if (!URL.canParse(url)) return '(not a URL)'
  const { protocol, username, password, host, pathname } = new URL(url)
  return `${protocol}//${username}${password && ':***'}${username && '@'}${host}${pathname}`
}

/** Does it go through a transaction pooler (Neon's `-pooler` host, or said so)? LISTEN does not pass one. */
export function isPooled(url: string): boolean {
  if (!URL.canParse(url)) return false
  const { hostname, searchParams } = new URL(url)
  return hostname.includes('-pooler') || searchParams.get('pgbouncer') === 'true'
}

function fromUrl(url: string) {
  const { username, password, hostname, port, pathname, searchParams } = new URL(url)
  const timeout = Number(searchParams.get('connect_timeout'))
  const host = decodeURIComponent(hostname).replace(/^\[|\]$/g, '')
  const user = decodeURIComponent(username) || searchParams.get('user')
  return {
    // libpq's spelling of a socket, which the driver does not read: postgres:///name?host=/var/run/postgresql&user=me
    host: host || searchParams.get('host') || 'localhost',
    port: Number(port || 5432),
    ...(user && { username: user }),
    ...(password && { password: decodeURIComponent(password) }),
    ...(pathname.length > 1 && { database: decodeURIComponent(pathname.slice(1)) }),
    ...(timeout > 0 && { connect_timeout: timeout }),
    ssl: sslOf(searchParams.get('sslmode'), host),
    parameters: Object.fromEntries([...searchParams].filter(([name]) => SETTINGS.includes(name))),
  }
}

/** As libpq: without a word, TLS where the server has it. The driver's `allow` insists on TLS; libpq's does not. */
function sslOf(mode: string | null, host: string): false | 'prefer' | 'require' | 'verify-full' {
  if (mode === 'disable' || (mode === null && LOOPBACK.includes(host))) return false
  if (mode === null || mode === 'prefer' || mode === 'allow') return 'prefer'
  return mode === 'require' ? 'require' : 'verify-full'
}
