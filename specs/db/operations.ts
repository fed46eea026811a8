import { NotFound } from '../errors.ts'
import type { Operation, OperationAttempt, OperationKind, OperationPhase, Selector } from '../operation.ts'
import type { Sql } from './connect.ts'
import type { Fence } from './pools.ts'
import { operationFromRow, type Row } from './rows.ts'

export interface NewOperation {
  id: string
  pool: string
  kind: OperationKind
  selector?: Selector
  wanted?: number
  arguments?: Record<string, unknown>
  actor: string
  deadlineSeconds: number
}

/** Created at a whole ms: a page goes on from an instant as we hand it out. */
export async function createOperation(sql: Sql, operation: NewOperation): Promise<Operation> {
  const [row] = await sql<Row[]>`
    insert into operations (id, pool, kind, selector, wanted, arguments, actor, deadline_at, created_at)
    values (${operation.id}, ${operation.pool}, ${operation.kind}, ${sql.json((operation.selector ?? {}) as never)},
            ${operation.wanted ?? 0}, ${sql.json((operation.arguments ?? {}) as never)}, ${operation.actor},
            pool_now() + make_interval(secs => ${operation.deadlineSeconds}), date_trunc('milliseconds', pool_now()))
    returning *`
  if (!row) throw new Error('the operation was not stored')
  return operationFromRow(row)
}

/** @throws NotFound */
export async function getOperation(sql: Sql, pool: string, id: string): Promise<Operation> {
  const [row] = await sql<Row[]>`select * from operations where pool = ${pool} and id = ${id}`
  if (!row) throw new NotFound('operation', id)
  return operationFromRow(row)
}

export async function getOperations(sql: Sql, ids: readonly string[]): Promise<Operation[]> {
  const rows = await sql<Row[]>`select * from operations where id = any (${ids as string[]})`
  return rows.map(operationFromRow)
}

/** Newest first. */
export async function listOperations(
  sql: Sql,
  pool: string,
  page: { limit: number; after?: { createdAt: string; id: string } | undefined },
): Promise<Operation[]> {
  const rows = await sql<Row[]>`
    select * from operations where pool = ${pool}
      ${page.after ? sql`and (created_at, id) < (${page.after.createdAt}::timestamptz, ${page.after.id})` : sql``}
     order by created_at desc, id desc limit ${page.limit}`
  return rows.map(operationFromRow)
}

/** The newest action of this verb on that instance, finished or not; null: none. Outlives the instance. */
export async function lastAction(
  sql: Sql,
  pool: string,
  instance: string,
  verb: 'recycle' | 'destroy',
): Promise<Operation | null> {
  const [row] = await sql<Row[]>`
    select * from operations
     where pool = ${pool} and kind = 'action' and selector ->> 'instance' = ${instance} and selector ->> 'verb' = ${verb}
     order by created_at desc limit 1`
  return row ? operationFromRow(row) : null
}

/** Asks for its end; what it has begun goes on. @throws NotFound */
export async function cancelOperation(sql: Sql, pool: string, id: string): Promise<Operation> {
  const [row] = await sql<Row[]>`
    update operations set cancelled_at = case when phase in ('Pending', 'Running') then coalesce(cancelled_at, pool_now()) else cancelled_at end
     where pool = ${pool} and id = ${id} returning *`
  if (!row) throw new NotFound('operation', id)
  return operationFromRow(row)
}

export async function openOperations(sql: Sql, pool: string): Promise<Operation[]> {
  const rows = await sql<Row[]>`
    select * from operations where pool = ${pool} and phase in ('Pending', 'Running') order by created_at limit 1000`
  return rows.map(operationFromRow)
}

/** Writes progress or the end; `done` never falls. False: not the leader, or it has ended already. */
export async function writeOperation(
  sql: Sql,
  fence: Fence,
  id: string,
  status: {
    phase: OperationPhase
    done?: number
    failed?: number
    message?: string | null
    result?: Record<string, unknown> | null
  },
): Promise<boolean> {
  const ends = status.phase !== 'Pending' && status.phase !== 'Running'
  const rows = await sql`
    with lease as materialized (select 1 from leases where pool = ${fence.pool} and epoch = ${fence.epoch} for key share)
    update operations set phase = ${status.phase}, done = greatest(done, ${status.done ?? 0}), failed = ${status.failed ?? 0},
           arguments = case when ${ends} and kind = 'action' then '{}' else arguments end, -- somebody's words are kept no longer
           message = ${status.message ?? null}, result = ${status.result ? sql.json(status.result as never) : null},
           started_at = coalesce(started_at, pool_now()), finished_at = case when ${ends} then pool_now() end
      from lease where id = ${id} and phase in ('Pending', 'Running')
    returning tell(case when ${ends} then jsonb_build_object('kind', 'operation-done', 'pool', pool, 'ids', jsonb_build_array(id)) end)`
  return rows.length > 0
}

/** The oldest that this claim's agent has yet to do, begun or not; null: nothing. */
export async function nextAgentAction(sql: Sql, claim: string): Promise<Operation | null> {
  const [row] = await sql<Row[]>`
    select * from operations
     where kind = 'action' and phase in ('Pending', 'Running') and selector ->> 'claim' = ${claim}
     order by created_at, id limit 1`
  return row ? operationFromRow(row) : null
}

/** Commits the attempt before its request is sent. False: cancelled, overdue, begun by somebody else, or we do not lead. */
export async function beginAgentAction(
  sql: Sql,
  fence: Fence,
  id: string,
  attempt: OperationAttempt,
): Promise<boolean> {
  const rows = await sql`
    with lease as materialized (select 1 from leases where pool = ${fence.pool} and epoch = ${fence.epoch} for key share)
    update operations set phase = 'Running', attempt = ${sql.json({ ...attempt })}, started_at = pool_now()
      from lease where id = ${id} and phase = 'Pending' and cancelled_at is null and deadline_at > pool_now()
    returning id`
  return rows.length > 0
}

export interface AgentActionEnd {
  phase: 'Succeeded' | 'Failed'
  message: string | null
  result: Record<string, unknown> | null
  /** What the claim's row says from now on. */
  claim?: { agentName?: string; instructions?: string; released?: boolean }
}

/** The outcome of a call that was made: written where the attempt still is this one, whoever leads by now. */
export async function endAgentAction(
  sql: Sql,
  id: string,
  attempt: string,
  { phase, message, result, claim = {} }: AgentActionEnd,
): Promise<boolean> {
  const rows = await sql`
    with ended as (
      update operations set phase = ${phase}, done = ${phase === 'Succeeded' ? 1 : 0}, failed = ${phase === 'Failed' ? 1 : 0},
             message = ${message}, result = ${result ? sql.json(result as never) : null}, arguments = '{}', finished_at = pool_now()
       where id = ${id} and phase = 'Running' and attempt ->> 'id' = ${attempt}
      returning id, pool, selector ->> 'claim' as claim_id),
    changed as (
      update claims c set
        agent_name = coalesce(${claim.agentName ?? null}, agent_name),
        instructions = coalesce(${claim.instructions ?? null}, instructions),
        released_at = case when ${claim.released === true} then coalesce(released_at, pool_now()) else released_at end
        from ended
       where c.id = ended.claim_id and c.ended_at is null and ${Object.keys(claim).length > 0})
    select tell(jsonb_build_object('kind', 'operation-done', 'pool', pool, 'ids', jsonb_build_array(id))) from ended`
  return rows.length > 0
}

/** How many of those that it marked are still there. */
export async function drainedLeft(sql: Sql, operation: string): Promise<number> {
  const [row] = await sql<{ left: number }[]>`
    select count(*)::int as left from instances where drained_by = ${operation}`
  return row?.left ?? 0
}

/**
 * What became of the members that it asked for, as of one instant: all of them, those that were ready once (counted by the
 * trigger `instances_first_ready`), those that may still get there. The rest failed.
 */
export async function buildsOf(
  sql: Sql,
  operation: string,
): Promise<{ picked: number; done: number; building: number }> {
  const [row] = await sql<{ picked: number; done: number; building: number }[]>`
    select picked, done, (select count(*)::int from instances i
                           where i.made_by = o.id and i.first_ready_at is null and i.phase <> 'deleting') as building
      from operations o where id = ${operation}`
  if (!row) throw new NotFound('operation', operation)
  return row
}
