import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Breaker } from '../../machines/breaker.ts'
import { type Group, type PlanInput, planPool } from '../../machines/pool-plan.ts'
import { defaultSpec, type PoolSpec } from '../../specs/pool.ts'

const SPEC = defaultSpec({
  minIdle: 3,
  maxTotal: 50,
  template: { openclawRef: 'main', openclawRepo: 'https://example.org/openclaw.git', xmtpEnv: 'dev' },
  healIntervalSeconds: 20,
  createsPerMinute: 10,
})

const group = (status: Group['status'], count: number, more: Partial<Group> = {}): Group => ({
  status,
  wanted: 'present',
  shelf: status === 'idle',
  count,
  ...more,
})

type Edit = { [K in keyof PoolSpec]?: PoolSpec[K] extends object ? Partial<PoolSpec[K]> : PoolSpec[K] }

function plan(groups: Group[], edit: Edit = {}, more: Partial<Omit<PlanInput, 'spec' | 'groups'>> = {}) {
  const spec = {
    ...SPEC,
    ...edit,
    limits: { ...SPEC.limits, ...edit.limits },
    paused: { ...SPEC.paused, ...edit.paused },
  } as PoolSpec
  return planPool({ spec, groups, waiting: 0, orphans: 0, breaker: { state: 'closed' }, ...more })
}

const condition = ({ conditions }: ReturnType<typeof planPool>, type: string) =>
  conditions.find((each) => each.type === type)

const OPEN: Breaker = { state: 'open', untilMs: Date.UTC(2026, 0, 1), error: 'no such ref' }
const HALF_OPEN: Breaker = { state: 'half-open', error: 'no such ref' }

describe('planPool', () => {
  it.each<[string, Group[], Edit, Partial<PlanInput>, { create: number; remove: number }]>([
    ['fills an empty pool to minIdle', [], {}, {}, { create: 3, remove: 0 }],
    ['counts what is on its way', [group('provisioning', 2)], {}, {}, { create: 1, remove: 0 }],
    ['counts what is being recycled', [group('recycling', 3)], {}, {}, { create: 0, remove: 0 }],
    ['does not count what is ill', [group('recovering', 3)], {}, {}, { create: 3, remove: 0 }],
    [
      'does not count what is on its way out',
      [group('provisioning', 3, { wanted: 'absent' })],
      {},
      {},
      { create: 3, remove: 0 },
    ],
    [
      'does not count an idle one that is missed',
      [group('idle', 3, { shelf: false })],
      {},
      {},
      { create: 3, remove: 0 },
    ],
    [
      'makes one for each claim in the line',
      [group('idle', 3)],
      {},
      { waiting: 2 },
      { create: 2, remove: 0 },
    ],
    ['leaves what is above minIdle alone', [group('idle', 9)], {}, {}, { create: 0, remove: 0 }],
    ['removes what is above maxIdle', [group('idle', 9)], { maxIdle: 5 }, {}, { create: 0, remove: 4 }],
    [
      'keeps minIdle where maxIdle is below it',
      [group('idle', 9)],
      { maxIdle: 1 },
      {},
      { create: 0, remove: 6 },
    ],
    [
      'keeps one for each claim in the line',
      [group('idle', 9)],
      { maxIdle: 3 },
      { waiting: 2 },
      { create: 0, remove: 4 },
    ],
    ['stops at maxTotal', [group('claimed', 48)], {}, {}, { create: 2, remove: 0 }],
    [
      'counts what is being deleted until it is gone',
      [group('deleting', 49)],
      {},
      {},
      { create: 1, remove: 0 },
    ],
    [
      'creates nothing before it is known what has no row',
      [],
      {},
      { orphans: null },
      { create: 0, remove: 0 },
    ],
    [
      'builds anew for one whose Sprite is missing',
      [{ ...group('provisioning', 3), missing: true }],
      {},
      {},
      { create: 3, remove: 0 },
    ],
    ['counts orphans', [group('claimed', 40)], {}, { orphans: 9 }, { create: 1, remove: 0 }],
    [
      'removes no idle one for an orphan that is found',
      [group('idle', 50)],
      {},
      { orphans: 9 },
      { create: 0, remove: 0 },
    ],
    [
      'removes idle ones when maxTotal was lowered',
      [group('claimed', 8), group('idle', 3)],
      { maxTotal: 9 },
      {},
      { create: 0, remove: 2 },
    ],
    [
      'removes no claimed ones for it',
      [group('claimed', 12), group('idle', 1)],
      { maxTotal: 5 },
      {},
      { create: 0, remove: 1 },
    ],
    [
      'removes no more for it than is not leaving already',
      [group('deleting', 2), group('idle', 3)],
      { maxTotal: 3 },
      {},
      { create: 0, remove: 0 },
    ],
    [
      'builds so many at a time',
      [group('provisioning', 4)],
      { minIdle: 20, limits: { createConcurrency: 5 } },
      {},
      { create: 1, remove: 0 },
    ],
    [
      'creates nothing while creation is paused',
      [],
      { paused: { create: true } },
      {},
      { create: 0, remove: 0 },
    ],
    [
      'removes nothing while deletion is paused',
      [group('idle', 9)],
      { maxIdle: 3, paused: { delete: true } },
      {},
      { create: 0, remove: 0 },
    ],
    ['creates nothing while the breaker is open', [], {}, { breaker: OPEN }, { create: 0, remove: 0 }],
    ['tries one build when it is half open', [], {}, { breaker: HALF_OPEN }, { create: 1, remove: 0 }],
    [
      'and no second beside it',
      [group('provisioning', 1)],
      {},
      { breaker: HALF_OPEN },
      { create: 0, remove: 0 },
    ],
    [
      'tries none that nobody needs',
      [group('idle', 3)],
      {},
      { breaker: HALF_OPEN },
      { create: 0, remove: 0 },
    ],
    ['rests', [group('idle', 3), group('claimed', 5)], {}, {}, { create: 0, remove: 0 }],
  ])('%s', (_, groups, edit, more, expected) => {
    expect(plan(groups, edit, more)).toMatchObject(expected)
  })

  it('answers fifty claims at once with exactly the builds that they need', () => {
    const before = [group('idle', 53)]
    expect(plan(before, { minIdle: 53, maxTotal: 200 }).create).toBe(0)
    const after = [group('idle', 3), group('claimed', 50)]
    const { create } = plan(after, { minIdle: 53, maxTotal: 200 })
    expect(create).toBe(50)
    expect(plan([...after, group('provisioning', create)], { minIdle: 53, maxTotal: 200 }).create).toBe(0)
  })

  it('says what stays unbuilt where minIdle is above maxTotal', () => {
    const full = plan([group('idle', 5)], { minIdle: 8, maxTotal: 5 })
    expect(full).toMatchObject({ create: 0, remove: 0 })
    expect(condition(full, 'AtCapacity')).toMatchObject({ status: 'True', reason: 'MaxTotal' })
    expect(condition(full, 'AtCapacity')?.message).toMatch(/^3 stay unbuilt/)
    expect(full.sentences.join()).toContain('3 stay unbuilt')
  })

  it.each<[string, string, Group[], Edit, Partial<PlanInput>, string]>([
    ['Ready', 'True', [group('idle', 3)], {}, {}, 'EnoughIdle'],
    ['Ready', 'False', [group('provisioning', 3)], {}, {}, 'Building'],
    ['Ready', 'False', [], { paused: { create: true } }, {}, 'TooFewIdle'],
    ['Available', 'True', [group('idle', 1)], {}, {}, 'Idle'],
    ['Available', 'False', [], {}, {}, 'Empty'],
    ['AtCapacity', 'False', [], {}, {}, 'Room'],
    ['BreakerOpen', 'False', [], {}, {}, 'BuildsWork'],
    ['BreakerOpen', 'True', [], {}, { breaker: OPEN }, 'BuildsFail'],
    ['BreakerOpen', 'True', [], {}, { breaker: HALF_OPEN }, 'Trying'],
    ['Paused', 'False', [], {}, {}, 'Running'],
    ['Paused', 'True', [], { paused: { heal: true } }, {}, 'ByOperator'],
  ])('says %s %s in each case that calls for it (%#)', (type, status, groups, edit, more, reason) => {
    const found = condition(plan(groups, edit, more), type)
    expect(found).toMatchObject({ status, reason })
    expect(found?.message).not.toBe('')
  })

  it('says when the next try is, and why the last one failed', () => {
    const message = condition(plan([], {}, { breaker: OPEN }), 'BreakerOpen')?.message
    expect(message).toContain('no such ref')
    expect(message).toContain('2026-01-01T00:00:00.000Z')
  })
})

const STATUSES = [
  'provisioning',
  'idle',
  'claimed',
  'recycling',
  'recovering',
  'quarantined',
  'deleting',
] as const
const anyGroups = fc.array(
  fc
    .record({
      status: fc.constantFrom(...STATUSES),
      wanted: fc.constantFrom('present' as const, 'absent' as const),
      missed: fc.boolean(),
      count: fc.nat(30),
    })
    .map(({ status, wanted, missed, count }): Group => {
      return { status, wanted, shelf: status === 'idle' && wanted === 'present' && !missed, count }
    }),
  { maxLength: 8 },
)
const anyBreaker = fc.constantFrom<Breaker>({ state: 'closed' }, OPEN, HALF_OPEN)
const anyInput: fc.Arbitrary<PlanInput> = fc
  .record({
    groups: anyGroups,
    minIdle: fc.nat(40),
    maxTotal: fc.integer({ min: 1, max: 120 }),
    maxIdle: fc.option(fc.nat(40)),
    createConcurrency: fc.integer({ min: 1, max: 60 }),
    paused: fc.record({ create: fc.boolean(), delete: fc.boolean(), heal: fc.boolean() }),
    waiting: fc.nat(20),
    orphans: fc.nat(5),
    breaker: anyBreaker,
  })
  .map(({ groups, minIdle, maxTotal, maxIdle, createConcurrency, paused, ...rest }) => ({
    ...rest,
    groups,
    spec: { ...SPEC, minIdle, maxTotal, maxIdle, paused, limits: { ...SPEC.limits, createConcurrency } },
  }))

const countOf = ({ groups }: PlanInput, test: (group: Group) => boolean) =>
  groups.filter(test).reduce((sum, { count }) => sum + count, 0)
const aliveOf = (input: PlanInput) => countOf(input, () => true) + (input.orphans ?? 0)
const shelfOf = (input: PlanInput) => countOf(input, ({ shelf }) => shelf)
const comingOf = (input: PlanInput) =>
  countOf(
    input,
    ({ status, wanted }) => wanted === 'present' && ['provisioning', 'recycling'].includes(status),
  )

/** The pool as it is once the plan's rows are written. */
const carriedOut = (input: PlanInput): PlanInput => {
  const { create, remove } = planPool(input)
  let left = remove
  const groups = input.groups.map((each) => {
    if (!each.shelf) return each
    const taken = Math.min(left, each.count)
    left -= taken
    return { ...each, count: each.count - taken }
  })
  return { ...input, groups: [...groups, group('provisioning', create), group('deleting', remove)] }
}

describe('every plan', () => {
  const check = (holds: (input: PlanInput) => void) =>
    fc.assert(fc.property(anyInput, holds), { numRuns: 2_000 })

  it('creates no more than there is room for, places to build in, and need of', () => {
    check((input) => {
      const { create } = planPool(input)
      const building = countOf(input, ({ status }) => status === 'provisioning')
      const need = input.spec.minIdle + input.waiting - shelfOf(input) - comingOf(input)
      expect(create).toBeGreaterThanOrEqual(0)
      expect(create).toBeLessThanOrEqual(Math.max(0, input.spec.maxTotal - aliveOf(input)))
      expect(create).toBeLessThanOrEqual(Math.max(0, input.spec.limits.createConcurrency - building))
      expect(create).toBeLessThanOrEqual(Math.max(0, need))
    })
  })

  it('holds creation back while it is paused or the breaker is not closed', () => {
    check((input) => {
      const { create } = planPool(input)
      if (input.spec.paused.create || input.breaker.state === 'open') expect(create).toBe(0)
      if (input.breaker.state === 'half-open') expect(create).toBeLessThanOrEqual(1)
    })
  })

  it('leaves minIdle and one for each claim in the line, unless maxTotal was lowered below what lives', () => {
    check((input) => {
      const { remove } = planPool(input)
      const left = shelfOf(input) - remove
      expect(remove).toBeGreaterThanOrEqual(0)
      expect(left).toBeGreaterThanOrEqual(0)
      if (remove > 0 && aliveOf(input) <= input.spec.maxTotal)
        expect(left).toBeGreaterThanOrEqual(
          Math.max(input.spec.minIdle + input.waiting, input.spec.maxIdle ?? 0),
        )
    })
  })

  it('never makes and removes in one, and removes nothing while deletion is paused', () => {
    check((input) => {
      const { create, remove } = planPool(input)
      expect(Math.min(create, remove)).toBe(0)
      if (input.spec.paused.delete) expect(remove).toBe(0)
    })
  })

  it('has nothing left to do once it is carried out, but for the places to build in', () => {
    check((input) => {
      const next = planPool(carriedOut(input))
      expect(next.remove).toBe(0)
      if (input.breaker.state === 'closed') expect(next.create).toBe(0)
    })
  })

  it('creates no less for a higher minIdle or a longer line, and no more for a longer shelf', () => {
    check((input) => {
      const { create } = planPool(input)
      const { spec } = input
      expect(
        planPool({ ...input, spec: { ...spec, minIdle: spec.minIdle + 1 } }).create,
      ).toBeGreaterThanOrEqual(create)
      expect(planPool({ ...input, waiting: input.waiting + 1 }).create).toBeGreaterThanOrEqual(create)
      expect(planPool({ ...input, groups: [...input.groups, group('idle', 1)] }).create).toBeLessThanOrEqual(
        create,
      )
    })
  })

  it('speaks for each condition once, and has something to say', () => {
    check((input) => {
      const { conditions, sentences } = planPool(input)
      expect(conditions.map(({ type }) => type)).toEqual([
        'Ready',
        'Available',
        'AtCapacity',
        'BreakerOpen',
        'Paused',
      ])
      expect(sentences.length).toBeGreaterThan(0)
    })
  })
})
