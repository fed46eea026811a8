import { describe, expect, it } from 'vitest'
import { claimRequest, joinUrlFault, MAX_INSTRUCTIONS_BYTES } from '../../specs/claim.ts'
import { toFieldFaults } from '../../specs/errors.ts'

const VALID = { agentName: 'Ada', instructions: 'Be kind.' }

/** Paths and messages of what is wrong with a body; none: it is accepted. */
function faults(body: Record<string, unknown>): string[] {
  const parsed = claimRequest('dev').safeParse({ ...VALID, ...body })
  return parsed.success
    ? []
    : toFieldFaults(parsed.error.issues).map(({ path, message }) => `${path}: ${message}`)
}

describe('joinUrlFault', () => {
  it.each([
    ['https://dev.convos.org/v2?i=abc', 'dev'],
    ['https://popup.convos.org/v2?i=abc', 'production'],
    ['https://dev.convos.org/v2?i=CjIKMAx*9_-~.', 'dev'],
    ['https://convos.app/join/abc', 'dev'],
    ['https://convos.app/join/abc', 'production'],
    ['convos://join/abc', 'dev'],
    ['convos://join/abc', 'production'],
    ['CjIKMAx9_-*abc', 'dev'],
    ['a'.repeat(4096), 'production'],
  ] as const)('takes %s on %s', (link, env) => {
    expect(joinUrlFault(link, env)).toBeNull()
  })

  it.each([
    ['https://popup.convos.org/v2?i=abc', 'dev'],
    ['https://dev.convos.org/v2?i=abc', 'production'],
  ] as const)('refuses %s on %s and names both environments with their domains', (link, env) => {
    const fault = joinUrlFault(link, env)
    for (const word of ['dev', 'production', 'dev.convos.org', 'popup.convos.org'])
      expect(fault).toContain(word)
  })

  it.each([
    ['a bare host', 'popup.convos.org'],
    ['another domain', 'https://example.org/v2?i=abc'],
    ['a domain that ends like ours', 'https://notdev.convos.org/v2?i=abc'],
    ['a domain below ours', 'https://x.dev.convos.org/v2?i=abc'],
    ['a domain that begins like ours', 'https://dev.convos.org.example.org/v2?i=abc'],
    ['our domain as a user name', 'https://dev.convos.org@example.org/v2?i=abc'],
    ['a user name on our domain', 'https://someone@dev.convos.org/v2?i=abc'],
    ['a password', 'https://a:b@dev.convos.org/v2?i=abc'],
    ['a backslash that moves the host', 'https://example.org\\@dev.convos.org/v2?i=abc'],
    ['another port', 'https://dev.convos.org:8443/v2?i=abc'],
    ['plain http', 'http://dev.convos.org/v2?i=abc'],
    ['a script', 'javascript:alert(1)'],
    ['a script that looks like a link', 'javascript://dev.convos.org/%0aalert(1)'],
    ['data', 'data:text/html,x'],
    ['a file', 'file:///etc/passwd'],
    ['an app link without a slug', 'convos://join/'],
    ['an app link elsewhere', 'convos://leave/abc'],
    ['an app domain without a slug', 'https://convos.app/join/'],
    ['an app domain elsewhere', 'https://convos.app/evil'],
    ['a slug with a space', 'abc def'],
    ['a slug with a slash', 'abc/def'],
    ['a slug that is too long', 'a'.repeat(4097)],
    ['nothing', ''],
    // The parser of links drops or encodes these in silence; what is stored and sent would be the text as it came.
    ['a line break in a link', 'https://dev.convos.org/v2?i=a\nb'],
    ['a NUL in a link', 'https://dev.convos.org/v2?i=a\0b'],
    ['a space around a link', ' https://dev.convos.org/v2?i=ab'],
    ['a lone surrogate in a link', 'https://dev.convos.org/v2?i=\ud800'],
    ['a link without end', `https://dev.convos.org/v2?i=${'a'.repeat(10_000)}`],
  ])('refuses %s', (_, link) => {
    expect(joinUrlFault(link, 'dev')).toEqual(expect.any(String))
  })
})

describe('claimRequest', () => {
  it('takes a name and instructions, and all that may come with them', () => {
    expect(faults({})).toEqual([])
    expect(
      faults({
        joinUrl: 'convos://join/abc',
        ttlSeconds: 60,
        priority: 9,
        extra: { description: 'x', n: [1, null] },
      }),
    ).toEqual([])
    expect(faults({ joinUrl: null, ttlSeconds: null, priority: null, extra: null })).toEqual([])
  })

  it.each([
    ['one character', 'A'],
    ['a hundred', 'x'.repeat(100)],
    ['a hundred emoji', '🦀'.repeat(100)],
    ['a name in another script', 'Привет 世界'],
    ['quotes and angle brackets', '"><script>$(rm -rf /)'],
  ])('takes a name of %s', (_, agentName) => {
    expect(faults({ agentName })).toEqual([])
  })

  it.each([
    ['no character', ''],
    ['spaces alone', '   '],
    ['101 characters', 'x'.repeat(101)],
    ['101 emoji', '🦀'.repeat(101)],
    ['a line break', 'Ada\nLovelace'],
    ['a NUL', 'Ada\0'],
    ['an escape', 'Ada\u001b[31m'],
    ['a C1 control', 'Ada\u0085'],
    ['a lone surrogate', 'Ada\ud800'],
    ['something that is no text', 7],
  ])('refuses a name of %s', (_, agentName) => {
    expect(faults({ agentName }).join()).toMatch(/^agentName: /)
  })

  it('counts instructions in bytes, up to 256 KB', () => {
    expect(MAX_INSTRUCTIONS_BYTES).toBe(262_144)
    expect(faults({ instructions: 'x'.repeat(262_144) })).toEqual([])
    expect(faults({ instructions: 'x'.repeat(262_145) })).toEqual(['instructions: at most 256 KB'])
    expect(faults({ instructions: '🦀'.repeat(65_536) })).toEqual([])
    expect(faults({ instructions: `${'🦀'.repeat(65_536)}x` })).toEqual(['instructions: at most 256 KB'])
    expect(faults({ instructions: 'é'.repeat(131_073) })).toEqual(['instructions: at most 256 KB'])
  })

  it.each([
    ['lines, tabs and quotes', 'a\n\tb\r\n"\'`$(c)\nEOF\n'],
    ['emoji with joiners', '👩‍💻🏳️‍🌈'],
  ])('takes instructions with %s', (_, instructions) => {
    expect(faults({ instructions })).toEqual([])
  })

  it.each([
    ['no character', ''],
    ['a NUL', 'a\0b'],
    ['a lone surrogate', 'a\udc00b'],
    ['half an emoji', '🦀'.slice(0, 1)],
  ])('refuses instructions with %s', (_, instructions) => {
    expect(faults({ instructions }).join()).toMatch(/^instructions: /)
  })

  it('names every wrong field at once', () => {
    const found = faults({
      agentName: '',
      instructions: '',
      joinUrl: 'http://x',
      ttlSeconds: 1,
      priority: 10,
    })
    const paths = new Set(found.map((fault) => fault.split(':')[0]))
    expect(paths).toEqual(new Set(['agentName', 'instructions', 'joinUrl', 'ttlSeconds', 'priority']))
  })

  it.each([9, 31_536_001, 1.5, '60'])('refuses a ttl of %s', (ttlSeconds) => {
    expect(faults({ ttlSeconds }).join()).toMatch(/^ttlSeconds: /)
  })

  it.each(['name', 'profileName', 'env', 'instructions', 'inviteUrl', 'accountId'])(
    'refuses %s in extra',
    (field) => {
      expect(faults({ extra: { [field]: 'x' } })).toEqual([
        `extra.${field}: is set by the pool or the gateway itself: leave it out of extra`,
      ])
    },
  )

  it('takes 16 KB of extra, in bytes, and not one more', () => {
    const filled = (bytes: number) => ({ a: 'x'.repeat(bytes - JSON.stringify({ a: '' }).length) })
    expect(faults({ extra: filled(16_384) })).toEqual([])
    expect(faults({ extra: filled(16_385) })).toEqual(['extra: at most 16 KB'])
    expect(faults({ extra: { a: 'é'.repeat(8_190) } })).toEqual(['extra: at most 16 KB'])
  })

  it.each<[string, unknown]>([
    ['a NUL in a text', { a: 'x\0' }],
    ['a NUL deep inside', { a: [{ b: ['\0'] }] }],
    ['a NUL in a name', { 'a\0': 1 }],
    ['a lone surrogate', { a: '\ud800' }],
    ['a number beyond all', JSON.parse('{"a": 1e400}')],
    ['a list', [1]],
    ['a text', 'x'],
  ])('refuses extra with %s: it could not be stored as it came', (_, extra) => {
    expect(faults({ extra }).join()).toMatch(/^extra/)
  })

  it('takes a text in extra that only looks like an escaped NUL', () => {
    expect(faults({ extra: { a: 'back\\u0000slash' } })).toEqual([])
  })

  it('answers a body that is nested without end with a fault, not with a broken stack', () => {
    let extra: unknown = 1
    for (let depth = 0; depth < 100_000; depth++) extra = [extra]
    expect(faults({ extra: { a: extra } }).join()).toMatch(/^extra/)
  })

  it('repeats no instructions in what it says about them', () => {
    expect(faults({ instructions: `${'secret'.repeat(50_000)}` }).join()).not.toContain('secret')
  })
})
