import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { readConfig } from '../../deploy/config.ts'
import { Variables } from '../../deploy/variables.ts'
import { defaultSpec, PoolSpec } from '../../specs/pool.ts'
import { ROOT } from '../support/sources.ts'

const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')

/** Cells of the table below a head that begins with these columns, without their backticks. */
function rowsOf(...head: string[]): string[][] {
  const lines = readme.split('\n').map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.replaceAll('`', '').trim()),
  )
  const start = lines.findIndex((cells) => head.every((name, column) => cells[column] === name))
  const after = lines.slice(start + 2)
  return after.slice(
    0,
    after.findIndex((cells) => cells.length === 0),
  )
}

describe('the variables in the README', () => {
  const described = new Map(rowsOf('variable', 'default').map(([name = '', ...rest]) => [name, rest]))
  // with a token, which alone tells the defaults of real Sprites; whatever else is unset
  const real = readConfig({ SPRITE_TOKEN: 'token', POOL_API_KEY: 'a-key-of-20-letters-' })
  const embedded = readConfig({})
  const nothing = ''
  const defaults: Record<keyof Variables, unknown> = {
    PORT: embedded.port,
    HOST: embedded.host,
    DATABASE_URL: embedded.database.kind === 'embedded' && 'embedded Postgres',
    DATABASE_URL_DIRECT: nothing,
    SPRITE_TOKEN: embedded.sprites.kind,
    SPRITES_API_URL: real.sprites.kind === 'api' && real.sprites.baseUrl,
    SPRITE_NAME_PREFIX: embedded.namePrefix,
    POOL_API_KEY: embedded.apiKey === null && 'made up, kept in .data/keys.json',
    POOL_URL: embedded.poolUrl,
    POOL_ENVIRONMENT: embedded.environment,
    POOL_MIN_IDLE: real.minIdle.value,
    POOL_MAX_TOTAL: real.maxTotal.value,
    OPENCLAW_GIT_REF: embedded.openclaw.ref,
    OPENCLAW_REPO_URL: real.openclaw.repo,
    INSTANCE_ANTHROPIC_API_KEY: embedded.anthropicApiKey ?? nothing,
    INSTANCE_XMTP_ENV: embedded.xmtpEnv,
    HEARTBEAT_INTERVAL_MS: embedded.heartbeatMs,
    TICK_INTERVAL_MS: embedded.tickMs,
    POOL_RECONCILE_INTERVAL_MS: embedded.reconcileMs,
    POOL_DATA_DIR: embedded.dataDir === join(process.cwd(), '.data') && '.data',
    TRUST_PROXY: embedded.trustProxy,
    METRICS_TOKEN: embedded.metricsToken ?? nothing,
    LOG_LEVEL: embedded.logLevel,
    LOG_PRETTY: embedded.logPretty === 'auto' && 'on a terminal',
    EVENTS_DAYS: embedded.eventsDays,
  }

  it('are those that are read, in the same order', () => {
    expect([...described.keys()]).toEqual(Object.keys(Variables.shape))
  })

  it.each(Object.entries(defaults))('%s has its default', (name, value) => {
    expect(described.get(name)?.[0]).toBe(String(value))
  })

  it.each(Object.entries(Variables.shape))('%s has its range, where it is a number', (name, schema) => {
    const fault = schema.safeParse('x').error?.issues[0]?.message ?? ''
    const [, least, most] = /^must be a whole number from (\d+) to (\d+)$/.exec(fault) ?? []
    if (least !== undefined) expect(described.get(name)?.[1]).toMatch(new RegExp(`^${least}–${most};`))
  })

  it('says what the emulator has instead', () => {
    expect(described.get('POOL_MIN_IDLE')?.[1]).toContain(`${embedded.minIdle.value} with the emulator`)
    expect(described.get('POOL_MAX_TOTAL')?.[1]).toContain(`${embedded.maxTotal.value} with the emulator`)
  })

  it.each(rowsOf('POOL_ENVIRONMENT', 'network and invites'))('%s is what it is', (environment, ...cells) => {
    const config = readConfig({
      POOL_ENVIRONMENT: environment,
      DATABASE_URL: 'postgres://host/database',
      SPRITE_TOKEN: 'token',
      POOL_API_KEY: 'a-key-of-20-letters-',
    })
    const { xmtpEnv, inviteDomain, openclaw, badge } = config
    expect(cells.slice(0, 3)).toEqual([`${xmtpEnv}, ${inviteDomain}`, openclaw.ref, badge])
    const refused = environment !== 'dev'
    expect(cells[3]).toBe(refused ? 'refused' : 'allowed')
    const bare = () => readConfig({ POOL_ENVIRONMENT: environment })
    if (refused) expect(bare).toThrow('DATABASE_URL is missing')
    else expect(bare).not.toThrow()
  })
})

describe('the spec in the README', () => {
  const described = new Map(rowsOf('field', 'default', 'takes').map(([path = '', ...rest]) => [path, rest]))
  const defaults = defaultSpec({
    minIdle: 3,
    maxTotal: 50,
    template: { openclawRef: 'staging', openclawRepo: '', xmtpEnv: 'dev' },
    healIntervalSeconds: 20,
    createsPerMinute: 10,
  })
  const leaves = leavesOf(z.toJSONSchema(PoolSpec) as Schema)

  it('has every field, in the order of the schema', () => {
    expect([...described.keys()]).toEqual(leaves.map(({ path }) => path))
  })

  it.each(leaves)('$path has its default and what it takes', ({ path, takes }) => {
    const value = path
      .split('.')
      .reduce<unknown>((object, key) => (object as Record<string, unknown>)[key], defaults)
    expect(described.get(path)?.slice(0, 2)).toEqual([String(value), takes])
  })
})

interface Schema {
  type?: string
  minimum?: number
  maximum?: number
  enum?: string[]
  anyOf?: Schema[]
  properties?: Record<string, Schema>
}

function leavesOf(schema: Schema, path = ''): { path: string; takes: string }[] {
  if (!schema.properties) return [{ path, takes: takesOf(schema) }]
  return Object.entries(schema.properties).flatMap(([key, inner]) =>
    leavesOf(inner, path ? `${path}.${key}` : key),
  )
}

function takesOf({ type, minimum, maximum, enum: words, anyOf }: Schema): string {
  if (anyOf) return anyOf.map(takesOf).join(', ')
  if (words) return words.join(', ')
  if (type === 'integer') return `${minimum}–${maximum}`
  return type === 'boolean' ? 'true, false' : type === 'null' ? 'null' : ''
}
