import { describe, expect, it } from 'vitest'
import {
  dotEnv,
  joinsArgv,
  joinsStatusSchema,
  openclawJson,
  readSpriteFile,
  setupDigest,
  setupEnv,
  setupStatusSchema,
} from '../../deploy/sprite/templates.ts'

const commit = '0123456789abcdef0123456789abcdef01234567'
const request = { attempt: 'i1-2', repo: 'https://github.com/xmtplabs/openclaw', ref: 'staging', commit }

describe('openclaw.json', () => {
  it('is what the gateway needs to run in a Sprite', () => {
    const text = openclawJson({ xmtpEnv: 'dev', gatewayKey: 'k"1', gatewayToken: 't\\2' })
    expect(JSON.parse(text)).toEqual({
      auth: { profiles: { 'anthropic:default': { provider: 'anthropic', mode: 'token' } } },
      channels: { convos: { enabled: true, env: 'dev', poolApiKey: 'k"1' } },
      plugins: { entries: { convos: { enabled: true } } },
      gateway: { mode: 'local', port: 8080, bind: 'lan', auth: { token: 't\\2' }, reload: { mode: 'off' } },
    })
  })
})

describe('.env', () => {
  it.each([
    ['no key is an empty file', null, ''],
    ['a key is a line', 'sk-ant-api03-A_b-c', 'ANTHROPIC_API_KEY=sk-ant-api03-A_b-c\n'],
  ])('%s', (_, anthropicApiKey, text) => {
    expect(dotEnv({ anthropicApiKey })).toBe(text)
  })

  it.each([
    '',
    'secret\nOTHER=1',
    'secret\r',
    'secret 2',
    ' secret',
    '"secret"',
    'secret#1',
    'secret$HOME',
    'secrét',
  ])('refuses %j and does not show it', (anthropicApiKey) => {
    const error = (() => {
      try {
        dotEnv({ anthropicApiKey })
      } catch (caught) {
        return String(caught)
      }
    })()
    expect(error).toMatch(/ANTHROPIC_API_KEY/)
    expect(error).not.toMatch(/secr/)
  })
})

describe('setup.env', () => {
  it('holds four lines', () => {
    expect(setupEnv(request)).toBe(
      `ATTEMPT=i1-2\nREPO=https://github.com/xmtplabs/openclaw\nREF=staging\nCOMMIT=${commit}\n`,
    )
    expect(setupEnv({ ...request, commit: null })).toMatch(/\nCOMMIT=\n$/)
  })

  it.each([
    ['attempt', { attempt: '' }],
    ['attempt', { attempt: 'a\nREPO=evil' }],
    ['repo', { repo: 'https://example.com/a b' }],
    ['repo', { repo: '--upload-pack' }],
    ['ref', { ref: '$(id)' }],
    ['ref', { ref: 'main;id' }],
    ['ref', { ref: 'ünï' }],
    ['commit', { commit: 'main' }],
    ['commit', { commit: commit.toUpperCase() }],
  ])('names the field %s when it is %j', (field, change) => {
    expect(() => setupEnv({ ...request, ...change })).toThrow(new RegExp(`^${field} must be`))
  })
})

describe('the argv of the join loop', () => {
  const joins = { conversationId: 'a1-B2', xmtpEnv: 'dev', forSeconds: 300, intervalSeconds: 5 } as const

  it('names the script by its full path', () => {
    expect(joinsArgv(joins)).toEqual(['bash', '/home/sprite/.clawpool/joins.sh', 'a1-B2', 'dev', '300', '5'])
  })

  it.each(['', '-x', 'a b', 'a;b', '../a', 'a\n'])('refuses the conversation %j', (conversationId) => {
    expect(() => joinsArgv({ ...joins, conversationId })).toThrow(/^conversationId must be/)
  })
})

describe('what a Sprite reports', () => {
  const setup = {
    attempt: 'a',
    beat: 1,
    phase: 'tools',
    percent: 0,
    commit: null,
    home: '/home/sprite',
    exit: null,
    error: null,
    takes: [],
    updatedAt: '2026-01-01T00:00:00Z',
  }

  it('is a setup status', () => {
    expect(setupStatusSchema.parse({ ...setup, commit, exit: 0, takes: ['instructions'] })).toMatchObject({
      exit: 0,
    })
  })

  it.each([{ beat: '1' }, { phase: 'party' }, { commit: 'main' }, { exit: 'null' }, { takes: null }])(
    'is no setup status with %j',
    (change) => {
      expect(setupStatusSchema.safeParse({ ...setup, ...change }).success).toBe(false)
    },
  )

  it('is a state of the join loop', () => {
    const joins = { conversation: 'c', processed: 1, approved: true, beat: 2, done: true }
    expect(joinsStatusSchema.parse(joins)).toEqual(joins)
  })
})

describe('the scripts', () => {
  it('are read from beside the templates', () => {
    for (const name of ['setup.sh', 'gateway.sh', 'joins.sh'] as const) {
      expect(readSpriteFile(name)).toMatch(/^#!\/usr\/bin\/env bash\n/)
    }
  })

  it('have a digest that is the same each time', () => {
    expect(setupDigest()).toMatch(/^[0-9a-f]{12}$/)
    expect(setupDigest()).toBe(setupDigest())
  })
})
