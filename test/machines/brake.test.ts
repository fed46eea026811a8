import { describe, expect, it } from 'vitest'
import { isBraked, isMassLoss, type Losses } from '../../machines/brake.ts'

const MINUTE = 60_000
const losses = (facts: Partial<Losses>): Losses => ({
  expected: 10,
  missing: 0,
  lost: 0,
  since: null,
  lists: 0,
  ...facts,
})

describe('more missing than may be believed at once', () => {
  it.each([
    ['nothing', {}, false],
    ['three of ten', { missing: 3 }, false],
    ['half of ten', { missing: 5 }, false],
    ['more than half of ten', { missing: 6 }, true],
    ['three of three would be an empty list', { expected: 3, missing: 3 }, true],
    ['two of three', { expected: 3, missing: 2 }, false],
    ['the only one', { expected: 1, missing: 1 }, false],
    ['a trickle: four were lost lately, two more are missing', { missing: 2, lost: 4 }, true],
    ['four were lost lately, nothing is missing now', { lost: 9 }, false],
    ['a third of a thousand', { expected: 1000, missing: 333 }, false],
    ['all of a thousand', { expected: 1000, missing: 1000 }, true],
  ])('%s', (_, facts, expected) => {
    expect(isMassLoss(losses(facts))).toBe(expected)
  })
})

describe('the brake', () => {
  it.each([
    ['is on at the first list', { since: null, lists: 0 }, 0, true],
    ['is on after three lists in a minute', { since: 0, lists: 3 }, MINUTE, true],
    ['is on after two lists in an hour', { since: 0, lists: 2 }, 60 * MINUTE, true],
    ['is on a moment before fifteen minutes', { since: 0, lists: 9 }, 15 * MINUTE - 1, true],
    ['ends when three lists over fifteen minutes agree', { since: 0, lists: 3 }, 15 * MINUTE, false],
  ])('%s', (_, facts, now, expected) => {
    expect(isBraked(losses({ missing: 10, ...facts }), now)).toBe(expected)
  })

  it('is off for few', () => {
    expect(isBraked(losses({ missing: 3 }), 0)).toBe(false)
  })
})
