import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseEnv } from 'node:util'
import { isPooled, redactUrl } from '../specs/db/connect.ts'
import { Variables } from './variables.ts'

export type Environment = 'dev' | 'staging' | 'production'
export type Env = Record<string, string | undefined>

export interface Config {
  environment: Environment
  /** Of the page's badge, so that nobody takes production for something else. */
  badge: 'grey' | 'yellow' | 'red'
  host: string
  port: number
  /** Which pool the CLI talks to. */
  poolUrl: string
  database: { kind: 'embedded' } | { kind: 'url'; url: string; directUrl: string | null }
  sprites: { kind: 'emulator' } | { kind: 'api'; baseUrl: string; token: string }
  /** First part of a Sprite's name; the environment and the instance's id follow. */
  namePrefix: string
  /** null: one is made up at the first start and kept in `dataDir`. */
  apiKey: string | null
  /** First boot's spec. `set`: by a variable, whose change is later an edit of the spec. */
  minIdle: { value: number; set: boolean }
  maxTotal: { value: number; set: boolean }
  /** `repo` null: the emulator's stand-in. */
  openclaw: { ref: string; repo: string | null }
  anthropicApiKey: string | null
  xmtpEnv: 'dev' | 'production'
  inviteDomain: string
  heartbeatMs: number
  tickMs: number
  reconcileMs: number
  /** Absolute. */
  dataDir: string
  /** As Fastify takes it: nobody, that many hops, or these addresses. */
  trustProxy: false | number | string
  /** null: `/metrics` asks for nothing. */
  metricsToken: string | null
  logLevel: string
  logPretty: boolean | 'auto'
  eventsDays: number
  warnings: string[]
}

/** Names every fault with its remedy, and no value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly faults: string[]
  constructor(faults: string[]) {
    super(`The configuration cannot be used:\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
    this.faults = faults
  }
}

const BY_ENVIRONMENT = {
  dev: { badge: 'grey', xmtpEnv: 'dev', ref: 'staging' },
  staging: { badge: 'yellow', xmtpEnv: 'dev', ref: 'staging' },
  production: { badge: 'red', xmtpEnv: 'production', ref: 'main' },
} as const
/** Where invites live follows the network that they were made on. */
const INVITE_DOMAIN = { dev: 'dev.convos.org', production: 'popup.convos.org' } as const
const SPRITES_API = 'https://api.sprites.dev'
const OPENCLAW_REPO = 'https://github.com/xmtplabs/openclaw'
/** Characters: `<prefix>-<environment>-<id>` may have 48, and an id has 12. */
const NAME_LIMIT = 48 - '-'.length - '-'.length - 12
const SHORT_KEY = 16

/** @throws ConfigError with all faults at once. */
export function readConfig(env: Env): Config {
  const given = Object.fromEntries(
    Object.keys(Variables.shape).flatMap((name) => {
      const value = env[name]?.trim()
      return value ? [[name, value]] : []
    }),
  )
  const parsed = Variables.safeParse(given)
  const faults = parsed.success
    ? []
    : parsed.error.issues.map(({ path, message }) => `${path.join('.')} ${message}.`)
  faults.push(...misfits(given, env))
  if (faults.length > 0 || !parsed.success) throw new ConfigError(faults)
  return configOf(parsed.data, env)
}

/** What is wrong with variables together, or missing. */
function misfits(given: Record<string, string>, env: Env): string[] {
  const faults: string[] = []
  const environment = given.POOL_ENVIRONMENT ?? 'dev'
  const missing = (name: string, why: string) => given[name] || faults.push(`${name} is missing: ${why}.`)
  if (environment === 'staging' || environment === 'production') {
    const rule = `${environment} runs nothing embedded; set it, or POOL_ENVIRONMENT=dev`
    missing('DATABASE_URL', rule)
    missing('SPRITE_TOKEN', rule)
    missing('POOL_API_KEY', rule)
  } else if (given.SPRITE_TOKEN) {
    missing(
      'POOL_API_KEY',
      'real Sprites cost money; set a key of 16 characters or more (openssl rand -base64 32)',
    )
    if (env.RAILWAY_ENVIRONMENT_NAME)
      missing(
        'DATABASE_URL',
        "Railway's disk is lost at each deploy, and with it which Sprites are ours; add a Postgres",
      )
  }
  if (given.DATABASE_URL_DIRECT) missing('DATABASE_URL', 'DATABASE_URL_DIRECT only adds to it; set it too')
  const room = NAME_LIMIT - environment.length
  if ((given.SPRITE_NAME_PREFIX?.length ?? 0) > room)
    faults.push(`SPRITE_NAME_PREFIX must have at most ${room} characters: a Sprite's name has room for 48.`)
  return faults
}

function configOf(variables: Variables, env: Env): Config {
  const environment = variables.POOL_ENVIRONMENT ?? 'dev'
  const defaults = BY_ENVIRONMENT[environment]
  const { SPRITE_TOKEN: token, DATABASE_URL: url, PORT: port = 3001 } = variables
  const xmtpEnv = variables.INSTANCE_XMTP_ENV ?? defaults.xmtpEnv
  const count = (value: number | undefined, real: number, embedded: number) => ({
    value: value ?? (token ? real : embedded),
    set: value !== undefined,
  })
  return {
    environment,
    badge: defaults.badge,
    host: variables.HOST ?? (url ? '0.0.0.0' : '127.0.0.1'),
    port,
    poolUrl: variables.POOL_URL ?? `http://127.0.0.1:${port}`,
    database: url
      ? { kind: 'url', url, directUrl: variables.DATABASE_URL_DIRECT ?? null }
      : { kind: 'embedded' },
    sprites: token
      ? { kind: 'api', baseUrl: variables.SPRITES_API_URL ?? SPRITES_API, token }
      : { kind: 'emulator' },
    namePrefix: variables.SPRITE_NAME_PREFIX ?? 'claw',
    apiKey: variables.POOL_API_KEY ?? null,
    minIdle: count(variables.POOL_MIN_IDLE, 3, 2),
    maxTotal: count(variables.POOL_MAX_TOTAL, 50, 10),
    openclaw: {
      ref: variables.OPENCLAW_GIT_REF ?? defaults.ref,
      repo: variables.OPENCLAW_REPO_URL ?? (token ? OPENCLAW_REPO : null),
    },
    anthropicApiKey: variables.INSTANCE_ANTHROPIC_API_KEY ?? null,
    xmtpEnv,
    inviteDomain: INVITE_DOMAIN[xmtpEnv],
    heartbeatMs: variables.HEARTBEAT_INTERVAL_MS ?? 20_000,
    tickMs: variables.TICK_INTERVAL_MS ?? 30_000,
    reconcileMs: variables.POOL_RECONCILE_INTERVAL_MS ?? 300_000,
    dataDir: resolve(variables.POOL_DATA_DIR ?? '.data'),
    trustProxy: variables.TRUST_PROXY ?? (env.RAILWAY_ENVIRONMENT_NAME ? 1 : false),
    metricsToken: variables.METRICS_TOKEN ?? null,
    logLevel: variables.LOG_LEVEL ?? 'info',
    logPretty: variables.LOG_PRETTY ?? 'auto',
    eventsDays: variables.EVENTS_DAYS ?? 14,
    warnings: warningsOf(variables),
  }
}

function warningsOf(variables: Variables): string[] {
  const { POOL_API_KEY: key, DATABASE_URL: url, DATABASE_URL_DIRECT: direct } = variables
  const warnings: string[] = []
  if (key && key.length < SHORT_KEY)
    warnings.push(`POOL_API_KEY has fewer than ${SHORT_KEY} characters: it can be guessed.`)
  if (!variables.INSTANCE_ANTHROPIC_API_KEY)
    warnings.push('INSTANCE_ANTHROPIC_API_KEY is not set: agents are built and claimed, but cannot think.')
  if (url && isPooled(url) && !direct)
    warnings.push(
      'DATABASE_URL goes through a pooler, which swallows LISTEN: the pool polls. Set DATABASE_URL_DIRECT too.',
    )
  if (variables.SPRITES_API_URL && !variables.SPRITE_TOKEN)
    warnings.push('SPRITES_API_URL has no effect without SPRITE_TOKEN: the emulator is used.')
  return warnings
}

/** For the log and the screen: no secret in it. */
export function describeConfig(config: Config): Record<string, string | number | boolean> {
  const { database, sprites, openclaw } = config
  const secret = (value: string | null, otherwise: string) => (value === null ? otherwise : 'set')
  return {
    environment: config.environment,
    listen: `${config.host}:${config.port}`,
    database:
      database.kind === 'embedded' ? `embedded in ${join(config.dataDir, 'pg')}` : redactUrl(database.url),
    ...(database.kind === 'url' && database.directUrl && { databaseDirect: redactUrl(database.directUrl) }),
    sprites: sprites.kind === 'emulator' ? `emulator in ${config.dataDir}` : redactUrl(sprites.baseUrl),
    names: `${config.namePrefix}-${config.environment}-…`,
    openclaw: `${openclaw.repo === null ? 'stand-in' : redactUrl(openclaw.repo)} at ${openclaw.ref}`,
    xmtp: config.xmtpEnv,
    inviteDomain: config.inviteDomain,
    minIdle: config.minIdle.value,
    maxTotal: config.maxTotal.value,
    adminKey: secret(config.apiKey, 'made up'), // not `apiKey`: the log hides what is called that
    anthropicApiKey: secret(config.anthropicApiKey, 'not set'),
    metricsToken: secret(config.metricsToken, 'not set'),
    trustProxy: config.trustProxy,
    logLevel: config.logLevel,
  }
}

/** The environment with what a `.env` file adds to it; what is set already stays. No file: nothing is added. */
export function loadDotEnv(path: string, env: Env): Env {
  try {
    return { ...parseEnv(readFileSync(path, 'utf8')), ...env }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return env
    throw error
  }
}
