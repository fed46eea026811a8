import type { Claim } from '../claim.ts'
import { NotFound } from '../errors.ts'
import type { Sql } from './connect.ts'
import type { Fence } from './pools.ts'
import { claimFromRow, type Row } from './rows.ts'

export interface ClaimSubmission {
  claimId: string
  pool: string
  actor: string
  agentName: string
  instructions: string
  joinUrl: string | null
  extra: Record<string, unknown>
  ttlSeconds: number | null
  priority: number
  /** Take a place in the line when nothing is idle, instead of a refusal. */
  wait: boolean
  deadlineSeconds: number
  key: string | null
  bodyHash: string | null
}

export type Submitted =
  | { outcome: 'Bound'; claimId: string; instanceId: string }
  | { outcome: 'Waiting'; claimId: string }
  /** The same key and body came before: this is its claim, whatever became of it. */
  | { outcome: 'Known'; claimId: string }
  /** The same key came with another body. */
  | { outcome: 'KeyReused'; claimId: string }
  /** Nothing idle, and the caller does not wait. Nothing was stored. */
  | { outcome: 'Empty' }

/** One statement; who gets which instance is decided inside it. */
export async function submitClaim(sql: Sql, claim: ClaimSubmission): Promise<Submitted> {
  const [row] = await sql<
    { submitted: Submitted }[]
  >`select submit_claim(${sql.json(claim as never)}) as submitted`
  if (!row) throw new Error('submit_claim() answered no row')
  return row.submitted
}

/** @throws NotFound */
export async function getClaim(sql: Sql, pool: string, id: string): Promise<Claim> {
  const [row] = await sql<Row[]>`select * from claims where pool = ${pool} and id = ${id}`
  if (!row) throw new NotFound('claim', id)
  return claimFromRow(row)
}

/** One statement for all claims that a process waits for. */
export async function getClaims(sql: Sql, ids: readonly string[]): Promise<Claim[]> {
  const rows = await sql<Row[]>`select * from claims where id = any (${ids as string[]})`
  return rows.map(claimFromRow)
}

/** Newest first. `before` is the number of the last one seen. */
export async function listClaims(
  sql: Sql,
  pool: string,
  filter: {
    phase?: string | undefined
    agentName?: string | undefined
    before?: number | undefined
    limit: number
  },
): Promise<Claim[]> {
  const rows = await sql<Row[]>`
    select * from claims where pool = ${pool}
      ${filter.phase ? sql`and phase = ${filter.phase}` : sql``}
      ${filter.agentName ? sql`and agent_name = ${filter.agentName}` : sql``}
      ${filter.before ? sql`and number < ${filter.before}` : sql``}
     order by number desc limit ${filter.limit}`
  return rows.map(claimFromRow)
}

/** The claims that hold an instance, newest first, with the instance's own facts beside them. */
export async function liveAgents(
  sql: Sql,
  pool: string,
): Promise<{ claim: Claim; spriteName: string | null; commit: string | null; conditions: unknown[] }[]> {
  const rows = await sql<
    { c: Row; sprite_name: string | null; commit: string | null; conditions: unknown[] | null }[]
  >`
    select to_jsonb(c) as c, i.sprite_name, i.commit, i.conditions
      from instances i join claims c on c.id = i.claim_id
     where i.pool = ${pool} order by c.number desc limit 20000`
  return rows.map((row) => ({
    claim: claimFromRow(row.c),
    spriteName: row.sprite_name,
    commit: row.commit,
    conditions: row.conditions ?? [],
  }))
}

/** Release of a delivered one, cancel of one that is not yet: only marked here. @throws NotFound */
export async function releaseClaim(sql: Sql, pool: string, id: string): Promise<Claim> {
  const [row] = await sql<Row[]>`
    update claims set
      released_at = case when phase in ('Ready', 'Releasing') then coalesce(released_at, pool_now()) else released_at end,
      cancelled_at = case when phase in ('Waiting', 'Bound', 'Delivering', 'AwaitingAcceptance')
                          then coalesce(cancelled_at, pool_now()) else cancelled_at end
     where pool = ${pool} and id = ${id} returning *`
  if (!row) throw new NotFound('claim', id)
  return claimFromRow(row)
}

/** Place in the line, from 1; null when it does not wait. */
export async function linePosition(sql: Sql, id: string): Promise<number | null> {
  const [row] = await sql<{ place: number }[]>`
    select count(*)::int as place from claims w, claims c
     where c.id = ${id} and c.phase = 'Waiting' and w.pool = c.pool and w.phase = 'Waiting'
       and (w.priority > c.priority or (w.priority = c.priority and w.number <= c.number))`
  return row && row.place > 0 ? row.place : null
}

export async function countWaiting(sql: Sql, pool: string): Promise<number> {
  const [row] = await sql<{ n: number }[]>`
    select count(*)::int as n from claims where pool = ${pool} and phase = 'Waiting' and cancelled_at is null and deadline_at > pool_now()`
  return row?.n ?? 0
}

/** Cancelled or overdue claims whose delivery never began end here; their instances go back to the shelf untouched. */
export async function endUnbegunClaims(sql: Sql, fence: Fence): Promise<Claim[]> {
  const rows = await sql<Row[]>`select * from end_unbegun_claims(${fence.pool}, ${fence.epoch})`
  return rows.map(claimFromRow)
}
