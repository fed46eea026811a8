import { describe, expect, it } from 'vitest'
import { FRESH } from '../../machines/life.ts'
import { NOTHING_SEEN, type Observed } from '../../machines/observed.ts'
import { step, VERSION } from '../../machines/step.ts'

const NOW = Date.UTC(2026, 0, 1)
const from = (value: string) => ({
  version: VERSION,
  value,
  context: { ...FRESH, seen: true, deadline: NOW + 100_000, joinTries: 1, nextJoinAt: NOW - 1 },
})
const world = (facets: Partial<Observed>): Observed => ({
  ...NOTHING_SEEN,
  now: NOW,
  claim: 'live',
  attempt: 'reported',
  ...facets,
})

describe('a call of the leader before us, which said that it still reports', () => {
  it.each([
    ['a conversation', 'delivering', world({})],
    ['a join', 'delivering', world({ joins: true })],
    ['a second join', 'awaiting', world({ joins: true })],
    ['a restore', 'restoring', world({ claim: 'none' })],
    ['a restore that needs no complete', 'restoring', world({ claim: 'none', requireComplete: false })],
  ])('%s is let be', (_, state, observed) => {
    expect(step(from(state), observed)).toMatchObject({ moved: false, intent: null })
  })

  it.each([
    ['a conversation', 'delivering', world({ attempt: 'overdue' }), 'marking'],
    ['a restore', 'restoring', world({ claim: 'none', attempt: 'overdue' }), 'deleting'],
  ])('%s that nobody reported in time is unknown', (_, state, observed, target) => {
    expect(step(from(state), observed).snapshot.value).toBe(target)
  })

  it('does not keep an operator from destroying it', () => {
    expect(step(from('restoring'), world({ wanted: false })).snapshot.value).toBe('deleting')
  })
})
