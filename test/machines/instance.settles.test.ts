import { beforeAll, describe, expect, it } from 'vitest'
import { initialSnapshot, type Snapshot } from '../../machines/step.ts'
import { explore, type Node } from './explore.ts'
import { type Found, type Row, settle } from './good-sprite.ts'

const HOUR_MS = 3_600_000
const PRESENT = { exists: true, built: true, used: false }
const USED = { exists: true, built: true, used: true }
const BARE = { exists: true, built: false, used: false }
const LOST = { exists: false, built: false, used: false }
const FREE: Row = { wanted: true, claim: 'none', joins: false, attempt: null }
const HELD: Row = { ...FREE, claim: 'live' }

let nodes: Node[]

beforeAll(() => {
  nodes = explore().nodes.filter(({ snapshot }) => snapshot.value !== 'gone')
}, 120_000)

const isHeld = ({ value, context }: Snapshot) =>
  ['delivering', 'awaiting', 'claimed'].includes(value) || context.from === 'claimed'

/** The row as it can stand beside this snapshot: who holds it, and the call that another run may have begun. */
function rowBeside({ value }: Snapshot, at: number, held: boolean, joins: boolean): Row {
  const attempt = ['delivering', 'restoring'].includes(value)
    ? { by: 'another' as const, until: at + 95_000 }
    : null
  return { wanted: true, claim: held ? 'live' : 'none', joins, attempt }
}

describe('once the world behaves', () => {
  it.each<[string, Found]>([
    ['whole and unused', PRESENT],
    ['used by somebody', USED],
    ['bare', BARE],
    ['gone', LOST],
    ['whole, but with a service that cannot be restarted', { ...PRESENT, unrestartable: true }],
  ])('every history ends in a settled state within hours, its Sprite found %s', (_, found) => {
    for (const { snapshot, at } of nodes)
      for (const joins of [false, true]) {
        const held = isHeld(snapshot)
        const ready = snapshot.value === 'claimed' || snapshot.context.from === 'claimed'
        if (ready && found.exists && !found.used) continue // it lost its conversation: ill for good, and kept
        const end = settle(snapshot, at, found, rowBeside(snapshot, at, held, joins))
        expect(['idle', 'claimed', 'gone', 'quarantined']).toContain(end.snapshot.value)
        if (end.snapshot.value === 'quarantined') expect(snapshot.value).toBe('quarantined')
        expect(end.at - at).toBeLessThan(2 * HOUR_MS)
      }
  })

  it('everything unwanted goes, whatever it was doing', () => {
    for (const { snapshot, at } of nodes)
      for (const found of [PRESENT, USED, BARE, LOST]) {
        const row = { ...rowBeside(snapshot, at, isHeld(snapshot), false), wanted: false }
        const end = settle(snapshot, at, found, row)
        expect(end.snapshot.value).toBe('gone')
        if (snapshot.value !== 'deleting' && end.through.includes('deleting'))
          expect(end.row.claim).toBe('none')
      }
  })

  it('every released one comes back to the shelf through marking, restoring, proving and arming', () => {
    for (const { snapshot, at } of nodes.filter(
      (node) => node.snapshot.value === 'claimed' || node.snapshot.context.from === 'claimed',
    )) {
      const end = settle(snapshot, at, USED, { ...HELD, claim: 'released' })
      expect(end.through.slice(-5)).toEqual(['marking', 'restoring', 'proving', 'arming', 'idle'])
    }
  })
})

describe('a new one', () => {
  const build = (found: Found = LOST) => settle(initialSnapshot(), 1_000, found, FREE)

  it('is built once, each thing asked for once, and is idle within minutes', () => {
    const end = build()
    expect(end.through).toEqual([
      'pending',
      'installing',
      'configuring',
      'starting',
      'proving',
      'sealing',
      'checkpointing',
      'arming',
      'idle',
    ])
    expect(end.asked).toEqual([
      'createSprite',
      'startSetup',
      'writeConfig',
      'putService',
      'seal',
      'createCheckpoint',
      'writeConfig',
      'putService',
    ])
    expect(end.at).toBeLessThan(420_000)
  })

  it('goes on with a Sprite that an earlier run has made', () => {
    expect(build(BARE).asked).not.toContain('createSprite')
    expect(build(BARE).snapshot.value).toBe('idle')
  })
})

describe('an idle one', () => {
  const idle = () => settle(initialSnapshot(), 1_000, LOST, FREE)

  it('delivers to a claim with one request', () => {
    const { snapshot, at } = idle()
    const end = settle(snapshot, at, PRESENT, HELD)
    expect(end.through).toEqual(['idle', 'delivering', 'claimed'])
    expect(end.asked).toEqual(['deliver'])
    expect(end.effects).toEqual(['beginDelivery', 'endAttempt', 'claimReady'])
    expect(end.at).toBe(at)
  })

  it('asks again for a join until the inviter approves, and then is claimed', () => {
    const { snapshot, at } = idle()
    const end = settle(snapshot, at, { ...PRESENT, approvedAtTry: 3 }, { ...HELD, joins: true })
    expect(end.through).toEqual(['idle', 'delivering', 'awaiting', 'claimed'])
    expect(end.asked).toEqual(['deliver', 'deliver', 'deliver'])
    expect(end.at - at).toBeGreaterThanOrEqual(90_000) // 30 s, then twice that
  })

  it('fails a join that nobody approves, and is recycled', () => {
    const { snapshot, at } = idle()
    const end = settle(snapshot, at, { ...PRESENT, approvedAtTry: null }, { ...HELD, joins: true })
    expect(end.through).toEqual([
      'idle',
      'delivering',
      'awaiting',
      'marking',
      'restoring',
      'proving',
      'arming',
      'idle',
    ])
    expect(end.asked.filter((intent) => intent === 'deliver')).toHaveLength(3)
    expect(end.effects).toContain('claimFailed')
  })

  it('sends its claim back to the line when its Sprite is missing, and is gone', () => {
    const { snapshot, at } = idle()
    const end = settle(snapshot, at, LOST, HELD)
    expect(end.effects).toContain('claimBackToLine')
    expect(end.through).toEqual(['idle', 'gone'])
    expect(end.asked).toEqual([])
  })

  it('that is dirty is recycled, and that is ill is repaired', () => {
    const { snapshot, at } = idle()
    expect(settle(snapshot, at, USED, FREE).through.slice(0, 2)).toEqual(['idle', 'marking'])
    const stuck = settle(snapshot, at, { ...BARE, unrestartable: true }, FREE)
    expect(stuck.through.slice(0, 2)).toEqual(['idle', 'recovering'])
  })
})
