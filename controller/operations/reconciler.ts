/**
 * What a person asked for, made true and answered: drains, refills, a look at everything, one instance's recycle or end. Each
 * has a key of its own, so that none waits for another's Sprite, or pauses for another's failures.
 */
import type { Clock } from '../../specs/clock.ts'
import type { Sql } from '../../specs/db/connect.ts'
import { countInstances, findInstances, insertInstances, unwantIdle } from '../../specs/db/instances.ts'
import {
  buildsOf,
  drainedLeft,
  getOperations,
  openOperations,
  writeOperation,
} from '../../specs/db/operations.ts'
import { getPool } from '../../specs/db/pools.ts'
import { isFinished, type Operation } from '../../specs/operation.ts'
import type { Random } from '../../specs/random.ts'
import { cut } from '../../specs/text.ts'
import { LEASE_PAUSE_MS, type Lead } from '../lease.ts'
import type { Orphans } from '../orphans/reconciler.ts'
import { newMember } from '../pool/reconciler.ts'
import type { Result } from '../reconcile.ts'
import { agentActions, isAgentAction } from './agent-actions.ts'
import type { Inspect } from './inspect.ts'
import { within } from './within.ts'

export interface OperationsDeps {
  sql: Sql
  clock: Clock
  random: Random
  lead: Lead
  pool: string
  namePrefix: string
  orphans: Pick<Orphans, 'count' | 'listStartedAt' | 'missing' | 'confirmLost'>
  inspect: Inspect
  /** Rows were made or marked: look at them, and plan. */
  changed(): void
  /** Wakes an instance: it has something to do. */
  look(instance: string): void
  /** Somebody needs a newer list, and a look at everything. */
  lookAtAll(): void
  /** A newer list alone. */
  requestList(): void
  /** Wakes the key of an open operation; `overdue`: even one that pauses after a failure. */
  wake(id: string, overdue: boolean): void
}

export interface OperationsReconciler {
  /** Finds what is open, and wakes it. */
  list(): Promise<Result>
  /** One of them. */
  advance(id: string, signal: AbortSignal): Promise<Result>
}

type Answer = { phase: Operation['phase'] } & Partial<
  Pick<Operation, 'done' | 'failed' | 'message' | 'result'>
>

/** ms. While something is open; news of the instances come in between. */
const LOOK_MS = 500
/** ms. For all questions of one look inside; a Sprite that sleeps takes up to 15 s to wake. */
const INSPECT_MS = 30_000

export function operationsReconciler(deps: OperationsDeps): OperationsReconciler {
  const { sql, clock, lead } = deps
  /** When each request for a list was seen here, ms since the epoch: forgotten by a restart, one more list is read. */
  const requestedAt = new Map<string, number>()
  const advanceAgentAction = agentActions(deps)

  async function list(): Promise<Result> {
    if (!lead.mayCall()) return { requeueAfterMs: LEASE_PAUSE_MS }
    for (const operation of await openOperations(sql, deps.pool))
      deps.wake(operation.id, isOverdue(operation))
    return {}
  }

  async function advance(id: string, signal: AbortSignal): Promise<Result> {
    if (!lead.mayCall()) return { requeueAfterMs: LEASE_PAUSE_MS }
    const [operation] = await getOperations(sql, [id])
    const answer = operation && !isFinished(operation) ? await answerTo(operation, signal) : null
    if (operation && answer && !same(operation, answer))
      await writeOperation(sql, lead.fence, operation.id, answer)
    if (answer && !isFinished(answer)) return { requeueAfterMs: LOOK_MS }
    requestedAt.delete(id)
    return {}
  }

  async function answerTo(operation: Operation, signal: AbortSignal): Promise<Answer> {
    if (isAgentAction(operation)) return advanceAgentAction(operation)
    const progress = { done: operation.done, failed: operation.failed, result: operation.result }
    if (operation.cancelledAt)
      return { phase: 'Cancelled', ...progress, message: 'Cancelled; what it had begun goes on.' }
    const expired = { phase: 'Expired', message: 'Its deadline passed; what it had begun goes on.' } as const
    try {
      const answer = await work(operation, signal)
      return !isFinished(answer) && isOverdue(operation) ? { ...answer, ...expired } : answer
    } catch (error) {
      if (signal.aborted) throw error // whoever leads next goes on
      if (isOverdue(operation)) return { ...progress, ...expired }
      const message = error instanceof Error ? cut(error.message, 300) : 'no answer'
      const trouble = { ...progress, phase: operation.phase, message }
      if (!same(operation, trouble))
        await writeOperation(sql, lead.fence, operation.id, trouble).catch(() => {})
      throw error
    }
  }

  const isOverdue = ({ deadlineAt }: Operation) => clock.now() >= deadlineAt.getTime()

  function work(operation: Operation, signal: AbortSignal): Promise<Answer> {
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
        return inspected(operation, signal)
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
    const left = await drainedLeft(sql, operation.id)
    const done = picked - left
    const result = { drained: picked }
    return left > 0
      ? { phase: 'Running', done, result, message: `${done} of ${picked} gone` }
      : { phase: 'Succeeded', done, result, message: picked === 0 ? 'nothing was idle' : null }
  }

  /** On top of the plan, as far as maxTotal allows; counted in the row by the statement that inserts. */
  async function replenish(operation: Operation): Promise<Answer> {
    const missing = operation.wanted - operation.picked
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
        await insertInstances(sql, lead.fence, pool.planVersion, members, operation.id)
        deps.changed()
      }
    }
    // One that was ready once counts for good: claimed, recycled or destroyed since then, it was built.
    const { picked, done, building } = await buildsOf(sql, operation.id)
    const failed = picked - done - building
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
    const asked = requestedAt.get(operation.id)
    if (asked === undefined) {
      requestedAt.set(operation.id, clock.now())
      deps.lookAtAll()
      return { phase: 'Running', result: operation.result ?? { cleaned: 0 } }
    }
    if ((deps.orphans.listStartedAt() ?? 0) <= asked) {
      deps.requestList() // the newest may have been under way when it was asked for
      return { phase: 'Running', result: operation.result }
    }
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

  async function inspected(operation: Operation, signal: AbortSignal): Promise<Answer> {
    try {
      const result = await within(clock, operation.kind, INSPECT_MS, signal, (limit) =>
        deps.inspect(operation, limit),
      )
      return { phase: 'Succeeded', done: 1, result }
    } catch (error) {
      if (signal.aborted) throw error
      return {
        phase: 'Failed',
        failed: 1,
        message: error instanceof Error ? cut(error.message, 300) : 'no answer',
      }
    }
  }

  return { list, advance }
}

function same(operation: Operation, answer: Answer): boolean {
  return (
    operation.phase === answer.phase &&
    operation.done === (answer.done ?? 0) &&
    operation.failed === (answer.failed ?? 0) &&
    operation.message === (answer.message ?? null) &&
    JSON.stringify(operation.result) === JSON.stringify(answer.result ?? null)
  )
}
