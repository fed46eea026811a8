import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { backoffMs, nextLookMs } from '../../machines/backoff.ts'

const fraction = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

describe('backoffMs', () => {
  it.each([
    [1, 500, 1_000],
    [2, 1_000, 2_000],
    [4, 4_000, 8_000],
    [9, 128_000, 256_000],
    [10, 150_000, 300_000],
    [1_000_000, 150_000, 300_000],
  ])('after %i failures waits between %i and %i ms', (failures, least, most) => {
    expect(backoffMs(failures, 0)).toBe(least)
    expect(backoffMs(failures, 1 - Number.EPSILON)).toBe(most)
  })

  it('stays within half of its step and the cap, whatever came before', () => {
    fc.assert(
      fc.property(fc.nat(), fraction, fc.integer({ min: 1, max: 10_000 }), (failures, chance, base) => {
        const ms = backoffMs(failures, chance, base, 60_000)
        expect(ms).toBeGreaterThanOrEqual(Math.floor(base / 2))
        expect(ms).toBeLessThanOrEqual(60_000)
      }),
    )
  })

  it('spreads those that failed together', () => {
    const waits = Array.from({ length: 100 }, (_, index) => backoffMs(5, index / 100))
    expect(new Set(waits).size).toBe(100)
  })
})

describe('nextLookMs', () => {
  it.each([
    [-5, 100],
    [0, 100],
    [400, 100],
    [4_000, 1_000],
    [20_000, 5_000],
    [86_400_000, 5_000],
  ])('after %i ms looks again in %i ms', (elapsed, expected) => {
    expect(nextLookMs(elapsed)).toBe(expected)
  })
})
