import { describe, expect, it } from 'vitest'
import { FRESH } from '../../machines/life.ts'
import { NOTHING_SEEN } from '../../machines/observed.ts'
import { step, VERSION } from '../../machines/step.ts'

const NOW = Date.UTC(2026, 0, 1)

describe('time in which the provider answered nobody', () => {
  it.each(['configuring', 'starting', 'sealing', 'checkpointing', 'arming', 'proving', 'marking'])(
    'is not counted against %s',
    (value) => {
      const from = { version: VERSION, value, context: { ...FRESH, seen: true, deadline: NOW - 1 } }
      const excused = step(from, { ...NOTHING_SEEN, now: NOW, excusedUntil: NOW + 1 })
      expect(excused.snapshot.value).toBe(value)
      expect(step(from, { ...NOTHING_SEEN, now: NOW, excusedUntil: NOW }).snapshot.value).toBe('deleting')
    },
  )
})
