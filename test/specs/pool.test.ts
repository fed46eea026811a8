import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Invalid } from '../../specs/errors.ts'
import {
  defaultSpec,
  differingFields,
  fieldsResetByPut,
  mergePatch,
  PoolName,
  parseSpec,
  specFromPatch,
  specFromPut,
  storedSpec,
} from '../../specs/pool.ts'

const DEFAULTS = defaultSpec({
  minIdle: 3,
  maxTotal: 50,
  template: { openclawRef: 'main', openclawRepo: 'https://example.org/openclaw.git', xmtpEnv: 'dev' },
  healIntervalSeconds: 20,
  createsPerMinute: 10,
})

/** Paths of what is wrong; none: it is a spec. */
function faultsOf(make: () => unknown): string[] {
  try {
    make()
    return []
  } catch (error) {
    if (!(error instanceof Invalid)) throw error
    return error.errors.map(({ path }) => path)
  }
}
const parseFaults = (patch: unknown) => faultsOf(() => parseSpec(mergePatch(DEFAULTS, patch)))

describe('parseSpec', () => {
  it('takes the defaults', () => {
    expect(parseSpec(DEFAULTS)).toEqual(DEFAULTS)
  })

  it.each<[string, unknown]>([
    ['minIdle', { minIdle: -1 }],
    ['minIdle', { minIdle: 10_001 }],
    ['minIdle', { minIdle: 1.5 }],
    ['minIdle', { minIdle: '3' }],
    ['maxTotal', { maxTotal: 0 }],
    ['maxTotal', { maxTotal: 20_001 }],
    ['maxIdle', { maxIdle: -1 }],
    ['claim.onEmpty', { claim: { onEmpty: 'later' } }],
    ['claim.ttlSeconds', { claim: { ttlSeconds: 9 } }],
    ['claim.joinRequests.intervalSeconds', { claim: { joinRequests: { intervalSeconds: 0 } } }],
    ['recycle.maxReuses', { recycle: { maxReuses: 1001 } }],
    ['heal.strikes', { heal: { strikes: 0 } }],
    ['limits.createConcurrency', { limits: { createConcurrency: 1001 } }],
    ['limits.createsPerMinute', { limits: { createsPerMinute: 0 } }],
    ['failure.threshold', { failure: { threshold: 0 } }],
    ['paused.create', { paused: { create: 'yes' } }],
    ['template.xmtpEnv', { template: { xmtpEnv: 'local' } }],
    ['template.openclawRef', { template: { openclawRef: '' } }],
    ['template.openclawRef', { template: { openclawRef: 'main; rm -rf /' } }],
    ['template.openclawRef', { template: { openclawRef: 'main\nx' } }],
    ['template.openclawRef', { template: { openclawRef: 'main\n' } }],
    ['template.openclawRef', { template: { openclawRef: '--help' } }],
    ['template.openclawRepo', { template: { openclawRepo: '-c' } }],
    ['template.openclawRepo', { template: { openclawRepo: '$(curl example.org)' } }],
    ['minidle', { minidle: 5 }],
    ['claim.joinRequests.every', { claim: { joinRequests: { every: 5 } } }],
    ['limits', { limits: 5 }],
    ['limits', { limits: [] }],
    ['limits', { limits: 'many' }],
  ])('names %s as what is wrong with %j', (path, patch) => {
    expect([...new Set(parseFaults(patch))]).toEqual([path])
  })

  it.each([
    { minIdle: 0 },
    { minIdle: 10_000 },
    { maxTotal: 1 },
    { maxTotal: 20_000 },
    { minIdle: 60 }, // above maxTotal: a condition says what stays unbuilt
    { claim: { ttlSeconds: 10 } },
    { template: { openclawRef: 'refs/heads/feature_1.2-x@0' } },
    { template: { openclawRepo: 'git@github.com:owner/openclaw.git' } },
  ])('takes %j', (patch) => {
    expect(parseFaults(patch)).toEqual([])
  })

  it('names all faults at once, in words and with the range', () => {
    const faulty = { minIdle: -1, heal: { strikes: 99 }, nonsense: true }
    expect(parseFaults(faulty).sort()).toEqual(['heal.strikes', 'minIdle', 'nonsense'])
    expect(() => parseSpec(mergePatch(DEFAULTS, faulty))).toThrow(/minIdle: .*>=0/)
    expect(() => parseSpec(mergePatch(DEFAULTS, faulty))).toThrow(/heal\.strikes: .*<=20/)
  })

  it.each([null, [], 'spec', 7, undefined])('refuses %j as a whole', (value) => {
    expect(faultsOf(() => parseSpec(value))).toEqual([''])
  })
})

describe('mergePatch', () => {
  it.each<[unknown, unknown, unknown]>([
    // The examples of RFC 7396, appendix A: target, patch, result.
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{ a: 'b' }, ['c'], ['c']],
    [{ a: 'foo' }, null, null],
    [{ a: 'foo' }, 'bar', 'bar'],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])('lays over %j the patch %j and gets %j', (target, patch, result) => {
    expect(mergePatch(target, patch)).toEqual(result)
  })

  it('changes neither of the two, and says the same when it is done twice', () => {
    const anyJson = fc.jsonValue({ maxDepth: 3 })
    fc.assert(
      fc.property(anyJson, anyJson, (target, patch) => {
        const before = JSON.stringify([target, patch])
        const once = mergePatch(target, patch)
        expect(JSON.stringify([target, patch])).toBe(before)
        expect(mergePatch(once, patch)).toEqual(once)
      }),
    )
  })

  it('reaches no prototype', () => {
    const patch: unknown = JSON.parse(
      '{"__proto__": {"polluted": true}, "constructor": {"prototype": {"polluted": true}}}',
    )
    mergePatch({}, patch)
    expect('polluted' in {}).toBe(false)
  })
})

describe('PUT', () => {
  it('gives what is left out its default', () => {
    expect(specFromPut({}, DEFAULTS)).toEqual(DEFAULTS)
    expect(specFromPut({ minIdle: 5 }, DEFAULTS)).toEqual({ ...DEFAULTS, minIdle: 5 })
    const ref = specFromPut({ template: { openclawRef: 'staging' } }, DEFAULTS).template
    expect(ref).toEqual({ ...DEFAULTS.template, openclawRef: 'staging' })
  })

  it('reads null as the default, where null is a value too', () => {
    const put = { minIdle: null, maxIdle: null, claim: { ttlSeconds: null }, recycle: null }
    expect(specFromPut(put, DEFAULTS)).toEqual(DEFAULTS)
  })

  it.each([null, [], 'x', 5])('refuses the body %j', (body) => {
    expect(faultsOf(() => specFromPut(body, DEFAULTS))).toEqual([''])
  })

  it('names unknown and wrong fields, also within what it fills up', () => {
    expect(faultsOf(() => specFromPut({ claim: { on_empty: 'wait' }, limits: 3 }, DEFAULTS)).sort()).toEqual([
      'claim.on_empty',
      'limits',
    ])
  })
})

describe('PATCH', () => {
  const current = specFromPut(
    { minIdle: 7, maxIdle: 9, claim: { ttlSeconds: 60, onEmpty: 'wait' } },
    DEFAULTS,
  )

  it('changes only what it names', () => {
    expect(specFromPatch(current, {}, DEFAULTS)).toEqual(current)
    expect(specFromPatch(current, { claim: { onEmpty: 'reject' } }, DEFAULTS)).toEqual({
      ...current,
      claim: { ...current.claim, onEmpty: 'reject' },
    })
  })

  it('puts the default back for null, on every level', () => {
    expect(specFromPatch(current, { minIdle: null }, DEFAULTS).minIdle).toBe(3)
    expect(specFromPatch(current, { maxIdle: null, claim: { ttlSeconds: null } }, DEFAULTS)).toMatchObject({
      maxIdle: null,
      claim: { ttlSeconds: null, onEmpty: 'wait' },
    })
    expect(specFromPatch(current, { claim: null }, DEFAULTS).claim).toEqual(DEFAULTS.claim)
  })

  it('fills in a field that an older row does not have', () => {
    const { heal: _, ...older } = current
    expect(specFromPatch(older as typeof current, { minIdle: 1 }, DEFAULTS).heal).toEqual(DEFAULTS.heal)
  })

  it('refuses what is no object, or would make no spec', () => {
    expect(faultsOf(() => specFromPatch(current, [], DEFAULTS))).toEqual([''])
    expect(faultsOf(() => specFromPatch(current, { minIdle: 'x' }, DEFAULTS))).toEqual(['minIdle'])
  })
})

describe('fieldsResetByPut', () => {
  const current = specFromPut({ minIdle: 7, claim: { ttlSeconds: 60 } }, DEFAULTS)
  const reset = (body: unknown) => fieldsResetByPut(current, body, specFromPut(body, DEFAULTS))

  it.each<[unknown, string[]]>([
    [{ minIdle: 5 }, ['claim.ttlSeconds']],
    [{ maxTotal: 40 }, ['minIdle', 'claim.ttlSeconds']],
    [{ minIdle: 7, claim: { ttlSeconds: 60 } }, []],
    [{ minIdle: 7, claim: { ttlSeconds: null } }, []],
    [{ minIdle: null, claim: null }, []],
    [{ minIdle: 7, claim: { onEmpty: 'wait' } }, ['claim.ttlSeconds']],
    [{}, ['minIdle', 'claim.ttlSeconds']],
  ])('says of %j that it would reset %j', (body, expected) => {
    expect(reset(body)).toEqual(expected)
  })

  it('is empty for a PUT of what was read', () => {
    expect(reset(current)).toEqual([])
  })
})

describe('differingFields', () => {
  it('names leaves, by their paths', () => {
    const other = { ...DEFAULTS, minIdle: 1, claim: { ...DEFAULTS.claim, ttlSeconds: 60 } }
    expect(differingFields(DEFAULTS, other)).toEqual(['minIdle', 'claim.ttlSeconds'])
    expect(differingFields(DEFAULTS, structuredClone(DEFAULTS))).toEqual([])
  })
})

describe('PoolName', () => {
  it.each(['default', 'a', 'a-1', 'a'.repeat(31)])('takes %s', (name) => {
    expect(PoolName.safeParse(name).success).toBe(true)
  })
  it.each(['', '1a', '-a', 'A', 'a_b', 'a b', 'a\n', 'a'.repeat(32), '../x'])('refuses %j', (name) => {
    expect(PoolName.safeParse(name).success).toBe(false)
  })
})

describe('a stored spec', () => {
  it('of an older release takes the defaults of the fields that it did not know', () => {
    const { failure: _, claim, ...older } = DEFAULTS
    const { joinRequests: __, ...olderClaim } = claim
    expect(storedSpec({ ...older, claim: olderClaim, maxIdle: 7 })).toEqual({ ...DEFAULTS, maxIdle: 7 })
  })

  it.each([
    ['an unknown field', { ...DEFAULTS, minIdel: 3 }],
    ['a wrong value', { ...DEFAULTS, minIdle: 'three' }],
    ['no template', { ...DEFAULTS, template: undefined }],
    ['no count', { ...DEFAULTS, minIdle: undefined }],
    ['no object', null],
  ])('with %s does not parse', (_, raw) => {
    expect(storedSpec(raw)).toBeNull()
  })
})

describe('the address of the repository', () => {
  it.each([
    'https://token@github.com/acme/openclaw',
    'https://me:token@github.com/acme/openclaw',
    'HTTPS://x@y/z',
  ])('%s is refused: whoever reads the spec would read the token', (openclawRepo) => {
    expect(() => parseSpec({ ...DEFAULTS, template: { ...DEFAULTS.template, openclawRepo } })).toThrow(
      'template.openclawRepo: openclawRepo may not carry a user or a token',
    )
  })

  it.each(['https://github.com/acme/openclaw', 'file:///data/openclaw.git', 'git@github.com:acme/openclaw'])(
    '%s is taken',
    (openclawRepo) => {
      expect(
        parseSpec({ ...DEFAULTS, template: { ...DEFAULTS.template, openclawRepo } }).template.openclawRepo,
      ).toBe(openclawRepo)
    },
  )
})
