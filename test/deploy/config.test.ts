import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseEnv } from 'node:util'
import { describe, expect, it } from 'vitest'
import { ConfigError, describeConfig, type Env, loadDotEnv, readConfig } from '../../deploy/config.ts'
import { Variables } from '../../deploy/variables.ts'

const REAL = {
  DATABASE_URL: 'postgresql://pool:pa55word@db.example.com/pool?sslmode=require&channel_binding=require',
  SPRITE_TOKEN: 'org/anything at all',
  POOL_API_KEY: 'a-key-of-more-than-16-characters',
  INSTANCE_ANTHROPIC_API_KEY: 'sk-ant-secret',
}

function faultsOf(env: Env): string[] {
  try {
    readConfig(env)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
}

describe('a configuration', () => {
  it('needs nothing', () => {
    const config = readConfig({})
    expect(config).toMatchObject({
      environment: 'dev',
      badge: 'grey',
      host: '127.0.0.1',
      port: 3001,
      poolUrl: 'http://127.0.0.1:3001',
      database: { kind: 'embedded' },
      sprites: { kind: 'emulator' },
      namePrefix: 'claw',
      apiKey: null,
      minIdle: { value: 2, set: false },
      maxTotal: { value: 10, set: false },
      openclaw: { ref: 'staging', repo: null },
      xmtpEnv: 'dev',
      inviteDomain: 'dev.convos.org',
      heartbeatMs: 20_000,
      tickMs: 30_000,
      reconcileMs: 300_000,
      dataDir: resolve('.data'),
      trustProxy: false,
      logPretty: 'auto',
      eventsDays: 14,
    })
  })

  it('of production follows its environment', () => {
    expect(readConfig({ ...REAL, POOL_ENVIRONMENT: 'production' })).toMatchObject({
      badge: 'red',
      host: '0.0.0.0',
      database: { kind: 'url', url: REAL.DATABASE_URL, directUrl: null },
      sprites: { kind: 'api', baseUrl: 'https://api.sprites.dev', token: REAL.SPRITE_TOKEN },
      minIdle: { value: 3, set: false },
      maxTotal: { value: 50, set: false },
      openclaw: { ref: 'main', repo: 'https://github.com/xmtplabs/openclaw' },
      xmtpEnv: 'production',
      inviteDomain: 'popup.convos.org',
      warnings: [],
    })
  })

  it('takes each half embedded alone', () => {
    const { SPRITE_TOKEN, DATABASE_URL, POOL_API_KEY } = REAL
    expect(readConfig({ SPRITE_TOKEN, POOL_API_KEY })).toMatchObject({
      database: { kind: 'embedded' },
      sprites: { kind: 'api' },
    })
    expect(readConfig({ DATABASE_URL })).toMatchObject({
      database: { kind: 'url' },
      sprites: { kind: 'emulator' },
    })
  })

  it('takes an empty variable for an unset one, and white space around a value for nothing', () => {
    expect(readConfig({ PORT: '', POOL_API_KEY: '  ', LOG_LEVEL: ' debug\n' })).toMatchObject({
      port: 3001,
      apiKey: null,
      logLevel: 'debug',
    })
  })

  it('knows a count that was set from one that was not', () => {
    expect(readConfig({ POOL_MIN_IDLE: '0' }).minIdle).toEqual({ value: 0, set: true })
  })

  it.each([
    [undefined, false],
    ['false', false],
    ['0', false],
    ['true', 1],
    ['2', 2],
    ['loopback, 10.0.0.0/8', 'loopback,10.0.0.0/8'],
  ])('reads TRUST_PROXY=%s as %s', (TRUST_PROXY, expected) => {
    expect(readConfig({ TRUST_PROXY }).trustProxy).toBe(expected)
  })

  it('believes one proxy on Railway, unless told otherwise', () => {
    expect(readConfig({ RAILWAY_ENVIRONMENT_NAME: 'staging' }).trustProxy).toBe(1)
    expect(readConfig({ RAILWAY_ENVIRONMENT_NAME: 'staging', TRUST_PROXY: 'off' }).trustProxy).toBe(false)
  })

  it.each([`psql '${REAL.DATABASE_URL}'`, `"${REAL.DATABASE_URL}"`, REAL.DATABASE_URL])(
    'takes a database URL as it was pasted: %s',
    (DATABASE_URL) => {
      expect(readConfig({ DATABASE_URL }).database).toMatchObject({ url: REAL.DATABASE_URL })
    },
  )
})

describe('a configuration is refused', () => {
  it('with all its faults at once', () => {
    const env = {
      PORT: '70000',
      POOL_ENVIRONMENT: 'prod',
      POOL_MIN_IDLE: '-1',
      DATABASE_URL: 'mysql://x',
      LOG_PRETTY: 'maybe',
    }
    expect(faultsOf(env).map((fault) => fault.split(' ')[0])).toEqual([
      'PORT',
      'DATABASE_URL',
      'POOL_ENVIRONMENT',
      'POOL_MIN_IDLE',
      'LOG_PRETTY',
    ])
  })

  it.each(['staging', 'production'])(
    'in %s without database, token or key, naming each',
    (POOL_ENVIRONMENT) => {
      const faults = faultsOf({ POOL_ENVIRONMENT })
      expect(faults.map((fault) => fault.split(' is missing')[0])).toEqual([
        'DATABASE_URL',
        'SPRITE_TOKEN',
        'POOL_API_KEY',
      ])
      expect(faultsOf({ ...REAL, POOL_ENVIRONMENT, SPRITE_TOKEN: '' })).toEqual([
        expect.stringMatching(/^SPRITE_TOKEN is missing/),
      ])
    },
  )

  it.each([
    ['a token without a key', { SPRITE_TOKEN: 't' }, /^POOL_API_KEY is missing/],
    [
      'real Sprites with their rows on a disk that forgets',
      { ...REAL, DATABASE_URL: '', RAILWAY_ENVIRONMENT_NAME: 'x' },
      /^DATABASE_URL is missing: Railway/,
    ],
    ['a direct URL alone', { DATABASE_URL_DIRECT: REAL.DATABASE_URL }, /^DATABASE_URL is missing/],
    [
      'a prefix with no room for the rest',
      { ...REAL, POOL_ENVIRONMENT: 'production', SPRITE_NAME_PREFIX: 'a'.repeat(25) },
      /at most 24/,
    ],
    [
      'a prefix that no name may have',
      { SPRITE_NAME_PREFIX: 'Claw' },
      /^SPRITE_NAME_PREFIX must be lower case/,
    ],
    [
      'a token sent in the clear',
      { SPRITES_API_URL: 'http://sprites.example.com' },
      /^SPRITES_API_URL must begin with https/,
    ],
    [
      'a ref that git would take for an option',
      { OPENCLAW_GIT_REF: '--upload-pack=x' },
      /^OPENCLAW_GIT_REF must be a branch/,
    ],
    [
      'a repository that git would take for an option',
      { OPENCLAW_REPO_URL: '-oProxyCommand=x' },
      /^OPENCLAW_REPO_URL/,
    ],
    [
      'a key that no header carries',
      { POOL_API_KEY: 'schlüssel mit Lücke' },
      /^POOL_API_KEY must be one word/,
    ],
    ['a proxy that is none', { TRUST_PROXY: 'perhaps' }, /^TRUST_PROXY must be true, false/],
  ])('for %s', (_, env, fault) => {
    expect(faultsOf(env)).toEqual([expect.stringMatching(fault)])
  })

  it('without repeating a value, which may be a secret', () => {
    const faults = faultsOf({
      DATABASE_URL: 'sekret1',
      POOL_API_KEY: 'sekret2 x',
      SPRITES_API_URL: 'sekret3',
      METRICS_TOKEN: 'sekret4 x',
    })
    expect(faults).toHaveLength(4)
    expect(faults.join()).not.toContain('sekret')
  })
})

it('allows plain http to this machine', () => {
  const { sprites } = readConfig({ ...REAL, SPRITES_API_URL: 'http://127.0.0.1:9000/' })
  expect(sprites).toMatchObject({ baseUrl: 'http://127.0.0.1:9000' })
})

it('takes http to another machine that only begins like this one for what it is', () => {
  expect(faultsOf({ SPRITES_API_URL: 'http://127.0.0.1.example.com' })).toHaveLength(1)
  expect(faultsOf({ SPRITES_API_URL: 'http://localhost@example.com' })).toHaveLength(1)
})

it.each([
  ['a short key', { POOL_API_KEY: 'short' }, /^POOL_API_KEY has fewer than 16/],
  ['no key for the agents', {}, /^INSTANCE_ANTHROPIC_API_KEY is not set/],
  [
    'a pooler without the direct address',
    { DATABASE_URL: 'postgresql://u@ep-x-pooler.neon.tech/db' },
    /LISTEN/,
  ],
  [
    'an address without a token',
    { SPRITES_API_URL: 'https://sprites.example.com' },
    /^SPRITES_API_URL has no effect/,
  ],
])('warns of %s', (_, env, warning) => {
  expect(readConfig(env).warnings).toContainEqual(expect.stringMatching(warning))
})

it('describes itself without a secret', () => {
  const config = readConfig({
    ...REAL,
    DATABASE_URL_DIRECT: 'postgresql://pool:pa55word@direct.example.com/pool?password=pa55word',
    OPENCLAW_REPO_URL: 'https://x:pa55word@github.com/owner/name',
    METRICS_TOKEN: 'metrics-secret',
  })
  const shown = JSON.stringify(describeConfig(config))
  for (const secret of ['pa55word', REAL.SPRITE_TOKEN, REAL.POOL_API_KEY, 'sk-ant', 'metrics-secret'])
    expect(shown).not.toContain(secret)
  expect(shown).toContain('postgresql://pool:***@db.example.com/pool')
})

describe('.env', () => {
  it('adds to the environment, which wins', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'env-'))
    await writeFile(join(dir, '.env'), 'PORT=1\nHOST="::1" # comment\n')
    expect(loadDotEnv(join(dir, '.env'), { PORT: '2' })).toEqual({ PORT: '2', HOST: '::1' })
    await rm(dir, { recursive: true })
  })

  it('may be absent', () => {
    expect(loadDotEnv(join(tmpdir(), 'no-such-folder', '.env'), { PORT: '2' })).toEqual({ PORT: '2' })
  })

  const example = readFileSync(join(import.meta.dirname, '../../.env.example'), 'utf8')
  const lines = [...example.matchAll(/^# ([A-Z_]+=.*)$/gm)].map(([, line]) => line).join('\n')

  it('has an example of every variable and of nothing else, in the order of the schema', () => {
    const names = lines.split('\n').map((line) => line.split('=')[0])
    expect(names).toEqual(Object.keys(Variables.shape))
  })

  it('has an example that holds the defaults', () => {
    const {
      DATABASE_URL,
      DATABASE_URL_DIRECT,
      OPENCLAW_REPO_URL,
      POOL_MIN_IDLE,
      POOL_MAX_TOTAL,
      LOG_PRETTY,
      ...rest
    } = parseEnv(lines)
    const { warnings, ...config } = readConfig(rest)
    const { warnings: _, ...bare } = readConfig({})
    expect(config).toEqual(bare)
    const { SPRITE_TOKEN, POOL_API_KEY } = REAL
    const real = readConfig({ SPRITE_TOKEN, POOL_API_KEY })
    expect(readConfig({ SPRITE_TOKEN, POOL_API_KEY, OPENCLAW_REPO_URL })).toEqual(real)
    expect([Number(POOL_MIN_IDLE), Number(POOL_MAX_TOTAL)]).toEqual([real.minIdle.value, real.maxTotal.value])
    expect(faultsOf({ DATABASE_URL, DATABASE_URL_DIRECT, LOG_PRETTY })).toEqual([])
  })
})
