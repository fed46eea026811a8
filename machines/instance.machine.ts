/**
 * The life of one instance. Pure: the same snapshot and world always give the same answer. A pass moves or asks, never
 * both, and asks from the state it waits in, so that a crash after a move loses nothing.
 *
 * Three kinds of named actions, all with empty bodies, all returned as data:
 *   intents   at most one a pass: the one thing to do at the Sprite or its gateway (`INTENTS`)
 *   effects   what a move means for other rows, written in the same statement (`EFFECTS`)
 *   assigns   context: only what cannot be observed again
 */
import { assign, setup } from 'xstate'
import * as limits from './limits.ts'
import type { Observed } from './observed.ts'

export interface Context {
  /** When this state gives up; null: it has no end of its own. */
  deadline: number | null
  /** First definite not-found of this spell; null: it was there when last seen. Off the shelf from then on. */
  missingAt: number | null
  /** The Sprite was seen at least once: its absence is a loss, not a create that is late. */
  seen: boolean
  /** The provider acknowledged our delete. */
  deletedAt: number | null
  /** Which try of the setup runs, from 1. */
  tries: number
  beat: number | null
  beatAt: number | null
  /** It went through a restore: the next proof leads to arming, not to a new checkpoint. */
  restored: boolean
  cleanAt: number | null
  dirtyAt: number | null
  joinTries: number
  nextJoinAt: number | null
  /** Where `recovering` goes back to. */
  from: 'idle' | 'claimed' | null
  /** Restarts of the gateway in this spell of trouble. */
  rung: number
  rungAt: number | null
  /** Why it is being deleted or kept: CamelCase. */
  reason: string | null
}

export const FRESH: Context = {
  deadline: null,
  missingAt: null,
  seen: false,
  deletedAt: null,
  tries: 0,
  beat: null,
  beatAt: null,
  restored: false,
  cleanAt: null,
  dirtyAt: null,
  joinTries: 0,
  nextJoinAt: null,
  from: null,
  rung: 0,
  rungAt: null,
  reason: null,
}

export const INTENTS = [
  'createSprite',
  'startSetup',
  'writeConfig',
  'putService',
  'seal',
  'createCheckpoint',
  'deliver',
  'startJoinLoop',
  'mark',
  'restore',
  'restartGateway',
  'deleteSprite',
] as const
export type Intent = (typeof INTENTS)[number]

export const EFFECTS = [
  'newKeys',
  'beginDelivery',
  'beginRestore',
  'endAttempt',
  'recordProof',
  'becomeIdle',
  'claimReady',
  'claimAwaiting',
  'claimBackToLine',
  'claimFailed',
  'claimEnded',
  'buildFailed',
] as const
export type Effect = (typeof EFFECTS)[number]

type At = { context: Context; event: Observed }
/** Time in which the provider answered nobody is not counted: what it held back gets a while of its own afterwards. */
const overdue = ({ context, event }: At) =>
  context.deadline !== null && event.now >= Math.max(context.deadline, event.excusedUntil)
/** Another machine under our name is as absent: its disk is not ours. One odd answer is neither. */
const isAway = ({ event }: At) => event.sprite === 'missing' || event.sprite === 'foreign'
const waited = (since: number | null, now: number, ms: number) => since !== null && now - since >= ms

function absentAfterMs(context: Context, claimed: boolean): number {
  if (context.deletedAt !== null) return limits.ABSENT_DELETED_AFTER_MS
  if (!context.seen) return limits.ABSENT_UNSEEN_AFTER_MS
  return claimed ? limits.ABSENT_CLAIMED_AFTER_MS : limits.ABSENT_AFTER_MS
}

const life = setup({
  types: { context: {} as Context, events: {} as Observed },
  guards: {
    unwanted: ({ event }) => !event.wanted,
    absent: ({ context, event }) =>
      ((event.sprite === 'missing' && event.listLacks) || event.sprite === 'foreign') &&
      waited(context.missingAt, event.now, absentAfterMs(context, event.claim !== 'none')),
    newlyMissing: (at) => isAway(at) && at.context.missingAt === null,
    backAgain: ({ context, event }) => event.sprite === 'present' && context.missingAt !== null,
    missing: ({ context }) => context.missingAt !== null,
    overdue,
  },
  actions: {
    // intents
    createSprite() {},
    startSetup() {},
    writeConfig() {},
    putService() {},
    seal() {},
    createCheckpoint() {},
    deliver() {},
    startJoinLoop() {},
    mark() {},
    restore() {},
    restartGateway() {},
    deleteSprite() {},
    // effects
    newKeys() {},
    beginDelivery() {},
    beginRestore() {},
    endAttempt() {},
    recordProof() {},
    becomeIdle() {},
    claimReady() {},
    claimAwaiting() {},
    claimBackToLine() {},
    claimFailed: (_, _params: { reason: string; message: string }) => {},
    claimEnded() {},
    buildFailed() {},
    // context
    missed: assign({ missingAt: ({ event }) => event.now }),
    foundAgain: assign({ missingAt: null }),
  },
})

/** Sets the clock of the state that is entered and forgets what belonged to the last one. */
const enter = (ms: number | null, more: Partial<Context> = {}) =>
  life.assign(({ context, event }) => ({
    ...FRESH,
    seen: context.seen,
    missingAt: context.missingAt,
    restored: context.restored,
    deadline: ms === null ? null : event.now + ms,
    ...more,
  }))

const give = (reason: string) => enter(null, { reason })

const destroyed = {
  type: 'claimFailed' as const,
  params: { reason: 'Destroyed', message: 'The instance was destroyed by an operator.' },
}

/** What holds in every state that has a Sprite: it is gone, it is unwanted, it is missed. */
const anywhere = [
  { guard: 'absent' as const, target: 'gone' },
  {
    guard: 'unwanted' as const,
    target: 'deleting',
    actions: [give('Unwanted'), destroyed, 'endAttempt' as const],
  },
  { guard: 'newlyMissing' as const, actions: 'missed' as const },
  { guard: 'backAgain' as const, actions: 'foundAgain' as const },
]

/**
 * Off the shelf and nothing to ask while its Sprite is missing: only the list, or the state's own deadline, can say more.
 * (A GET may say 404 for ever of what the list still shows.)
 */
const untilFound = [
  {
    guard: (at: At) => at.context.missingAt !== null && overdue(at) && isBuild(at),
    target: 'deleting',
    actions: [give('NotFound'), 'buildFailed' as const],
  },
  {
    guard: (at: At) => at.context.missingAt !== null && overdue(at),
    target: 'deleting',
    actions: give('NotFound'),
  },
  { guard: 'missing' as const },
]

/** Why a build is given up that no try could have saved: the breaker opens at once. */
export const TEMPLATE_REFUSED = 'TemplateRefused'

/** Not restored, and nobody's yet: what fails here is the build. */
const isBuild = ({ context }: At) => !context.restored && context.from === null

/** The end of a build that came to nothing: the Sprite goes, the breaker hears of it. */
const giveUp = (reason: string, guard: (at: At) => boolean) => ({
  guard,
  target: 'deleting',
  actions: [give(reason), 'buildFailed' as const],
})

/** A touched one on its way back: to the marking that begins a recycle, or out where it may not be recycled. */
const retire = (
  guard: (at: At) => boolean,
  ...effects: (Exclude<Effect, 'claimFailed'> | ReturnType<typeof failed>)[]
) => [
  {
    guard: (at: At) => guard(at) && at.event.recyclable,
    target: 'marking',
    actions: [enter(limits.MARK_LIMIT_MS), 'endAttempt' as const, ...effects],
  },
  { guard, target: 'deleting', actions: [give('NotRecyclable'), 'endAttempt' as const, ...effects] },
]

function failed(reason: string, message: string) {
  return { type: 'claimFailed' as const, params: { reason, message } }
}

/** What could not be proven clean never becomes idle: out, or kept for a look where the spec asks for that. */
const unprovable = (guard: (at: At) => boolean) => [
  {
    guard: (at: At) => guard(at) && at.event.quarantine && at.context.restored,
    target: 'quarantined',
    actions: [give('NotProvablyClean')],
  },
  {
    guard: (at: At) => guard(at) && !at.context.restored,
    target: 'deleting',
    actions: [give('NotProvablyClean'), 'buildFailed' as const],
  },
  { guard, target: 'deleting', actions: [give('NotProvablyClean')] },
]

const claimOver = ({ event }: At) => event.claim !== 'live'

const joinIsUnknown = ({ event }: Pick<At, 'event'>) =>
  event.joins && (event.attempt === 'unknown' || event.attempt === 'overdue' || event.outcome === 'lost')

/** A join whose answer was lost: only our key can bind this gateway, so what it shows decides; until then nobody asks again. */
const joinIsOpen = (at: At) =>
  joinIsUnknown(at) && at.event.attempt !== 'overdue' && at.event.gateway !== 'bound'

const deliveryOutcomes = [
  {
    guard: ({ event }: At) =>
      event.outcome === 'delivered' || (joinIsUnknown({ event }) && event.gateway === 'bound'),
    target: 'claimed',
    actions: [enter(null), 'endAttempt' as const, 'claimReady' as const],
  },
  ...retire(
    ({ event }) => event.outcome === 'refused',
    failed('RequestRefused', 'The gateway refused the request: change it, then claim again.'),
  ),
]

export const instanceMachine = life.createMachine({
  id: 'instance',
  initial: 'pending',
  context: FRESH,
  states: {
    /** The row exists, the Sprite does not yet: asked for by name, so that a lost answer is found again. */
    pending: {
      on: {
        observed: [
          {
            guard: ({ context, event }) =>
              event.sprite === 'foreign' && waited(context.missingAt, event.now, limits.ABSENT_AFTER_MS),
            target: 'gone',
          },
          { guard: 'unwanted', target: 'deleting', actions: give('Unwanted') },
          {
            guard: ({ context, event }) => event.sprite === 'foreign' && context.missingAt === null,
            actions: 'missed',
          },
          {
            guard: ({ context, event }) =>
              (event.sprite === 'missing' || event.sprite === 'present') && context.missingAt !== null,
            actions: 'foundAgain', // the name is free, or ours: what was seen before was one odd answer
          },
          {
            guard: ({ event }) => event.sprite === 'present',
            target: 'installing',
            actions: enter(limits.SETUP_LIMIT_MS, { seen: true, tries: 1 }),
          },
          {
            guard: ({ context, event }) =>
              context.deadline === null ||
              (event.limited && context.deadline - event.now < limits.CREATE_LIMIT_MS / 2),
            actions: enter(limits.CREATE_LIMIT_MS),
          },
          giveUp('CreateFailed', overdue),
          { guard: ({ event }) => event.sprite === 'missing' && !event.limited, actions: 'createSprite' },
        ],
      },
    },

    /** The setup runs inside for minutes; all that is done here is to look at its result file. */
    installing: {
      on: {
        observed: [
          ...anywhere,
          ...untilFound,
          {
            guard: ({ event }) => event.setup === 'done',
            target: 'configuring',
            actions: [enter(limits.CONFIGURE_LIMIT_MS), 'newKeys'],
          },
          giveUp(TEMPLATE_REFUSED, ({ event }) => event.setup === 'refused'),
          {
            guard: (at) => setupIsOver(at) && at.context.tries < limits.SETUP_TRIES,
            actions: life.assign(({ context, event }) => ({
              tries: context.tries + 1,
              beat: null,
              beatAt: null,
              deadline: event.now + limits.SETUP_LIMIT_MS,
            })),
          },
          giveUp('SetupFailed', (at) => setupIsOver(at)),
          {
            guard: ({ context, event }) => event.beat !== null && event.beat !== context.beat,
            actions: life.assign({ beat: ({ event }) => event.beat, beatAt: ({ event }) => event.now }),
          },
          { guard: ({ event }) => event.setup === 'none', actions: 'startSetup' },
        ],
      },
    },

    /** A configuration that is good for the first start only: the checkpoint must hold no secret. */
    configuring: {
      on: {
        observed: [
          ...anywhere,
          ...untilFound,
          {
            guard: ({ event }) => event.files === 'written',
            target: 'starting',
            actions: enter(limits.START_LIMIT_MS),
          },
          giveUp('ConfigureFailed', overdue),
          { guard: ({ event }) => event.files === 'unwritten', actions: 'writeConfig' },
        ],
      },
    },

    /** A service that is starting is not put again: a PUT restarts it, and a gateway that needs a minute would never get there. */
    starting: {
      on: {
        observed: [
          ...anywhere,
          ...untilFound,
          {
            guard: ({ event }) => event.gateway === 'ready',
            target: 'proving',
            actions: enter(limits.PROVE_BUILD_LIMIT_MS),
          },
          giveUp('GatewayNeverReady', overdue),
          { guard: ({ event }) => event.service === 'absent', actions: 'putService' },
        ],
      },
    },

    /** The disk's word, twice and the same, before a real key is written to it. */
    proving: {
      on: {
        observed: [
          ...anywhere,
          ...untilFound,
          {
            guard: ({ context, event }) =>
              event.disk === 'clean' &&
              context.restored &&
              waited(context.cleanAt, event.now, limits.PROOF_GAP_MS),
            target: 'arming',
            actions: [enter(limits.ARM_LIMIT_MS), 'recordProof', 'newKeys'],
          },
          {
            guard: ({ context, event }) =>
              event.disk === 'clean' && waited(context.cleanAt, event.now, limits.PROOF_GAP_MS),
            target: 'sealing',
            actions: [enter(limits.SEAL_LIMIT_MS), 'recordProof'],
          },
          {
            guard: ({ context, event }) => event.disk === 'clean' && context.cleanAt === null,
            actions: life.assign({ cleanAt: ({ event }) => event.now, dirtyAt: null }),
          },
          ...unprovable(
            ({ context, event }) =>
              event.disk === 'dirty' && waited(context.dirtyAt, event.now, limits.PROOF_GAP_MS),
          ),
          {
            guard: ({ context, event }) => event.disk === 'dirty' && context.dirtyAt === null,
            actions: life.assign({ dirtyAt: ({ event }) => event.now, cleanAt: null }),
          },
          {
            guard: ({ context, event }) =>
              event.disk === 'pending' && (context.cleanAt !== null || context.dirtyAt !== null),
            actions: life.assign({ cleanAt: null, dirtyAt: null }),
          },
          ...unprovable(overdue),
        ],
      },
    },

    /** After a restore nothing may listen and nothing may be secret: so neither is in the checkpoint. */
    sealing: {
      on: {
        observed: [
          ...anywhere,
          ...untilFound,
          {
            guard: ({ event }) => event.sealed === 'sealed',
            target: 'checkpointing',
            actions: enter(limits.CHECKPOINT_LIMIT_MS),
          },
          giveUp('SealFailed', overdue),
          { guard: ({ event }) => event.sealed === 'open', actions: 'seal' },
        ],
      },
    },

    checkpointing: {
      on: {
        observed: [
          ...anywhere,
          ...untilFound,
          {
            guard: ({ event }) => event.checkpoint === 'made',
            target: 'arming',
            actions: [enter(limits.ARM_LIMIT_MS), 'newKeys'],
          },
          giveUp('CheckpointFailed', overdue),
          { guard: ({ event }) => event.checkpoint === 'none', actions: 'createCheckpoint' },
        ],
      },
    },

    /** The keys of this life; the gateway must take the one and refuse the other. */
    arming: {
      on: {
        observed: [
          ...anywhere,
          ...untilFound,
          {
            guard: ({ event }) =>
              event.files === 'written' && event.gateway === 'ready' && event.disk === 'clean',
            target: 'idle',
            actions: [enter(null, { restored: false }), 'becomeIdle'],
          },
          {
            guard: (at) => overdue(at) && !at.context.restored,
            target: 'deleting',
            actions: [give('NeverArmed'), 'buildFailed'],
          },
          { guard: 'overdue', target: 'deleting', actions: give('NeverArmed') },
          { guard: ({ event }) => event.files === 'unwritten', actions: 'writeConfig' },
          {
            guard: ({ event }) => event.files === 'written' && event.service === 'absent',
            actions: 'putService',
          },
        ],
      },
    },

    /** Ready and waiting. The heartbeat looks; nothing is asked. */
    idle: {
      on: {
        observed: [
          { guard: 'absent', target: 'gone' },
          {
            guard: ({ event }) => !event.wanted,
            target: 'deleting',
            actions: [give('Unwanted'), destroyed],
          },
          // Bound, but not begun: the claim goes on to another one, this one was not touched.
          {
            guard: (at) => at.event.claim !== 'none' && (isAway(at) || at.context.missingAt !== null),
            actions: [
              life.assign({ missingAt: ({ context, event }) => context.missingAt ?? event.now }),
              'claimBackToLine',
            ],
          },
          { guard: 'newlyMissing', actions: 'missed' },
          { guard: 'backAgain', actions: 'foundAgain' },
          ...untilFound,
          {
            guard: ({ event }) => event.claim === 'live',
            target: 'delivering',
            actions: [enter(null), 'beginDelivery'],
          },
          { guard: ({ event }) => event.claim !== 'none' }, // cancelled before it began: the claims reconciler unbinds it
          ...retire(({ event }) => event.gateway === 'bound'), // dirty, whoever caused it
          ...retire(({ event }) => event.recycle),
          {
            guard: ({ event }) => event.health === 'unhealthy',
            target: 'recovering',
            actions: enter(limits.RECOVER_LIMIT_MS, { from: 'idle' }),
          },
        ],
      },
    },

    /** One request, sent once by the run that committed its attempt. */
    delivering: {
      on: {
        observed: [
          ...anywhere,
          ...deliveryOutcomes,
          {
            guard: ({ event }) => event.outcome === 'waiting',
            target: 'awaiting',
            actions: [
              enter(limits.AWAIT_LIMIT_MS, { joinTries: 1 }),
              life.assign({ nextJoinAt: ({ event }) => event.now + limits.JOIN_RETRY_MS }),
              'endAttempt',
              'claimAwaiting',
            ],
          },
          { guard: (at) => joinIsOpen(at) },
          ...retire(
            ({ event }) =>
              event.outcome === 'failed' ||
              event.outcome === 'lost' ||
              event.attempt === 'unknown' ||
              event.attempt === 'overdue' ||
              event.attempt === 'none',
            'claimBackToLine',
          ),
          { guard: ({ event }) => event.attempt === 'mine', actions: 'deliver' },
        ],
      },
    },

    /** The inviter has not approved yet. Each try may show them one more request, so tries are few and far between. */
    awaiting: {
      on: {
        observed: [
          ...anywhere,
          ...deliveryOutcomes,
          {
            guard: ({ event }) => event.gateway === 'bound',
            target: 'claimed',
            actions: [enter(null), 'endAttempt', 'claimReady'],
          },
          {
            guard: ({ event }) => event.outcome === 'waiting',
            actions: [
              life.assign({
                joinTries: ({ context }) => context.joinTries + 1,
                nextJoinAt: ({ context, event }) => event.now + limits.JOIN_RETRY_MS * 2 ** context.joinTries,
              }),
              'endAttempt',
            ],
          },
          ...retire(claimOver, 'claimEnded'),
          ...retire(
            ({ event }) => event.recycle,
            failed('Recycled', 'The instance was recycled before anybody approved the join request.'),
          ),
          { guard: (at) => joinIsOpen(at) },
          ...retire(
            ({ event }) =>
              event.outcome === 'failed' || event.outcome === 'lost' || event.attempt === 'overdue',
            'claimBackToLine',
          ),
          { guard: ({ event }) => event.attempt === 'mine', actions: 'deliver' },
          ...retire(
            (at) =>
              overdue(at) ||
              (at.context.joinTries >= at.event.joinAttempts &&
                at.context.nextJoinAt !== null &&
                at.event.now >= at.context.nextJoinAt),
            failed(
              'NotAccepted',
              'Nobody approved the join request: claim again, then approve the newest request.',
            ),
          ),
          {
            guard: ({ context, event }) =>
              event.attempt === 'none' && context.nextJoinAt !== null && event.now >= context.nextJoinAt,
            actions: 'beginDelivery',
          },
        ],
      },
    },

    /** Somebody's. Its disk and conversation change only by what its spec asks. */
    claimed: {
      on: {
        observed: [
          ...anywhere,
          ...retire(claimOver, 'claimEnded'),
          ...retire(({ event }) => event.recycle, 'claimEnded'),
          ...untilFound,
          {
            guard: ({ event }) => event.health === 'unhealthy',
            target: 'recovering',
            actions: enter(null, { from: 'claimed' }),
          },
          { guard: ({ event }) => event.joinLoop === 'wanted', actions: 'startJoinLoop' },
        ],
      },
    },

    /** A word on the disk that the checkpoint does not have: gone again means that the disk was replaced. */
    marking: {
      on: {
        observed: [
          ...anywhere,
          ...untilFound.slice(1), // no build: somebody used it
          {
            guard: ({ event }) => event.mark === 'marked',
            target: 'restoring',
            actions: [enter(limits.RESTORE_LIMIT_MS), 'beginRestore'],
          },
          { guard: 'overdue', target: 'deleting', actions: give('CannotBeMarked') },
          { guard: ({ event }) => event.mark === 'unmarked', actions: 'mark' },
        ],
      },
    },

    /** Its own checkpoint, once for each canary. */
    restoring: {
      on: {
        observed: [
          ...anywhere,
          {
            guard: ({ event }) =>
              event.outcome === 'complete' ||
              (!event.requireComplete &&
                (event.outcome === 'ended' || event.attempt === 'unknown' || event.attempt === 'overdue')),
            target: 'proving',
            actions: [enter(limits.PROVE_RESTORE_LIMIT_MS, { restored: true }), 'endAttempt'],
          },
          {
            guard: ({ event }) => event.outcome === 'error',
            target: 'deleting',
            actions: [give('RestoreFailed'), 'endAttempt'],
          },
          { guard: ({ event }) => event.attempt === 'mine' && event.outcome === 'none', actions: 'restore' },
          {
            guard: ({ event }) => event.attempt !== 'reported',
            target: 'deleting',
            actions: [give('RestoreUnconfirmed'), 'endAttempt'],
          },
        ],
      },
    },

    /** The ladder: look, restart the gateway, then restore an idle one; a claimed one is only ever repaired. */
    recovering: {
      on: {
        observed: [
          ...anywhere,
          ...retire((at) => at.context.from === 'claimed' && claimOver(at), 'claimEnded'),
          ...retire((at) => at.context.from === 'claimed' && at.event.recycle, 'claimEnded'),
          ...retire((at) => at.event.recycle),
          ...retire((at) => at.context.from === 'idle' && at.event.gateway === 'bound'),
          ...untilFound, // on the shelf again only with its Sprite
          {
            guard: ({ context, event }) => event.health === 'healthy' && context.from === 'claimed',
            target: 'claimed',
            actions: enter(null),
          },
          {
            guard: ({ event }) => event.health === 'healthy',
            target: 'idle',
            actions: [enter(null), 'becomeIdle'],
          },
          {
            guard: ({ event }) => event.restarted,
            actions: life.assign({
              rung: ({ context }) => context.rung + 1,
              rungAt: ({ event }) => event.now,
            }),
          },
          ...retire(
            // Restarted in vain, or not even that: a restart that never succeeds counts no rung.
            (at) =>
              at.context.from === 'idle' &&
              at.event.health === 'unhealthy' &&
              !at.event.massIll &&
              (overdue(at) || waited(at.context.rungAt, at.event.now, limits.REPAIR_GRACE_MS)),
          ),
          {
            guard: ({ context, event }) =>
              event.health === 'unhealthy' &&
              (context.rungAt === null || waited(context.rungAt, event.now, repairPauseMs(context.rung))),
            actions: 'restartGateway',
          },
        ],
      },
    },

    quarantined: {
      on: {
        observed: [
          { guard: 'absent', target: 'gone' },
          { guard: 'unwanted', target: 'deleting', actions: give('Unwanted') },
          { guard: 'newlyMissing', actions: 'missed' },
          { guard: 'backAgain', actions: 'foundAgain' },
        ],
      },
    },

    /** Nothing leaves it but absence. */
    deleting: {
      on: {
        observed: [
          { guard: 'absent', target: 'gone' },
          { guard: 'newlyMissing', actions: 'missed' },
          { guard: 'backAgain', actions: 'foundAgain' },
          {
            guard: ({ context, event }) => event.deleteAcknowledged && context.deletedAt === null,
            actions: life.assign({ deletedAt: ({ event }) => event.now }),
          },
          {
            guard: ({ event }) => event.sprite === 'present' && event.mayDelete && !event.deleteAcknowledged,
            actions: 'deleteSprite',
          },
        ],
      },
    },

    /** Never stored: the row goes. */
    gone: { type: 'final' },
  },
})

function setupIsOver(at: At): boolean {
  const silent = waited(at.context.beatAt, at.event.now, limits.BEAT_LIMIT_MS)
  const beats = at.event.beat !== null && at.event.beat !== at.context.beat
  return at.event.setup === 'failed' || overdue(at) || (at.event.setup === 'running' && silent && !beats)
}

/** A minute, doubling to ten: a claimed one that stays ill is not hammered. */
function repairPauseMs(rung: number): number {
  return Math.min(limits.REPAIR_GRACE_MS * 2 ** Math.max(0, rung - 1), limits.REPAIR_PAUSE_MAX_MS)
}
