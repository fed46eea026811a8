/** Transitions that several states share: how one is entered, given up, retired, and what holds wherever a Sprite is. */
import { type At, type Context, type Effect, FRESH, life, overdue } from './life.ts'
import * as limits from './limits.ts'

/** Sets the clock of the state that is entered and forgets what belonged to the last one. */
export const enter = (ms: number | null, more: Partial<Context> = {}) =>
  life.assign(({ context, event }) => ({
    ...FRESH,
    seen: context.seen,
    missingAt: context.missingAt,
    restored: context.restored,
    deadline: ms === null ? null : event.now + ms,
    ...more,
  }))

export const give = (reason: string) => enter(null, { reason })

export const destroyed = {
  type: 'claimFailed' as const,
  params: { reason: 'Destroyed', message: 'The instance was destroyed by an operator.' },
}

/** What holds in every state that has a Sprite: it is gone, it is unwanted, it is missed. */
export const anywhere = [
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
export const untilFound = [
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
export const giveUp = (reason: string, guard: (at: At) => boolean) => ({
  guard,
  target: 'deleting',
  actions: [give(reason), 'buildFailed' as const],
})

/** A touched one on its way back: to the marking that begins a recycle, or out where it may not be recycled. */
export const retire = (
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

export function failed(reason: string, message: string) {
  return { type: 'claimFailed' as const, params: { reason, message } }
}

/** What could not be proven clean never becomes idle: out, or kept for a look where the spec asks for that. */
export const unprovable = (guard: (at: At) => boolean) => [
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

export const claimOver = ({ event }: At) => event.claim !== 'live'

const joinIsUnknown = ({ event }: Pick<At, 'event'>) =>
  event.joins && (event.attempt === 'unknown' || event.attempt === 'overdue' || event.outcome === 'lost')

/** A join whose answer was lost: only our key can bind this gateway, so what it shows decides; until then nobody asks again. */
export const joinIsOpen = (at: At) =>
  joinIsUnknown(at) && at.event.attempt !== 'overdue' && at.event.gateway !== 'bound'

export const deliveryOutcomes = [
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
