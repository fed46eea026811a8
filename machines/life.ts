/**
 * The words of one instance's life: what it remembers, what may be asked for, what a move means, and the guards that hold
 * in more than one state.
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

/** What a guard is asked about. */
export type At = { context: Context; event: Observed }
/** Time in which the provider answered nobody is not counted: what it held back gets a while of its own afterwards. */
export const overdue = ({ context, event }: At) =>
  context.deadline !== null && event.now >= Math.max(context.deadline, event.excusedUntil)
/** Another machine under our name is as absent: its disk is not ours. One odd answer is neither. */
export const isAway = ({ event }: At) => event.sprite === 'missing' || event.sprite === 'foreign'
export const waited = (since: number | null, now: number, ms: number) => since !== null && now - since >= ms

function absentAfterMs(context: Context, claimed: boolean): number {
  if (context.deletedAt !== null) return limits.ABSENT_DELETED_AFTER_MS
  if (!context.seen) return limits.ABSENT_UNSEEN_AFTER_MS
  return claimed ? limits.ABSENT_CLAIMED_AFTER_MS : limits.ABSENT_AFTER_MS
}

export const life = setup({
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
