import { describe, expect, it } from 'vitest'
import { breaker } from '../../machines/breaker.ts'

const FAILED_AT = Date.UTC(2026, 0, 1)
const HOUR_S = 3_600
const revision = (failures: number, rounds = 0) => ({
  failures,
  rounds,
  lastFailedAt: failures > 0 ? new Date(FAILED_AT) : null,
  lastError: 'SetupFailed',
})
const secondsLater = (seconds: number, rounds = 0, openSeconds = 300) =>
  breaker(revision(3, rounds), { threshold: 3, openSeconds }, FAILED_AT + seconds * 1000)

describe('breaker', () => {
  it('is closed below the threshold', () => {
    expect(breaker(revision(2), { threshold: 3, openSeconds: 300 }, FAILED_AT)).toEqual({ state: 'closed' })
    expect(breaker(revision(0), { threshold: 1, openSeconds: 300 }, FAILED_AT)).toEqual({ state: 'closed' })
  })

  it('opens at the threshold, until its time is over, and lets one build through then', () => {
    expect(secondsLater(0)).toEqual({ state: 'open', untilMs: FAILED_AT + 300_000, error: 'SetupFailed' })
    expect(secondsLater(299.999).state).toBe('open')
    expect(secondsLater(300)).toEqual({ state: 'half-open', error: 'SetupFailed' })
  })

  it.each([
    [0, 300],
    [1, 600],
    [2, 1_200],
    [3, 2_400],
    [4, HOUR_S],
    [500, HOUR_S],
  ])('is open after %i rounds for %i s', (rounds, seconds) => {
    expect(secondsLater(seconds - 0.001, rounds).state).toBe('open')
    expect(secondsLater(seconds, rounds).state).toBe('half-open')
  })

  it.each([0, 1, 9])(
    'is never open for less than the spec asks, were it more than an hour (round %i)',
    (rounds) => {
      expect(secondsLater(86_399, rounds, 86_400).state).toBe('open')
      expect(secondsLater(86_400, rounds, 86_400).state).toBe('half-open')
    },
  )
})
