/**
 * The life of one instance. Pure: the same snapshot and world always give the same answer. A pass moves or asks, never
 * both, and asks from the state it waits in, so that a crash after a move loses nothing.
 *
 * Three kinds of named actions, all with empty bodies, all returned as data:
 *   intents   at most one a pass: the one thing to do at the Sprite or its gateway (`INTENTS`)
 *   effects   what a move means for other rows, written in the same statement (`EFFECTS`)
 *   assigns   context: only what cannot be observed again
 */
import { type At, FRESH, isAway, life, overdue, waited } from './life.ts'
import * as limits from './limits.ts'
import {
  anywhere,
  claimOver,
  deliveryOutcomes,
  destroyed,
  enter,
  failed,
  give,
  giveUp,
  joinIsOpen,
  retire,
  TEMPLATE_REFUSED,
  unprovable,
  untilFound,
} from './moves.ts'

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
