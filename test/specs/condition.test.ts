import { describe, expect, it } from 'vitest'
import { type Condition, type ConditionNow, setConditions } from '../../specs/condition.ts'

const THEN = Date.UTC(2026, 0, 1)
const NOW = Date.UTC(2026, 0, 2)
const iso = (ms: number) => new Date(ms).toISOString()

const now = (more: Partial<ConditionNow> = {}): ConditionNow => ({
  type: 'Ready',
  status: 'True',
  reason: 'EnoughIdle',
  message: '3 idle.',
  ...more,
})
const stored = (more: Partial<Condition> = {}): Condition => ({
  ...now(),
  lastTransitionAt: iso(THEN),
  observedGeneration: 1,
  ...more,
})

describe('setConditions', () => {
  it('dates a new one now', () => {
    expect(setConditions([], [now()], NOW, 1)).toEqual([stored({ lastTransitionAt: iso(NOW) })])
  })

  it('returns the same list where nothing changed, so that nothing is written', () => {
    const conditions = [stored()]
    expect(setConditions(conditions, [now()], NOW, 1)).toBe(conditions)
    expect(setConditions(conditions, [], NOW, 1)).toBe(conditions)
  })

  it.each<[string, Partial<ConditionNow>, number]>([
    ['reason', { reason: 'Building' }, 1],
    ['message', { message: '4 idle.' }, 1],
    ['generation', {}, 2],
  ])('keeps the time of the last flip when only the %s changed', (_, more, generation) => {
    const [changed] = setConditions([stored()], [now(more)], NOW, generation)
    expect(changed).toEqual(stored({ ...more, observedGeneration: generation }))
  })

  it.each(['False', 'Unknown'] as const)('dates a flip to %s now', (status) => {
    expect(setConditions([stored()], [now({ status })], NOW, 1)).toEqual([
      stored({ status, lastTransitionAt: iso(NOW) }),
    ])
  })

  it('keeps the order of first appearance and those that nobody spoke of, and leaves the old list as it was', () => {
    const old = [stored({ type: 'A' }), stored({ type: 'B' })]
    const next = setConditions(old, [now({ type: 'C' }), now({ type: 'A', status: 'False' })], NOW, 1)
    expect(next.map(({ type }) => type)).toEqual(['A', 'B', 'C'])
    expect(next[1]).toBe(old[1])
    expect(old[0]).toEqual(stored({ type: 'A' }))
  })
})
