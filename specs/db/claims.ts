import type { Claim } from '../claim.ts'
import { Conflict, NotFound } from '../errors.ts'
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
  /** The same link, name and instructions within it are the same claim. */
  joinDedupeSeconds: number
}

export type Submitted =
  | { outcome: 'Bound'; claimId: string; instanceId: string }
  | { outcome: 'Waiting'; claimId: string }
  /** The same key and body came before, or it is a double tap: this is its claim, whatever became of it. */
  | { outcome: 'Known'; claimId: string }
  /** The same key came with another body, of this hash. */
  | { outcome: 'KeyReused'; claimId: string; bodyHash: string }
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

/** A claim without its instructions: up to 256 KB that a list or a wait has no use for. */
export type ClaimView = Omit<Claim, 'instructions'>

const visible = (sql: Sql) => sql`
  id, pool, number, priority, actor, agent_name, join_url, extra, ttl_seconds, deadline_at, released_at, cancelled_at, instance_id,
  phase, attempts, conversation_id, invite_url, invite_slug, joined, reason, message, created_at, bound_at, ready_at, ended_at,
  expires_at`

function viewFromRow(row: Row): ClaimView {
  const { instructions: _, ...view } = claimFromRow(row)
  return view
}

/** @throws NotFound */
export async function getClaim(sql: Sql, pool: string, id: string): Promise<ClaimView> {
  const [row] = await sql<Row[]>`select ${visible(sql)} from claims where pool = ${pool} and id = ${id}`
  if (!row) throw new NotFound('claim', id)
  return viewFromRow(row)
}

/** One statement for all claims that a process waits for. */
export async function getClaims(sql: Sql, ids: readonly string[]): Promise<ClaimView[]> {
  const rows = await sql<Row[]>`select ${visible(sql)} from claims where id = any (${ids as string[]})`
  return rows.map(viewFromRow)
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
): Promise<ClaimView[]> {
  const rows = await sql<Row[]>`
    select ${visible(sql)} from claims where pool = ${pool}
      ${filter.phase ? sql`and phase = ${filter.phase}` : sql``}
      ${filter.agentName ? sql`and agent_name = ${filter.agentName}` : sql``}
      ${filter.before ? sql`and number < ${filter.before}` : sql``}
     order by number desc limit ${filter.limit}`
  return rows.map(viewFromRow)
}

/** The claims that hold an instance, newest first, whole: `maxTotal` bounds them. */
export async function liveClaims(sql: Sql, pool: string): Promise<Claim[]> {
  const rows = await sql<Row[]>`
    select c.* from instances i join claims c on c.id = i.claim_id
     where i.pool = ${pool} order by c.number desc limit 20000`
  return rows.map(claimFromRow)
}

/** The same without their instructions. */
export async function liveClaimViews(sql: Sql, pool: string): Promise<ClaimView[]> {
  const rows = await sql<Row[]>`
    select ${visible(sql)} from claims
     where id in (select claim_id from instances where pool = ${pool} and claim_id is not null)
     order by number desc limit 20000`
  return rows.map(viewFromRow)
}

/** Release of a delivered one, cancel of one that is not yet: only marked here. @throws NotFound */
export async function releaseClaim(sql: Sql, pool: string, id: string): Promise<ClaimView> {
  const [row] = await sql<Row[]>`
    update claims set
      released_at = case when phase in ('Ready', 'Releasing') then coalesce(released_at, pool_now()) else released_at end,
      cancelled_at = case when phase in ('Waiting', 'Bound', 'Delivering', 'AwaitingAcceptance')
                          then coalesce(cancelled_at, pool_now()) else cancelled_at end
     where pool = ${pool} and id = ${id} returning ${visible(sql)}`
  if (!row) throw new NotFound('claim', id)
  return viewFromRow(row)
}

/**
 * It ends `seconds` from now; one that is not delivered yet, so long after it will be. Whether it is too late is decided
 * by the row, against whoever ends it at this moment.
 * @throws NotFound, Conflict `ClaimEnded`
 */
export async function renewClaim(sql: Sql, pool: string, id: string, seconds: number): Promise<ClaimView> {
  const [row] = await sql<Row[]>`
    update claims set ttl_seconds = ${seconds},
      expires_at = case when phase = 'Ready' then pool_now() + make_interval(secs => ${seconds}) end
     where pool = ${pool} and id = ${id} and ended_at is null and released_at is null and cancelled_at is null
       and (expires_at is null or expires_at > pool_now())
    returning ${visible(sql)}`
  if (row) return viewFromRow(row)
  const claim = await getClaim(sql, pool, id)
  throw new Conflict('ClaimEnded', `claim ${id} is over: claim again`, [
    { path: 'phase', message: claim.reason ?? claim.phase },
  ])
}

/**
 * One caller went away before its answer was written. When nobody is left who may know of the claim, it is let go in time
 * (`releaseUnseen`); one that nobody can ask for again gives up its place in the line at once.
 */
export async function markUnseen(sql: Sql, id: string): Promise<void> {
  await sql`
    update claims set callers = greatest(callers - 1, 0),
      unseen_at = case when callers <= 1 then coalesce(unseen_at, pool_now()) else unseen_at end,
      cancelled_at = case when callers <= 1 and not keyed and phase = 'Waiting' then coalesce(cancelled_at, pool_now())
                          else cancelled_at end
     where id = ${id} and ended_at is null`
}

/** s. So long a place in the line is kept for a caller whose connection was lost and who has a key to come back with. */
const PLACE_KEPT_SECONDS = 15

/** Lets go what nobody can know of, and ends the places in the line that nobody came back for. Returns how many. */
export async function releaseUnseen(sql: Sql, fence: Fence, seconds: number): Promise<number> {
  const rows = await sql`
    with lease as materialized (select 1 from leases where pool = ${fence.pool} and epoch = ${fence.epoch} for key share),
    gone as (
      select id from claims
       where pool = ${fence.pool} and ended_at is null and released_at is null and cancelled_at is null
         and unseen_at <= pool_now() - make_interval(secs => case when keyed then ${PLACE_KEPT_SECONDS}::float8 else ${seconds}::float8 end)
         and (not keyed or phase = 'Waiting')
       order by number limit 500 for no key update skip locked)
    update claims c set
      released_at = case when phase in ('Ready', 'Releasing') then pool_now() end,
      cancelled_at = case when phase not in ('Ready', 'Releasing') then pool_now() end
      from gone, lease where c.id = gone.id
    returning record_event(c.pool, 'Warning', 'ClaimUnseen', 'Its caller had gone before the answer was written: it is let go.',
                           'controller', null, c.id, c.instance_id)`
  return rows.length
}

/** Forgets the Idempotency-Keys of claims that were made longer ago: a retry comes within minutes or not at all. */
export async function forgetClaimKeys(sql: Sql, seconds: number): Promise<number> {
  const { count } =
    await sql`delete from claim_keys where created_at < pool_now() - make_interval(secs => ${seconds})`
  return count
}

/** Cancelled or overdue claims whose delivery never began end here; their instances go back to the shelf untouched. */
export async function endUnbegunClaims(sql: Sql, fence: Fence): Promise<Claim[]> {
  const rows = await sql<Row[]>`select * from end_unbegun_claims(${fence.pool}, ${fence.epoch})`
  return rows.map(claimFromRow)
}

/** Seconds until the next claim ends by time alone, at least 0; null: none will. */
export async function nextClaimDeadline(
  sql: Sql,
  pool: string,
  unseenSeconds: number,
): Promise<number | null> {
  const [row] = await sql<{ seconds: number | null }[]>`
    select greatest(0, extract(epoch from min(at) - pool_now()))::float8 as seconds from (
      select min(deadline_at) as at from claims where pool = ${pool} and phase in ('Waiting', 'Bound')
      union all
      select min(expires_at) from claims where pool = ${pool} and phase = 'Ready' and expires_at is not null
      union all
      select min(unseen_at + make_interval(secs => case when keyed then ${PLACE_KEPT_SECONDS}::float8 else ${unseenSeconds}::float8 end)) from claims
       where pool = ${pool} and unseen_at is not null and ended_at is null and released_at is null and cancelled_at is null
         and (not keyed or phase = 'Waiting')) ends`
  return row?.seconds ?? null
}

/** Instances whose claim's time is over. */
export async function expiredInstances(sql: Sql, pool: string): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select instance_id as id from claims
     where pool = ${pool} and phase = 'Ready' and expires_at is not null and expires_at <= pool_now() limit 1000`
  return rows.map(({ id }) => id)
}
