import type { ConditionNow } from '../specs/condition.ts'
import type { PoolSpec } from '../specs/pool.ts'
import type { Breaker } from './breaker.ts'

/** Members alike in all that the plan asks about, and how many they are. */
export interface Group {
  status: 'provisioning' | 'idle' | 'claimed' | 'recycling' | 'recovering' | 'quarantined' | 'deleting'
  wanted: 'present' | 'absent'
  /** Idle, unbound, wanted and not missing: what a claim can take. */
  shelf: boolean
  /** Its Sprite was not found when last looked for: on its way nowhere. */
  missing?: boolean
  count: number
}

export interface PlanInput {
  spec: PoolSpec
  groups: readonly Group[]
  /** Claims in the line. */
  waiting: number
  /** Sprites of ours without a row: they are paid for, so they count. null: not known yet, and nothing is created. */
  orphans: number | null
  breaker: Breaker
}

export interface Plan {
  create: number
  /** Idle ones that are too many, for `maxIdle` or a lowered `maxTotal`. */
  remove: number
  conditions: ConditionNow[]
  /** What it does and what it leaves, for a person. */
  sentences: string[]
}

/**
 * What a pool needs now. Supply is what a claim can take plus all that is on its way there; each waiting claim adds one
 * to what is wanted. Everything alive counts against `maxTotal`, deleting ones until their absence is confirmed.
 */
export function planPool({ spec, groups, waiting, orphans: known, breaker }: PlanInput): Plan {
  const orphans = known ?? 0
  const count = (test: (group: Group) => boolean) =>
    groups.filter(test).reduce((sum, group) => sum + group.count, 0)
  const alive = count(() => true) + orphans
  const deleting = count(({ status }) => status === 'deleting')
  const leaving = count(({ status, wanted }) => status !== 'deleting' && wanted === 'absent')
  const shelf = count((group) => group.shelf)
  const building = count(({ status }) => status === 'provisioning')
  const coming = count(
    ({ status, wanted, missing }) =>
      wanted === 'present' && !missing && (status === 'provisioning' || status === 'recycling'),
  )

  const target = spec.minIdle + waiting
  const deficit = Math.max(0, target - shelf - coming)
  const room = Math.max(0, spec.maxTotal - alive)
  const slots = Math.max(0, spec.limits.createConcurrency - building)
  const held = spec.paused.create || breaker.state === 'open' || known === null
  const allowed = held ? 0 : breaker.state === 'half-open' ? (building === 0 ? 1 : 0) : deficit
  const create = Math.min(deficit, allowed, room, slots)

  const tooManyIdle = spec.maxIdle === null ? 0 : shelf - Math.max(spec.maxIdle, target)
  // A lowered maxTotal removes idle ones; a Sprite without a row that is found does not, though it counts.
  const tooManyAlive = alive - orphans - deleting - leaving - spec.maxTotal
  const surplus = Math.min(shelf, Math.max(0, tooManyIdle, tooManyAlive))
  const remove = spec.paused.delete ? 0 : surplus // what cannot be deleted stays on the shelf

  const full = deficit > room
  const sentences: string[] = []
  if (create > 0) sentences.push(`create ${create}`)
  if (remove > 0) sentences.push(`remove ${remove} idle`)
  if (surplus > remove) sentences.push(`${surplus} idle are too many: deletion is paused`)
  if (deficit > create)
    sentences.push(
      spec.paused.create
        ? `${deficit} wait: creation is paused`
        : known === null
          ? `${deficit} wait: the list of Sprites is read first`
          : breaker.state !== 'closed'
            ? `${deficit - create} wait: builds fail, the breaker is ${breaker.state}`
            : full
              ? `${deficit - create} stay unbuilt: maxTotal ${spec.maxTotal} is reached by ${alive} alive`
              : `${deficit - create} wait for one of ${spec.limits.createConcurrency} places to build`,
    )
  if (surplus === 0 && shelf > target)
    sentences.push(
      spec.maxIdle === null
        ? `${shelf - target} idle stay: maxIdle is not set`
        : `${shelf - target} idle stay: maxIdle is ${spec.maxIdle}`,
    )
  if (coming > 0) sentences.push(`${coming} on the way`)
  if (sentences.length === 0) sentences.push('nothing to do')

  const paused = Object.entries(spec.paused).flatMap(([what, on]) => (on ? [what] : []))
  const conditions: ConditionNow[] = [
    shelf >= spec.minIdle
      ? {
          type: 'Ready',
          status: 'True',
          reason: 'EnoughIdle',
          message: `${spec.minIdle} idle wanted and there.`,
        }
      : {
          type: 'Ready',
          status: 'False',
          reason: coming > 0 ? 'Building' : 'TooFewIdle',
          message: `Fewer idle than minIdle ${spec.minIdle}: ${sentences.join(', ')}.`,
        },
    shelf > 0
      ? { type: 'Available', status: 'True', reason: 'Idle', message: 'A claim is served at once.' }
      : {
          type: 'Available',
          status: 'False',
          reason: 'Empty',
          message: 'Nothing is idle: a claim is refused or waits. Raise minIdle, or wait for the builds.',
        },
    full
      ? {
          type: 'AtCapacity',
          status: 'True',
          reason: 'MaxTotal',
          message: `${deficit - Math.min(deficit, room)} stay unbuilt: raise maxTotal (${spec.maxTotal}), or release claims.`,
        }
      : { type: 'AtCapacity', status: 'False', reason: 'Room', message: 'maxTotal leaves room.' },
    breaker.state === 'closed'
      ? { type: 'BreakerOpen', status: 'False', reason: 'BuildsWork', message: 'Builds are not held back.' }
      : {
          type: 'BreakerOpen',
          status: 'True',
          reason: breaker.state === 'open' ? 'BuildsFail' : 'Trying',
          message: `Builds of this template fail${breaker.error ? ` (${breaker.error.slice(0, 200)})` : ''}: ${
            breaker.state === 'open'
              ? `the next try is at ${new Date(breaker.untilMs).toISOString()}`
              : 'one build is tried now'
          }. An edit of the template closes it.`,
        },
    paused.length > 0
      ? {
          type: 'Paused',
          status: 'True',
          reason: 'ByOperator',
          message: `Paused: ${paused.join(', ')}. Lift it with PATCH {"paused": {"${paused[0]}": false}}.`,
        }
      : { type: 'Paused', status: 'False', reason: 'Running', message: 'Nothing is paused.' },
  ]
  return { create, remove, conditions, sentences }
}
