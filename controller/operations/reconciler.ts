/** What a person asked for, made true and answered: drains, refills, a look at everything, one instance's recycle or end. */
import type { Clock } from '../../specs/clock.ts'
import type { Sql } from '../../specs/db/connect.ts'
import { countInstances, findInstances, insertInstances, unwantIdle } from '../../specs/db/instances.ts'
import { membersOf, openOperations, writeOperation } from '../../specs/db/operations.ts'
import { getPool } from '../../specs/db/pools.ts'
import type { Operation } from '../../specs/operation.ts'
import type { Random } from '../../specs/random.ts'
import type { Lead } from '../lease.ts'
import type { Orphans } from '../orphans/reconciler.ts'
import { newMember } from '../pool/reconciler.ts'
import type { Result } from '../reconcile.ts'
import { agentActions, isAgentAction } from './agent-actions.ts'
import type { Inspect } from './inspect.ts'

export interface OperationsDeps {
  sql: Sql
  clock: Clock
  random: Random
  lead: Lead
  pool: string
  namePrefix: string
  orphans: Orphans
  inspect: Inspect
  /** Rows were made or marked: look at them, and plan. */
  changed(): void
  /** Wakes an instance: it has something to do. */
  look(instance: string): void
  /** Somebody needs a newer list, and a look at everything. */
  lookAtAll(): void
}

type Answer = { phase: Operation['phase'] } & Partial<
  Pick<Operation, 'done' | 'failed' | 'message' | 'result'>
>

/** ms. While something is open; news of the instances come in between. */
const LOOK_MS = 500

export function operationsReconciler(deps: OperationsDeps) {
  const { sql, clock, lead } = deps
  /** Complete lists before each request was seen here: forgotten by a restart, one more list is read. */
  const listsAtRequest = new Map<string, number>()
  const advanceAgentAction = agentActions(deps)

  return async function reconcile(): Promise<Result> {
    if (!lead.mayCall()) return {}
    const open = await openOperations(sql, deps.pool)
    for (const operation of open) {
      const answer = await advance(operation)
      if (!same(operation, answer)) await writeOperation(sql, lead.fence, operation.id, answer)
    }
    return open.length > 0 ? { requeueAfterMs: LOOK_MS } : {}
  }

  async function advance(operation: Operation): Promise<Answer> {
    if (isAgentAction(operation)) return advanceAgentAction(operation)
    const now = clock.now()
    const progress = { done: operation.done, failed: operation.failed, result: operation.result }
    if (operation.cancelledAt)
      return { phase: 'Cancelled', ...progress, message: 'Cancelled; what it had begun goes on.' }
    const answer = await work(operation)
    const ended = answer.phase !== 'Pending' && answer.phase !== 'Running'
    if (!ended && now >= operation.deadlineAt.getTime())
      return { ...answer, phase: 'Expired', message: 'Its deadline passed; what it had begun goes on.' }
    return answer
  }

  function work(operation: Operation): Promise<Answer> {
    switch (operation.kind) {
      case 'drain':
        return drain(operation)
      case 'replenish':
        return replenish(operation)
      case 'reconcile':
        return lookAtEverything(operation)
      case 'action':
        return action(operation)
      case 'probe':
      case 'logs':
        return inspected(operation)
      default: {
        const never: never = operation.kind
        throw new Error(`no such operation: ${never}`)
      }
    }
  }

  /** Picks once, in one statement; what was idle later is not its business. */
  async function drain(operation: Operation): Promise<Answer> {
    let picked = operation.picked
    if (operation.phase === 'Pending' && picked === 0) {
      const count = operation.selector.all ? 20_000 : operation.wanted
      const marked = await unwantIdle(sql, lead.fence, count, {
        operation: operation.id,
        ...(operation.selector.revision === undefined ? {} : { revision: operation.selector.revision }),
      })
      if (marked === null) return { phase: 'Pending' }
      picked = marked
      deps.changed()
    }
    const left = sum(await membersOf(sql, 'drained_by', operation.id))
    const done = picked - left
    const result = { drained: picked }
    return left > 0
      ? { phase: 'Running', done, result, message: `${done} of ${picked} gone` }
      : { phase: 'Succeeded', done, result, message: picked === 0 ? 'nothing was idle' : null }
  }

  /** On top of the plan, as far as maxTotal allows; counted in the row by the statement that inserts. */
  async function replenish(operation: Operation): Promise<Answer> {
    let picked = operation.picked
    const missing = operation.wanted - picked
    if (missing > 0) {
      const pool = await getPool(sql, deps.pool)
      const counts = await countInstances(sql, deps.pool)
      const alive =
        Object.values(counts).reduce((a, b) => a + b, 0) + (deps.orphans.count() ?? Number.POSITIVE_INFINITY)
      const room = Math.max(0, (pool.spec?.maxTotal ?? 0) - alive)
      const slots = Math.max(0, (pool.spec?.limits.createConcurrency ?? 0) - counts.provisioning)
      const now = Math.min(missing, room, slots)
      if (now > 0 && !pool.spec?.paused.create) {
        const members = Array.from({ length: now }, () => newMember(deps, pool.revision))
        picked += (await insertInstances(sql, lead.fence, pool.planVersion, members, operation.id)) ?? 0
        deps.changed()
      }
    }
    const members = await membersOf(sql, 'made_by', operation.id)
    const building = members.find(({ status }) => status === 'provisioning')?.count ?? 0
    const failed = picked - sum(members)
    const done = picked - building - failed
    const result = { created: picked }
    return picked >= operation.wanted && building === 0
      ? {
          phase: failed > 0 ? 'Failed' : 'Succeeded',
          done,
          failed,
          result,
          message: failed > 0 ? `${failed} builds failed` : null,
        }
      : { phase: 'Running', done, failed, result, message: `${done} of ${operation.wanted} ready` }
  }

  /** A complete list that began after the request, and an answer about every row that it lacks. */
  async function lookAtEverything(operation: Operation): Promise<Answer> {
    const asked = listsAtRequest.get(operation.id)
    if (asked === undefined) {
      listsAtRequest.set(operation.id, deps.orphans.lists())
      deps.lookAtAll()
      return { phase: 'Running', result: operation.result ?? { cleaned: 0 } }
    }
    if (deps.orphans.lists() === asked) return { phase: 'Running', result: operation.result }
    if (operation.arguments.confirmLost === true) deps.orphans.confirmLost()
    const suspects = operation.result?.missing
    const missing: string[] = Array.isArray(suspects) ? suspects.map(String) : [...deps.orphans.missing()]
    const rows = await findInstances(sql, missing)
    const firstSeen = !Array.isArray(suspects) // nobody has looked at them yet
    const open = rows.filter(
      ({ missingAt, phase }) => firstSeen || missingAt !== null || phase === 'deleting',
    )
    const result = { cleaned: missing.length - rows.length, missing }
    if (open.length > 0)
      return {
        phase: 'Running',
        done: result.cleaned,
        result,
        message: `${open.length} missing ones are looked at again`,
      }
    listsAtRequest.delete(operation.id)
    return { phase: 'Succeeded', done: result.cleaned, result }
  }

  async function action(operation: Operation): Promise<Answer> {
    const id = operation.selector.instance ?? ''
    const [row] = await findInstances(sql, [id])
    const destroy = operation.selector.verb === 'destroy'
    if (!row) return { phase: 'Succeeded', done: 1, result: { outcome: destroy ? 'destroyed' : 'replaced' } }
    // Idle again, or already the next user's: the life that was asked about has ended.
    if (!destroy && row.recycled >= (operation.selector.until ?? 0))
      return { phase: 'Succeeded', done: 1, result: { outcome: 'recycled' } }
    if (!destroy && row.phase === 'quarantined')
      return { phase: 'Failed', failed: 1, message: 'It could not be proven clean and is in quarantine.' }
    return { phase: 'Running', message: `now ${row.phase}` }
  }

  async function inspected(operation: Operation): Promise<Answer> {
    try {
      const result = await deps.inspect(operation)
      return { phase: 'Succeeded', done: 1, result }
    } catch (error) {
      return {
        phase: 'Failed',
        failed: 1,
        message: error instanceof Error ? error.message.slice(0, 300) : 'no answer',
      }
    }
  }
}

const sum = (members: readonly { count: number }[]) => members.reduce((total, { count }) => total + count, 0)

function same(operation: Operation, answer: Answer): boolean {
  return (
    operation.phase === answer.phase &&
    operation.done === (answer.done ?? 0) &&
    operation.failed === (answer.failed ?? 0) &&
    operation.message === (answer.message ?? null) &&
    JSON.stringify(operation.result) === JSON.stringify(answer.result ?? null)
  )
}
