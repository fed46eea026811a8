/** Replicas: inserts rows and marks rows for deletion. Never talks to a Sprite. */
import { breaker } from '../../machines/breaker.ts'
import { planPool } from '../../machines/pool-plan.ts'
import { initialSnapshot } from '../../machines/step.ts'
import type { Clock } from '../../specs/clock.ts'
import { type ConditionNow, setConditions } from '../../specs/condition.ts'
import type { Sql } from '../../specs/db/connect.ts'
import {
  endQuarantine,
  insertInstances,
  type NewMember,
  planCounts,
  stuckDeletes,
  unwantIdle,
} from '../../specs/db/instances.ts'
import { countWaiting } from '../../specs/db/line.ts'
import { getPool, listRevisions, writePoolStatus } from '../../specs/db/pools.ts'
import { InstanceId } from '../../specs/instance.ts'
import type { Pool, PoolSpec, PoolStatus } from '../../specs/pool.ts'
import type { Random } from '../../specs/random.ts'
import { LEASE_PAUSE_MS, type Lead } from '../lease.ts'
import type { Result } from '../reconcile.ts'

export interface PoolDeps {
  sql: Sql
  clock: Clock
  random: Random
  lead: Lead
  pool: string
  /** `<prefix>-<environment>`: first part of every Sprite's name. */
  namePrefix: string
  /** Conditions that others found out: the provider's, the database's, the configuration's. */
  conditions(): ConditionNow[]
  /** Sprites of ours without a row; null: no complete list was read under this lead yet. */
  orphans(): number | null
  /** Rows were made or marked: look at the instances. */
  changed(): void
  /** The pool as just read: the others' decisions follow its spec. */
  facts(pool: Pool, spec: PoolSpec): void
}

/** ms. Status is written at most once in so long. */
const STATUS_MS = 1_000
/** s. A delete that is not confirmed by then is a condition. */
const STUCK_SECONDS = 600

export function poolReconciler(deps: PoolDeps) {
  const { sql, clock, lead } = deps
  let writtenAt = Number.NEGATIVE_INFINITY

  return async function reconcile(): Promise<Result> {
    if (!lead.mayCall()) return { requeueAfterMs: LEASE_PAUSE_MS }
    const pool = await getPool(sql, deps.pool)
    const spec = pool.spec ?? pool.status.lastGoodSpec
    if (!spec) return { requeueAfterMs: 30_000 } // nothing valid was ever there: the condition below cannot be kept either
    deps.facts(pool, spec)

    const [groups, waiting, revisions, stuck] = [
      await planCounts(sql, pool.name),
      await countWaiting(sql, pool.name),
      await listRevisions(sql, pool.name, 1),
      await stuckDeletes(sql, pool.name, STUCK_SECONDS),
    ]
    const now = clock.now()
    const revision = revisions[0]
    const plan = planPool({
      spec,
      groups,
      waiting,
      orphans: deps.orphans(),
      breaker: revision ? breaker(revision, spec.failure, now) : { state: 'closed' },
    })

    if (plan.create > 0) {
      const members = Array.from({ length: plan.create }, () => newMember(deps, pool.revision))
      const made = await insertInstances(sql, lead.fence, pool.planVersion, members, null)
      if (made === null) return { requeueAfterMs: 50 } // made of old news: plan again
      deps.changed()
    }
    if (plan.remove > 0 && !spec.paused.delete) {
      await unwantIdle(sql, lead.fence, plan.remove)
      deps.changed()
    }
    await endQuarantine(sql, lead.fence, {
      most: spec.recycle.quarantineMax,
      seconds: spec.recycle.quarantineSeconds,
    })

    const conditions = setConditions(
      pool.status.conditions,
      [...plan.conditions, specCondition(pool), stuckCondition(stuck), ...deps.conditions()],
      now,
      pool.generation,
    )
    const status: PoolStatus = {
      ...pool.status,
      observedGeneration: pool.generation,
      conditions,
      lastGoodSpec: pool.spec ?? pool.status.lastGoodSpec,
      plan: plan.sentences,
      orphans: deps.orphans() ?? pool.status.orphans,
    }
    if (JSON.stringify(status) === JSON.stringify(pool.status)) return {}
    const wait = writtenAt + STATUS_MS - clock.monotonic()
    if (wait > 0) return { requeueAfterMs: wait }
    writtenAt = clock.monotonic()
    await writePoolStatus(sql, lead.fence, status)
    return {}
  }
}

export function newMember(
  { random, namePrefix }: Pick<PoolDeps, 'random' | 'namePrefix'>,
  revision: number,
): NewMember {
  const id = InstanceId.parse(random.word(12))
  return { id, spriteName: `${namePrefix}-${id}`, stamp: random.word(24), revision, machine: asStored() }
}

const asStored = () => {
  const { version, value, context } = initialSnapshot()
  return { version, value, context: { ...context } }
}

function specCondition(pool: Pool): ConditionNow {
  return pool.spec
    ? { type: 'SpecInvalid', status: 'False', reason: 'Parsed', message: 'The spec is in force.' }
    : {
        type: 'SpecInvalid',
        status: 'True',
        reason: 'DoesNotParse',
        message:
          'The spec in the database does not parse; the last good one stays in force. PUT a valid one.',
      }
}

function stuckCondition(stuck: { count: number; oldestSeconds: number }): ConditionNow {
  return stuck.count === 0
    ? {
        type: 'DeleteStuck',
        status: 'False',
        reason: 'DeletesEnd',
        message: 'Deletes are confirmed in time.',
      }
    : {
        type: 'DeleteStuck',
        status: 'True',
        reason: 'NotConfirmed',
        message: `${stuck.count} deletes are not confirmed after ${Math.floor(STUCK_SECONDS / 60)} minutes: look at the provider.`,
      }
}
