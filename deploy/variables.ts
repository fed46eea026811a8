import { isIP } from 'node:net'
import { z } from 'zod'

/**
 * Every variable that is read, as text from the environment. Empty is unset. What each means and its default stand in
 * `.env.example`; a fault's text says what would be right and never repeats the value, which may be a secret.
 */
export const Variables = z
  .object({
    PORT: whole(0, 65_535),
    HOST: word('must be an address to listen on, such as 127.0.0.1 or 0.0.0.0'),
    DATABASE_URL: databaseUrl(),
    DATABASE_URL_DIRECT: databaseUrl(),
    SPRITE_TOKEN: z.string(), // opaque: its shape is the provider's business
    SPRITES_API_URL: spritesUrl(),
    SPRITE_NAME_PREFIX: matching(
      /^[a-z]([a-z0-9-]*[a-z0-9])?$/,
      'must be lower case letters, digits and hyphens, a letter first, no hyphen last',
    ),
    POOL_API_KEY: bearer(),
    POOL_URL: httpUrl(),
    POOL_ENVIRONMENT: z.enum(['dev', 'staging', 'production'], {
      error: 'must be dev, staging or production',
    }),
    POOL_MIN_IDLE: whole(0, 10_000),
    POOL_MAX_TOTAL: whole(1, 20_000),
    OPENCLAW_GIT_REF: matching(/^(?!-)(?!.*\.\.)[\w./@+-]{1,200}$/, 'must be a branch, a tag or a commit'),
    OPENCLAW_REPO_URL: matching(
      /^((https?|ssh|git|file):\/\/|[\w.-]+@[\w.-]+:|\/)\S+$/,
      'must be the address of a git repository, such as https://github.com/owner/name',
    ),
    INSTANCE_ANTHROPIC_API_KEY: word('must be one word'),
    INSTANCE_XMTP_ENV: z.enum(['dev', 'production'], { error: 'must be dev or production' }),
    HEARTBEAT_INTERVAL_MS: whole(100, 86_400_000),
    TICK_INTERVAL_MS: whole(100, 86_400_000),
    POOL_RECONCILE_INTERVAL_MS: whole(100, 86_400_000),
    POOL_DATA_DIR: z.string(),
    TRUST_PROXY: trustedProxy(),
    METRICS_TOKEN: bearer(),
    LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
      error: 'must be trace, debug, info, warn, error, fatal or silent',
    }),
    LOG_PRETTY: flag(),
    EVENTS_DAYS: whole(1, 3650),
  })
  .partial()

export type Variables = z.infer<typeof Variables>

export function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d+){3}|\[?::1\]?)$/.test(host)
}

function matching(pattern: RegExp, error: string) {
  return z.string().regex(pattern, { error })
}

function word(error: string) {
  return matching(/^\S+$/, error)
}

/** What an `Authorization: Bearer` header can carry. */
function bearer() {
  return matching(/^[\x21-\x7e]+$/, 'must be one word of ASCII: it travels in a header')
}

function whole(least: number, most: number) {
  const error = `must be a whole number from ${least} to ${most}`
  const fits = (text: string) => /^\d{1,9}$/.test(text) && Number(text) >= least && Number(text) <= most
  return z.string().refine(fits, { error }).transform(Number)
}

function flag() {
  return z.stringbool({ error: 'must be true or false' })
}

function urlOf(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null
}

/** As pasted: consoles copy it with quotes, or as the whole `psql` command. */
function databaseUrl() {
  return z
    .string()
    .transform((text) => text.replace(/^psql\s+/, '').replace(/^(['"])(.*)\1$/, '$2'))
    .refine((text) => /^postgres(ql)?:$/.test(urlOf(text)?.protocol ?? ''), {
      error: 'must be a URL such as postgresql://user:password@host/database',
    })
}

function httpUrl() {
  const fits = (text: string) => /^https?:$/.test(urlOf(text)?.protocol ?? '')
  return z
    .string()
    .refine(fits, { error: 'must be a URL that begins with http:// or https://' })
    .transform((text) => text.replace(/\/+$/, ''))
}

function spritesUrl() {
  const fits = (text: string) => text.startsWith('https:') || isLoopback(urlOf(text)?.hostname ?? '')
  return httpUrl().refine(fits, {
    error:
      'must begin with https://, or the token would be readable on its way; http:// is for this machine only',
  })
}

const PROXY_WORDS = ['loopback', 'linklocal', 'uniquelocal']

/** false, a number of proxies in front, or the addresses of those. "On" is one: with all of them believed, the first
 *  address would be the caller's own word. */
function trustedProxy() {
  const isNetwork = (text: string) => {
    const [address = '', bits, ...more] = text.split('/')
    return isIP(address) > 0 && more.length === 0 && (bits === undefined || /^\d{1,3}$/.test(bits))
  }
  return z.string().transform((text, context): false | number | string => {
    if (/^\d{1,2}$/.test(text)) return Number(text) || false
    const switched = z.stringbool().safeParse(text)
    if (switched.success) return switched.data ? 1 : false
    const list = text.split(',').map((part) => part.trim())
    if (list.every((part) => PROXY_WORDS.includes(part) || isNetwork(part))) return list.join(',')
    context.addIssue(
      'must be true, false, how many proxies stand in front, or their addresses with commas between',
    )
    return z.NEVER
  })
}
