import { beforeAll, describe, expect, it } from 'vitest'
import { instanceMachine } from '../../machines/instance.machine.ts'
import { FRESH } from '../../machines/life.ts'
import { SETUP_TRIES } from '../../machines/limits.ts'
import { NOTHING_SEEN } from '../../machines/observed.ts'
import { step } from '../../machines/step.ts'
import { describeEdge, type Edge, explore, type Node } from './explore.ts'

const STATES = Object.keys(instanceMachine.states)
const BUILDING = ['pending', 'installing', 'configuring', 'starting', 'sealing', 'checkpointing']
const CLAIM_EFFECTS = ['claimReady', 'claimAwaiting', 'claimBackToLine', 'claimFailed', 'claimEnded']

let nodes: Node[]
let edges: Edge[]

beforeAll(() => {
  const explored = explore()
  nodes = explored.nodes
  edges = explored.edges
}, 120_000)

/** Edges that break a rule, in words; the first few are enough to see why. */
const offending = (breaks: (edge: Edge) => boolean) => edges.filter(breaks).slice(0, 3).map(describeEdge)
const was = ({ from }: Edge) => from.snapshot.value
const is = ({ step }: Edge) => step.snapshot.value
const moves = (edge: Edge) => was(edge) !== is(edge)
const does = ({ step }: Edge, effect: string) => step.effects.some(({ type }) => type === effect)

describe('the life of an instance', () => {
  it('reaches every state there is: seventeen, and gone', () => {
    expect(new Set(nodes.map(({ snapshot }) => snapshot.value))).toEqual(new Set(STATES))
    expect(STATES).toHaveLength(18)
  })

  it('moves or asks in a pass, never both', () => {
    expect(offending(({ step }) => step.intent !== null && step.moved)).toEqual([])
  })

  it('says that it moved exactly when there is something to write', () => {
    const changed = ({ from, step: { snapshot, effects } }: Edge) =>
      JSON.stringify(from.snapshot) !== JSON.stringify(snapshot) || effects.length > 0
    expect(offending((edge) => edge.step.moved !== changed(edge))).toEqual([])
  })

  it('leaves deleting by absence alone', () => {
    expect(offending((edge) => was(edge) === 'deleting' && moves(edge) && is(edge) !== 'gone')).toEqual([])
  })

  it('is gone only when it was missed twice, apart in time, and the list lacks it or another Sprite has its name', () => {
    const isLost = ({ from: { snapshot }, world }: Edge) =>
      ((world.sprite === 'missing' && world.listLacks) || world.sprite === 'foreign') &&
      snapshot.context.missingAt !== null &&
      world.now - snapshot.context.missingAt >= (snapshot.context.deletedAt === null ? 30_000 : 2_000)
    expect(offending((edge) => is(edge) === 'gone' && !isLost(edge))).toEqual([])
  })

  it('waits five minutes before it takes a claimed one for lost', () => {
    const ends = edges.filter(
      (edge) => ['claimed', 'awaiting', 'delivering'].includes(was(edge)) && is(edge) === 'gone',
    )
    const lost = ends.filter(({ world }) => world.sprite === 'missing' && world.claim === 'live')
    expect(lost.length).toBeGreaterThan(0)
    const waited = ({ from, world }: Edge) => world.now - (from.snapshot.context.missingAt ?? world.now)
    expect(Math.min(...lost.map(waited))).toBeGreaterThanOrEqual(300_000)
  })

  it('takes no absence for one whose create may still land', () => {
    const unseen = edges.filter(
      (edge) => is(edge) === 'gone' && edge.world.sprite === 'missing' && !edge.from.snapshot.context.seen,
    )
    expect(unseen.length).toBeGreaterThan(0)
    expect(
      unseen.filter(
        ({
          from: {
            snapshot: { context },
          },
          world,
        }) => {
          const waited = world.now - (context.missingAt ?? world.now)
          return waited < (context.deletedAt === null ? 125_000 : 2_000)
        },
      ),
    ).toEqual([])
  })

  it('asks a Sprite that is missed for nothing but what its own attempt has begun', () => {
    const asks = edges.filter(
      ({ from, step: { intent } }) => from.snapshot.context.missingAt !== null && intent !== null,
    )
    expect(new Set(asks.map(({ step: { intent } }) => intent))).toEqual(new Set(['deliver', 'restore']))
  })
})

const claimFor = (value: string) =>
  ['delivering', 'awaiting', 'claimed', 'recovering'].includes(value) ? ('live' as const) : ('none' as const)
const attemptFor = (value: string) =>
  ['delivering', 'restoring'].includes(value) ? ('mine' as const) : ('none' as const)

describe('idle', () => {
  it('is entered from arming with the files written, the gateway ready and the disk clean, or from recovering when healthy', () => {
    const rightly = (edge: Edge) =>
      (was(edge) === 'arming' &&
        edge.world.files === 'written' &&
        edge.world.gateway === 'ready' &&
        edge.world.disk === 'clean') ||
      (was(edge) === 'recovering' &&
        edge.from.snapshot.context.from === 'idle' &&
        edge.world.health === 'healthy')
    expect(offending((edge) => is(edge) === 'idle' && moves(edge) && !rightly(edge))).toEqual([])
    expect(offending((edge) => is(edge) === 'idle' && moves(edge) && !does(edge, 'becomeIdle'))).toEqual([])
  })

  it('begins with nothing of the life before', () => {
    const begun = nodes.filter(({ snapshot }) => snapshot.value === 'idle')
    for (const { snapshot } of begun)
      expect(snapshot.context).toEqual({ ...FRESH, seen: true, missingAt: snapshot.context.missingAt })
  })

  it('is never entered while the Sprite is missed or unwanted', () => {
    const entered = (edge: Edge) => is(edge) === 'idle' && moves(edge)
    expect(
      offending(
        (edge) => entered(edge) && (edge.step.snapshot.context.missingAt !== null || !edge.world.wanted),
      ),
    ).toEqual([])
  })

  it('is never reached by a touched one without marking, a restore that completed, and two clean looks 2 s apart', () => {
    const stages = { arming: ['proven'], recovering: ['untouched'] }
    expect(
      offending(
        (edge) =>
          is(edge) === 'idle' &&
          moves(edge) &&
          !stages[was(edge) as 'arming' | 'recovering'].includes(edge.from.proof.stage),
      ),
    ).toEqual([])
    expect(offending((edge) => was(edge) === 'idle' && edge.from.proof.stage !== 'untouched')).toEqual([])
  })

  it('begins nothing for a claim that is over, and never with its Sprite missed', () => {
    expect(
      offending(
        (edge) =>
          was(edge) === 'idle' &&
          does(edge, 'beginDelivery') &&
          (edge.world.claim !== 'live' || edge.from.snapshot.context.missingAt !== null),
      ),
    ).toEqual([])
  })
})

describe('a touched one', () => {
  it('reaches arming only by a recorded proof, and gets new keys there', () => {
    expect(offending((edge) => is(edge) === 'arming' && moves(edge) && !does(edge, 'newKeys'))).toEqual([])
    expect(
      offending(
        (edge) =>
          was(edge) === 'proving' &&
          ['arming', 'sealing'].includes(is(edge)) &&
          (!does(edge, 'recordProof') || edge.world.disk !== 'clean'),
      ),
    ).toEqual([])
    expect(offending((edge) => does(edge, 'recordProof') && was(edge) !== 'proving')).toEqual([])
  })

  it('is never sealed into a new checkpoint', () => {
    expect(offending((edge) => is(edge) === 'sealing' && edge.from.snapshot.context.restored)).toEqual([])
    expect(
      offending(
        (edge) =>
          ['sealing', 'checkpointing'].includes(was(edge)) &&
          ['touched', 'marked', 'restored'].includes(edge.from.proof.stage),
      ),
    ).toEqual([])
  })

  it('is restored once for each canary, by the run that began it', () => {
    expect(
      offending(
        ({ step: { intent }, world }) =>
          intent === 'restore' && (world.attempt !== 'mine' || world.outcome !== 'none'),
      ),
    ).toEqual([])
    expect(
      offending(
        (edge) => does(edge, 'beginRestore') && !(was(edge) === 'marking' && is(edge) === 'restoring'),
      ),
    ).toEqual([])
  })

  it('goes on to the proof only after "complete" was read, as long as that is required', () => {
    expect(
      offending(
        (edge) =>
          was(edge) === 'restoring' &&
          is(edge) === 'proving' &&
          edge.world.requireComplete &&
          edge.world.outcome !== 'complete',
      ),
    ).toEqual([])
  })
})

describe('a claimed one', () => {
  const held = (edge: Edge) =>
    was(edge) === 'claimed' || (was(edge) === 'recovering' && edge.from.snapshot.context.from === 'claimed')

  it('is destroyed or recycled only because somebody asked for it, never because of probes', () => {
    const asked = ({ world }: Edge) => !world.wanted || world.claim !== 'live' || world.recycle
    expect(
      offending(
        (edge) => held(edge) && ['deleting', 'marking', 'quarantined'].includes(is(edge)) && !asked(edge),
      ),
    ).toEqual([])
  })

  it('is touched by healing in one way: its gateway is restarted', () => {
    const intents = new Set(edges.filter(held).flatMap(({ step: { intent } }) => (intent ? [intent] : [])))
    expect(intents).toEqual(new Set(['startJoinLoop', 'restartGateway']))
  })
})

describe('a claim', () => {
  const withClaim = (edge: Edge) => ['delivering', 'awaiting', 'claimed'].includes(was(edge))

  it('hears exactly one thing when its instance moves on, but for a repair', () => {
    const heard = ({ step: { effects } }: Edge) =>
      effects.filter(({ type }) => CLAIM_EFFECTS.includes(type)).length
    expect(
      offending(
        (edge) =>
          withClaim(edge) && moves(edge) && !['gone', 'recovering'].includes(is(edge)) && heard(edge) !== 1,
      ),
    ).toEqual([])
    expect(offending((edge) => heard(edge) > 1)).toEqual([])
  })

  it('is ended when the repair of its instance is', () => {
    expect(
      offending(
        (edge) =>
          was(edge) === 'recovering' &&
          edge.from.snapshot.context.from === 'claimed' &&
          ['marking', 'deleting'].includes(is(edge)) &&
          !does(edge, 'claimEnded') &&
          !does(edge, 'claimFailed'),
      ),
    ).toEqual([])
  })

  it('is sent once, by the run that committed the attempt, and not again after any outcome', () => {
    expect(
      offending(
        ({ step: { intent }, world }) =>
          intent === 'deliver' && (world.attempt !== 'mine' || world.outcome !== 'none'),
      ),
    ).toEqual([])
  })

  it('gives up its attempt whenever its instance leaves the state that made it', () => {
    expect(
      offending(
        (edge) =>
          ['delivering', 'awaiting', 'restoring'].includes(was(edge)) &&
          moves(edge) &&
          is(edge) !== 'gone' &&
          !does(edge, 'endAttempt'),
      ),
    ).toEqual([])
  })

  it('with a link never goes on to another instance while this one shows that the join went through', () => {
    const joined = ({ world }: Edge) =>
      world.joins &&
      world.gateway === 'bound' &&
      (world.attempt === 'unknown' || world.attempt === 'overdue' || world.outcome === 'lost')
    expect(offending((edge) => joined(edge) && withClaim(edge) && does(edge, 'claimBackToLine'))).toEqual([])
  })
})

describe('a build', () => {
  it('that comes to nothing is counted once, and only builds are', () => {
    const isBuild = (edge: Edge) =>
      BUILDING.includes(was(edge)) ||
      (['proving', 'arming'].includes(was(edge)) && !edge.from.snapshot.context.restored)
    expect(
      offending(
        (edge) =>
          does(edge, 'buildFailed') !== (isBuild(edge) && is(edge) === 'deleting' && edge.world.wanted),
      ),
    ).toEqual([])
  })

  it('says why it is deleted, and so does everything else that is', () => {
    expect(
      offending(
        (edge) => is(edge) === 'deleting' && moves(edge) && edge.step.snapshot.context.reason === null,
      ),
    ).toEqual([])
  })
})

describe('a world that says nothing', () => {
  it('deletes nothing before a deadline', () => {
    const early = nodes.filter(
      ({ snapshot: { value, context }, at }) =>
        !['gone', 'deleting', 'quarantined'].includes(value) &&
        (context.deadline === null || at < context.deadline),
    )
    const ended = early.filter(({ snapshot, at }) => {
      const { value } = snapshot
      const world = { ...NOTHING_SEEN, now: at, claim: claimFor(value), attempt: attemptFor(value) }
      return ['deleting', 'gone', 'quarantined'].includes(step(snapshot, world).snapshot.value)
    })
    expect(ended.map(({ snapshot }) => snapshot)).toEqual([])
  })

  it('never makes anything gone, however long it lasts', () => {
    const year = 365 * 86_400_000
    expect(
      nodes.filter(
        ({ snapshot, at }) =>
          snapshot.value !== 'gone' &&
          step(snapshot, { ...NOTHING_SEEN, now: at + year }).snapshot.value === 'gone',
      ),
    ).toEqual([])
  })
})

/** What ends each state that nobody promised would be left by itself. */
const ENDS = {
  pending: 'deadline',
  installing: 'deadline',
  configuring: 'deadline',
  starting: 'deadline',
  proving: 'deadline',
  sealing: 'deadline',
  checkpointing: 'deadline',
  arming: 'deadline',
  marking: 'deadline',
  awaiting: 'deadline',
  restoring: 'its attempt',
  delivering: 'its attempt',
  recovering: 'a deadline while it is nobody’s, else its claim',
  idle: 'settled',
  claimed: 'its claim',
  quarantined: 'an operator, or its age',
  deleting: 'absence',
  gone: 'settled',
} satisfies Record<string, string>

describe('every wait', () => {
  it('is named with what ends it', () => {
    expect(Object.keys(ENDS).sort()).toEqual([...STATES].sort())
  })

  it.each(Object.entries(ENDS).filter(([, end]) => end === 'deadline'))(
    'in %s has a deadline that ends it',
    (value) => {
      for (const { snapshot, at } of nodes.filter((node) => node.snapshot.value === value)) {
        const world = { ...NOTHING_SEEN, claim: claimFor(value), sprite: 'present' as const }
        let waiting = settle(snapshot, at, { ...world, sprite: value === 'pending' ? 'unknown' : 'present' })
        for (let tries = 0; waiting.value === value && tries < SETUP_TRIES; tries++) {
          expect(waiting.context.deadline).not.toBeNull()
          waiting = settle(waiting, waiting.context.deadline ?? 0, { ...world, sprite: 'unknown' })
        }
        expect(waiting.value).not.toBe(value)
      }
    },
  )

  it.each(['delivering', 'restoring'])('in %s ends when its attempt is overdue', (value) => {
    for (const { snapshot, at } of nodes.filter((node) => node.snapshot.value === value))
      for (const joins of [false, true]) {
        const world = { ...NOTHING_SEEN, claim: 'live' as const, attempt: 'overdue' as const, joins }
        expect(
          step({ ...snapshot, context: { ...snapshot.context, missingAt: null } }, { ...world, now: at })
            .snapshot.value,
        ).not.toBe(value)
      }
  })

  it('in recovering ends for one that is nobody’s, even where its gateway cannot be restarted', () => {
    const ill = { ...NOTHING_SEEN, sprite: 'present' as const, health: 'unhealthy' as const }
    const day = 86_400_000
    for (const { snapshot, at } of nodes.filter(
      (node) => node.snapshot.value === 'recovering' && node.snapshot.context.from === 'idle',
    ))
      expect(settle(snapshot, at + day, ill).value).toBe('marking')
  })

  it('goes on for a claimed one that cannot be repaired: it is somebody’s', () => {
    const ill = {
      ...NOTHING_SEEN,
      sprite: 'present' as const,
      health: 'unhealthy' as const,
      claim: 'live' as const,
    }
    for (const { snapshot, at } of nodes.filter(
      (node) => node.snapshot.value === 'recovering' && node.snapshot.context.from === 'claimed',
    ))
      expect(settle(snapshot, at + 365 * 86_400_000, ill).value).toBe('recovering')
  })
})

/** Steps at one instant until nothing moves. */
function settle(
  from: Node['snapshot'],
  now: number,
  world: Omit<Parameters<typeof step>[1], 'now'>,
): Node['snapshot'] {
  let snapshot = from
  for (let steps = 0; steps < 10; steps++) {
    const next = step(snapshot, { ...world, now })
    if (!next.moved || next.snapshot.value !== from.value) return next.snapshot
    snapshot = next.snapshot
  }
  return snapshot
}
