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

export interface EventFilter {
  instance?: string | undefined
  claim?: string | undefined
  type?: string | undefined
}

const matching = (sql: Sql, pool: string, { instance, claim, type }: EventFilter) => sql`
  select xid::text as xid, seq, at, first_at, type, reason, message, actor, cause, claim_id, instance_id, count
    from events where pool = ${pool}
    ${instance ? sql`and instance_id = ${instance}` : sql``}
    ${claim ? sql`and claim_id = ${claim}` : sql``}
    ${type ? sql`and type = ${type}` : sql``}`

/** Newest first. `before` is an event's id. */
export async function listEvents(
  sql: Sql,
  pool: string,
  { before, limit, ...filter }: EventFilter & { before?: string | undefined; limit: number },
): Promise<PoolEvent[]> {
  const [xid, seq] = before?.split('-') ?? []
  const rows = await sql<Row[]>`
    ${matching(sql, pool, filter)}
      ${xid && seq ? sql`and (xid, seq) < (${xid}::xid8, ${seq}::bigint)` : sql``}
     order by events.xid desc, events.seq desc limit ${limit}` // the column: `xid` alone would be the text above
  return rows.map(eventFromRow)
}

/**
 * Oldest first, from behind `after` on: none is ever left out. Numbers are not given in the order of commits, so what was
 * written by a transaction younger than the oldest open one has to wait: something older may still come before it.
 */
export async function eventsAfter(
  sql: Sql,
  pool: string,
  { after, limit, ...filter }: EventFilter & { after: string; limit: number },
): Promise<PoolEvent[]> {
  const [xid = '0', seq = '0'] = after.split('-')
  const rows = await sql<Row[]>`
    ${matching(sql, pool, filter)}
       and (xid, seq) > (${xid}::xid8, ${seq}::bigint) and xid < pg_snapshot_xmin(pg_current_snapshot())
     order by events.xid, events.seq limit ${limit}`
  return rows.map(eventFromRow)
}

/** Where a reader stands that wants only what comes from now on. */
export async function eventsEnd(sql: Sql): Promise<string> {
  const [row] = await sql<{ xid: string }[]>`select pg_snapshot_xmin(pg_current_snapshot())::text as xid`
  return `${row?.xid ?? 0}-0`
}

const eventFromRow = (row: Row): PoolEvent => ({
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
})

/** Makes the partitions of the next days and drops those older than `keepDays`. */
export async function keepEventPartitions(sql: Sql, keepDays: number): Promise<void> {
  await sql`select keep_event_partitions(${keepDays})`
}
