import { describe, expect, it } from 'vitest'
import { type Context, FRESH } from '../../machines/life.ts'
import { NOTHING_SEEN, type Observed } from '../../machines/observed.ts'
import { decode, initialSnapshot, step, VERSION } from '../../machines/step.ts'

const NOW = 1_000_000
const at = (value: string, context: Partial<Context> = {}) => ({
  version: VERSION,
  value,
  context: { ...FRESH, seen: true, ...context },
})
const world = (facets: Partial<Observed> = {}): Observed => ({ ...NOTHING_SEEN, now: NOW, ...facets })

/** `state: effect + effect`, or `state? intent`, or the state alone where the pass waits. */
function told(value: string, facets: Partial<Observed>, context: Partial<Context> = {}): string {
  const { snapshot, intent, effects } = step(at(value, context), world(facets))
  if (intent) return `${snapshot.value}? ${intent}`
  const types = effects.map((effect) => (effect.reason ? `${effect.type}(${effect.reason})` : effect.type))
  return types.length > 0 ? `${snapshot.value}: ${types.join(' + ')}` : snapshot.value
}

describe('decode', () => {
  it('reads what was stored', () => {
    const stored = JSON.parse(JSON.stringify(at('proving', { restored: true, cleanAt: 5 })))
    expect(decode(stored)).toEqual(at('proving', { restored: true, cleanAt: 5 }))
  })

  it('lays an older context over the defaults of today', () => {
    expect(decode({ version: VERSION, value: 'idle', context: { seen: true } })).toEqual(at('idle'))
  })

  it.each([0, 2, 99, Number.NaN])('refuses version %d: it does not guess', (version) => {
    expect(() => decode({ version, value: 'idle', context: {} })).toThrow(/snapshot version/)
  })

  it.each(['', 'IDLE', 'warming', 'toString', 'constructor', '__proto__'])(
    'refuses the state "%s"',
    (value) => {
      expect(() => decode({ version: VERSION, value, context: {} })).toThrow(/unknown state/)
    },
  )
})

describe('step', () => {
  it('gives the same answer to the same question, and changes neither', () => {
    const snapshot = Object.freeze({ ...initialSnapshot(), context: Object.freeze({ ...FRESH }) })
    const observed = Object.freeze(world({ sprite: 'present' }))
    expect(step(snapshot, observed)).toEqual(step(snapshot, observed))
    expect(snapshot).toEqual(initialSnapshot())
  })

  it('moves nothing where nothing is seen and no deadline has passed', () => {
    expect(step(at('installing', { deadline: NOW + 1 }), world()).moved).toBe(false)
  })
})

describe('a conversation under delivery', () => {
  const OK = 'claimed: endAttempt + claimReady'
  const BACK = 'marking: endAttempt + claimBackToLine'
  const REFUSED = 'marking: endAttempt + claimFailed(RequestRefused)'
  const WAIT = 'awaiting: endAttempt + claimAwaiting'
  const ASK = 'delivering? deliver'

  it.each<[Observed['attempt'], Observed['outcome'], boolean, Observed['gateway'], string]>([
    // attempt, outcome, by link, gateway → what comes of it
    ['mine', 'none', false, 'unknown', ASK],
    ['mine', 'none', true, 'unknown', ASK],
    ['mine', 'none', true, 'bound', ASK],
    ['mine', 'delivered', false, 'unknown', OK],
    ['mine', 'delivered', true, 'unknown', OK],
    ['mine', 'waiting', true, 'unknown', WAIT],
    ['mine', 'refused', false, 'unknown', REFUSED],
    ['mine', 'refused', true, 'unknown', REFUSED],
    ['mine', 'failed', false, 'unknown', BACK],
    ['mine', 'failed', true, 'unknown', BACK],
    // a conversation whose answer was lost cannot be adopted: its link was in that answer
    ['mine', 'lost', false, 'unknown', BACK],
    ['mine', 'lost', false, 'bound', BACK],
    ['unknown', 'none', false, 'ready', BACK],
    ['unknown', 'none', false, 'bound', BACK],
    ['overdue', 'none', false, 'bound', BACK],
    // a join can: only our key binds this gateway. Until its time is over nobody else is asked
    ['mine', 'lost', true, 'unknown', 'delivering'],
    ['mine', 'lost', true, 'ready', 'delivering'],
    ['mine', 'lost', true, 'bound', OK],
    ['unknown', 'none', true, 'unknown', 'delivering'],
    ['unknown', 'none', true, 'ready', 'delivering'],
    ['unknown', 'none', true, 'bound', OK],
    ['overdue', 'none', true, 'bound', OK],
    ['overdue', 'none', true, 'ready', BACK],
    ['overdue', 'none', true, 'unknown', BACK],
    ['none', 'none', false, 'unknown', BACK],
    ['none', 'none', true, 'unknown', BACK],
  ])(
    'attempt %s, outcome %s, by link %s, gateway %s → %5$s',
    (attempt, outcome, joins, gateway, expected) => {
      expect(told('delivering', { claim: 'live', attempt, outcome, joins, gateway })).toBe(expected)
    },
  )

  it('deletes the instance where it may not be recycled', () => {
    const facets = { claim: 'live', attempt: 'unknown', recyclable: false } as const
    expect(told('delivering', facets)).toBe('deleting: endAttempt + claimBackToLine')
    expect(step(at('delivering'), world(facets)).snapshot.context.reason).toBe('NotRecyclable')
  })

  it('begins nothing for a claim whose end was asked for, and writes what was made all the same', () => {
    expect(told('idle', { claim: 'cancelled' })).toBe('idle')
    expect(told('delivering', { claim: 'cancelled', attempt: 'mine', outcome: 'delivered' })).toBe(OK)
    expect(told('claimed', { claim: 'cancelled' })).toBe('marking: endAttempt + claimEnded')
  })
})

describe('an idle one', () => {
  it('is recycled where that is asked for, or where somebody was there without a claim', () => {
    expect(told('idle', { recycle: true })).toBe('marking: endAttempt')
    expect(told('idle', { gateway: 'bound' })).toBe('marking: endAttempt')
    expect(told('idle', { recycle: true, recyclable: false })).toBe('deleting: endAttempt')
  })

  it('serves its claim first', () => {
    expect(told('idle', { claim: 'live', recycle: true, health: 'unhealthy' })).toBe(
      'delivering: beginDelivery',
    )
  })
})

describe('an idle one that is bound', () => {
  it.each<[string, Partial<Observed>, Partial<Context>]>([
    ['is missing', { sprite: 'missing' }, {}],
    ['was missed before', { sprite: 'unknown' }, { missingAt: NOW - 1 }],
  ])('gives its claim back where its Sprite %s', (_, facets, context) => {
    expect(told('idle', { claim: 'live', ...facets }, context)).toBe('idle: claimBackToLine')
  })
})

describe('a join that waits for its inviter', () => {
  const due = { joinTries: 1, nextJoinAt: NOW, deadline: NOW + 1 }
  const waiting = { joinTries: 1, nextJoinAt: NOW + 1, deadline: NOW + 1 }

  it.each<[string, Partial<Observed>, Partial<Context>, string]>([
    ['waits until the next try is due', {}, waiting, 'awaiting'],
    ['begins the next try when it is due', {}, due, 'awaiting: beginDelivery'],
    ['asks once the attempt is committed', { attempt: 'mine' }, due, 'awaiting? deliver'],
    ['ends the try that found nobody', { attempt: 'mine', outcome: 'waiting' }, due, 'awaiting: endAttempt'],
    [
      'is claimed when a try joined',
      { attempt: 'mine', outcome: 'delivered' },
      due,
      'claimed: endAttempt + claimReady',
    ],
    [
      'is claimed when an earlier try comes through',
      { gateway: 'bound' },
      waiting,
      'claimed: endAttempt + claimReady',
    ],
    ['waits for a try whose answer was lost', { attempt: 'unknown' }, due, 'awaiting'],
    [
      'goes on elsewhere when that one is overdue',
      { attempt: 'overdue' },
      due,
      'marking: endAttempt + claimBackToLine',
    ],
    [
      'goes on elsewhere when a try fails',
      { attempt: 'mine', outcome: 'failed' },
      due,
      'marking: endAttempt + claimBackToLine',
    ],
    [
      'fails when all tries are used up',
      { joinAttempts: 1 },
      due,
      'marking: endAttempt + claimFailed(NotAccepted)',
    ],
    [
      'fails at its deadline',
      {},
      { ...waiting, deadline: NOW },
      'marking: endAttempt + claimFailed(NotAccepted)',
    ],
    ['ends with its claim', { claim: 'cancelled' }, waiting, 'marking: endAttempt + claimEnded'],
    [
      'ends when a recycle is asked for',
      { recycle: true },
      waiting,
      'marking: endAttempt + claimFailed(Recycled)',
    ],
  ])('%s', (_, facets, context, expected) => {
    expect(told('awaiting', { claim: 'live', joins: true, ...facets }, context)).toBe(expected)
  })

  it('pauses twice as long after each try', () => {
    const facets = { claim: 'live', joins: true, attempt: 'mine', outcome: 'waiting' } as const
    const pauses = [1, 2, 3].map((joinTries) => {
      const { snapshot } = step(at('awaiting', { ...due, joinTries }), world(facets))
      return (snapshot.context.nextJoinAt ?? 0) - NOW
    })
    expect(pauses).toEqual([60_000, 120_000, 240_000])
  })

  it('goes on counting how long its Sprite is missed', () => {
    const facets = { claim: 'live', attempt: 'mine', outcome: 'waiting', joins: true } as const
    const { snapshot } = step(at('delivering', { missingAt: NOW - 5 }), world(facets))
    expect(snapshot).toMatchObject({ value: 'awaiting', context: { missingAt: NOW - 5 } })
  })
})

describe('a restore', () => {
  const ON = 'proving: endAttempt'
  const OUT = 'deleting: endAttempt'

  it.each<[Observed['attempt'], Observed['outcome'], string, string]>([
    // attempt, outcome → where "complete" is required, where it is not
    ['mine', 'none', 'restoring? restore', 'restoring? restore'],
    ['mine', 'complete', ON, ON],
    ['mine', 'ended', OUT, ON],
    ['mine', 'error', OUT, OUT],
    ['mine', 'lost', OUT, OUT],
    ['unknown', 'none', OUT, ON],
    ['overdue', 'none', OUT, ON],
    ['none', 'none', OUT, OUT],
  ])('attempt %s, outcome %s → %s when "complete" is required, else %s', (attempt, outcome, strict, lax) => {
    expect(told('restoring', { attempt, outcome, requireComplete: true })).toBe(strict)
    expect(told('restoring', { attempt, outcome, requireComplete: false })).toBe(lax)
  })

  it.each([
    ['error', 'RestoreFailed'],
    ['ended', 'RestoreUnconfirmed'],
  ] as const)('that came to %s says %s', (outcome, reason) => {
    expect(step(at('restoring'), world({ attempt: 'mine', outcome })).snapshot.context.reason).toBe(reason)
  })
})

describe('the proof of a disk', () => {
  const look = (context: Partial<Context>, facets: Partial<Observed>) =>
    told('proving', facets, { deadline: NOW + 1, restored: true, ...context })

  it.each<[string, Partial<Context>, Partial<Observed>, string]>([
    ['one clean look is not enough', {}, { disk: 'clean' }, 'proving'],
    ['nor are two within two seconds', { cleanAt: NOW - 1_999 }, { disk: 'clean' }, 'proving'],
    [
      'two that are two seconds apart are',
      { cleanAt: NOW - 2_000 },
      { disk: 'clean' },
      'arming: recordProof + newKeys',
    ],
    [
      'a fresh build is sealed',
      { cleanAt: NOW - 2_000, restored: false },
      { disk: 'clean' },
      'sealing: recordProof',
    ],
    ['one dirty look is not enough either', {}, { disk: 'dirty' }, 'proving'],
    ['two dirty ones are', { dirtyAt: NOW - 2_000 }, { disk: 'dirty' }, 'deleting'],
    [
      'kept for a look where the spec asks for it',
      { dirtyAt: NOW - 2_000 },
      { disk: 'dirty', quarantine: true },
      'quarantined',
    ],
    [
      'a dirty build is counted as failed',
      { dirtyAt: NOW - 2_000, restored: false },
      { disk: 'dirty' },
      'deleting: buildFailed',
    ],
    ['what cannot be told by the deadline is out', { deadline: NOW }, { disk: 'unknown' }, 'deleting'],
    ['a restore that has not landed by then too', { deadline: NOW }, { disk: 'pending' }, 'deleting'],
  ])('%s', (_, context, facets, expected) => {
    expect(look(context, facets)).toBe(expected)
  })

  it.each(['dirty', 'pending'] as const)('begins anew after a look that was %s', (disk) => {
    const { snapshot } = step(at('proving', { cleanAt: NOW - 2_000 }), world({ disk }))
    expect(snapshot.context.cleanAt).toBeNull()
  })
})

describe('the ladder', () => {
  it.each<[string, Partial<Context>, Partial<Observed>, string]>([
    ['restarts the gateway first', {}, { health: 'unhealthy' }, 'recovering? restartGateway'],
    ['gives it a minute', { rung: 1, rungAt: NOW - 59_999 }, { health: 'unhealthy' }, 'recovering'],
    [
      'restores an idle one then',
      { rung: 1, rungAt: NOW - 60_000 },
      { health: 'unhealthy' },
      'marking: endAttempt',
    ],
    [
      'restores it at the deadline, restarted or not',
      { deadline: NOW },
      { health: 'unhealthy' },
      'marking: endAttempt',
    ],
    ['lets it back when it is well', { deadline: NOW }, { health: 'healthy' }, 'idle: becomeIdle'],
    ['but not while its Sprite is missed', { missingAt: NOW - 1 }, { health: 'healthy' }, 'recovering'],
    ['waits while nothing is known', { deadline: NOW }, {}, 'recovering'],
    ['sends back one that turns out to be used', {}, { gateway: 'bound' }, 'marking: endAttempt'],
  ])('%s', (_, context, facets, expected) => {
    expect(told('recovering', facets, { from: 'idle', ...context })).toBe(expected)
  })

  it.each([
    [1, 60_000],
    [2, 120_000],
    [4, 480_000],
    [5, 600_000],
    [50, 600_000],
  ])('restarts a claimed one again after rung %i in %i ms, and does no more than that', (rung, pause) => {
    const ill = { claim: 'live', health: 'unhealthy' } as const
    const since = (ms: number) => ({ from: 'claimed', rung, rungAt: NOW - ms }) as const
    expect(told('recovering', ill, since(pause - 1))).toBe('recovering')
    expect(told('recovering', ill, since(pause))).toBe('recovering? restartGateway')
  })
})

describe('a build', () => {
  const slow = { tries: 1, deadline: NOW + 1 }

  it.each<[string, Partial<Observed>, Partial<Context>, string]>([
    ['starts the setup where none runs', { setup: 'none' }, slow, 'installing? startSetup'],
    [
      'leaves one that beats alone',
      { setup: 'running', beat: 2 },
      { ...slow, tries: 2, beat: 1, beatAt: NOW - 90_000 },
      'installing',
    ],
    ['gives up at once what no try can save', { setup: 'refused' }, slow, 'deleting: buildFailed'],
    ['fails with the last try', { setup: 'failed' }, { ...slow, tries: 2 }, 'deleting: buildFailed'],
    [
      'fails when its last try is silent',
      { setup: 'running', beat: 1 },
      { deadline: NOW + 1, tries: 2, beat: 1, beatAt: NOW - 90_000 },
      'deleting: buildFailed',
    ],
  ])('%s', (_, facets, context, expected) => {
    expect(told('installing', facets, context)).toBe(expected)
  })

  it.each<[string, Partial<Observed>, Partial<Context>]>([
    ['failed', { setup: 'failed' }, slow],
    ['is silent', { setup: 'running', beat: 1 }, { ...slow, beat: 1, beatAt: NOW - 90_000 }],
    ['is overdue', { setup: 'running', beat: 2 }, { tries: 1, deadline: NOW }],
  ])('tries the setup again when the first one %s', (_, facets, context) => {
    const { snapshot } = step(at('installing', context), world(facets))
    expect(snapshot).toMatchObject({
      value: 'installing',
      context: { tries: 2, beat: null, deadline: NOW + 1_200_000 },
    })
  })

  it('holds the clock of a create that a limit holds back', () => {
    const late = at('pending', { seen: false, deadline: NOW + 1 })
    expect(step(late, world({ sprite: 'missing', limited: true })).snapshot.context.deadline).toBe(
      NOW + 600_000,
    )
    expect(step(late, world({ sprite: 'missing' })).intent).toBe('createSprite')
  })

  it('puts a service only where there is none: a put restarts it', () => {
    expect(told('starting', { service: 'absent' })).toBe('starting? putService')
    expect(told('starting', { service: 'present', gateway: 'down' })).toBe('starting')
    expect(told('starting', { service: 'unknown' })).toBe('starting')
    expect(told('arming', { files: 'unwritten', service: 'absent' })).toBe('arming? writeConfig')
    expect(told('arming', { files: 'written', service: 'absent' })).toBe('arming? putService')
  })

  it.each(['bound', 'unauthorized', 'open', 'down', 'unknown'] as const)(
    'is not armed while its gateway is %s',
    (gateway) => {
      expect(told('arming', { files: 'written', service: 'present', disk: 'clean', gateway })).toBe('arming')
    },
  )
})

describe('one that is to be deleted', () => {
  it('is deleted once its Sprite is there, and not while deletes are paused', () => {
    expect(told('deleting', { sprite: 'present' })).toBe('deleting? deleteSprite')
    expect(told('deleting', { sprite: 'present', mayDelete: false })).toBe('deleting')
    expect(told('deleting', { sprite: 'unknown' })).toBe('deleting')
  })

  it('notes once when the provider acknowledged the delete', () => {
    const acknowledged = world({ deleteAcknowledged: true })
    expect(step(at('deleting'), acknowledged).snapshot.context.deletedAt).toBe(NOW)
    expect(step(at('deleting', { deletedAt: NOW - 500 }), acknowledged).moved).toBe(false)
  })

  it('takes two seconds for an absence after an acknowledged delete, thirty else', () => {
    const missing = { sprite: 'missing', listLacks: true } as const
    expect(told('deleting', missing, { deletedAt: NOW - 2_000, missingAt: NOW - 2_000 })).toBe('gone')
    expect(told('deleting', missing, { missingAt: NOW - 29_999 })).toBe('deleting')
    expect(told('deleting', missing, { missingAt: NOW - 30_000 })).toBe('gone')
    expect(told('deleting', { ...missing, listLacks: false }, { missingAt: NOW - 86_400_000 })).toBe(
      'deleting',
    )
  })

  it('ends a live claim with the reason, whatever state it was in', () => {
    for (const value of ['idle', 'delivering', 'awaiting', 'claimed', 'recovering'])
      expect(told(value, { claim: 'live', wanted: false })).toContain('claimFailed(Destroyed)')
  })
})
