import type { PoolEvent } from '../event.ts'
import type { Sql } from './connect.ts'
import { type Row, text } from './rows.ts'

export interface NewEvent {
  pool: string
  type: 'Normal' | 'Warning'
  reason: string
  /** Cut at 500 characters. */
  message: string
  actor: string
  causeId?: string | null
  claimId?: string | null
  instanceId?: string | null
  count?: number
  firstAt?: Date | null
}

export async function recordEvent(sql: Sql, event: NewEvent): Promise<void> {
  await sql`select record_event(${event.pool}, ${event.type}, ${event.reason}, ${event.message}, ${event.actor},
    ${event.causeId ?? null}, ${event.claimId ?? null}, ${event.instanceId ?? null}, ${event.count ?? 1}, ${event.firstAt ?? null})`
}

/** Newest first. `before` is an event's id. */
export async function listEvents(
  sql: Sql,
  pool: string,
  filter: {
    instance?: string | undefined
    claim?: string | undefined
    type?: string | undefined
    before?: string | undefined
    limit: number
  },
): Promise<PoolEvent[]> {
  const [xid, seq] = filter.before?.split('-') ?? []
  const rows = await sql<Row[]>`
    select xid::text as xid, seq, at, first_at, type, reason, message, actor, cause, claim_id, instance_id, count
      from events where pool = ${pool}
      ${filter.instance ? sql`and instance_id = ${filter.instance}` : sql``}
      ${filter.claim ? sql`and claim_id = ${filter.claim}` : sql``}
      ${filter.type ? sql`and type = ${filter.type}` : sql``}
      ${xid && seq ? sql`and (xid, seq) < (${xid}::xid8, ${seq}::bigint)` : sql``}
     order by events.xid desc, events.seq desc limit ${filter.limit}` // the column: `xid` alone would be the text above
  return rows.map((row) => ({
    id: `${row.xid}-${row.seq}`,
    type: row.type as PoolEvent['type'],
    reason: String(row.reason),
    message: String(row.message),
    actor: String(row.actor),
    causeId: text(row.cause),
    claimId: text(row.claim_id),
    instanceId: text(row.instance_id),
    count: Number(row.count),
    firstAt: row.first_at as Date,
    lastAt: row.at as Date,
  }))
}

/** Makes the partitions of the next days and drops those older than `keepDays`. */
export async function keepEventPartitions(sql: Sql, keepDays: number): Promise<void> {
  await sql`select keep_event_partitions(${keepDays})`
}
