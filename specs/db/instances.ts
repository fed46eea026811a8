import type { Claim } from '../claim.ts'
import { Conflict, NotFound } from '../errors.ts'
import {
  type Attempt,
  type Counts,
  type Instance,
  type InstanceId,
  type InstanceStatus,
  type Probe,
  STATUSES,
  type StoredSnapshot,
} from '../instance.ts'
import { Template } from '../pool.ts'
import type { Sql } from './connect.ts'
import type { Fence } from './pools.ts'
import { claimFromRow, instanceFromRow, instant, integer, type Row, text } from './rows.ts'

/** What the API's role may read; the stamp and the canary are between the controller and the disk. */
const readable = (sql: Sql) => sql`
  id, pool, wanted, recycle_requested, protected, claim_id, made_by, drained_by, machine, phase, status, attempt, touched,
  proven_at, recycled, reuses, revision, sprite_name, sprite_id, sprite_url, checkpoint_id, checkpoint_at, commit, takes,
  progress, conditions, error, next_look_at, created_at, first_ready_at, ready_at, claimed_at, updated_at, resource_version`

export interface InstanceView extends Instance {
  agentName: string | null
  probe: Probe
}

const probeFromRow = (row: Row): Probe => ({
  okAt: instant(row.ok_at),
  failedAt: instant(row.failed_at),
  strikes: integer(row.strikes ?? 0),
  latencyMs: row.latency_ms === null || row.latency_ms === undefined ? null : integer(row.latency_ms),
  verdict: text(row.verdict),
})

/** All seven, zeros too. Their sum is what counts against `maxTotal`. */
export async function countInstances(sql: Sql, pool: string): Promise<Counts> {
  const rows = await sql<{ status: InstanceStatus; n: number }[]>`
    select status, count(*)::int as n from instances where pool = ${pool} group by status`
  const counts = Object.fromEntries(STATUSES.map((status) => [status, 0])) as Counts
  for (const { status, n } of rows) counts[status] = n
  return counts
}

/** Newest first, whole: `maxTotal` bounds it. In whole ms: a page goes on from an instant as we hand it out. */
export async function listInstances(
  sql: Sql,
  pool: string,
  page: { limit: number; after?: { createdAt: string; id: string } | undefined } = { limit: 20_000 },
): Promise<InstanceView[]> {
  const rows = await sql<Row[]>`
    select ${readable(sql)}, p.ok_at, p.failed_at, p.strikes, p.latency_ms, p.verdict,
           (select agent_name from claims c where c.id = i.claim_id) as agent_name
      from instances i left join instance_probes p on p.instance_id = i.id
     where i.pool = ${pool}
       ${page.after ? sql`and (date_trunc('milliseconds', i.created_at), i.id) < (${page.after.createdAt}::timestamptz, ${page.after.id})` : sql``}
     order by date_trunc('milliseconds', i.created_at) desc, i.id desc limit ${page.limit}`
  return rows.map(viewFromRow)
}

/** @throws NotFound */
export async function getInstance(sql: Sql, pool: string, id: string): Promise<InstanceView> {
  const [row] = await sql<Row[]>`
    select ${readable(sql)}, p.ok_at, p.failed_at, p.strikes, p.latency_ms, p.verdict,
           (select agent_name from claims c where c.id = i.claim_id) as agent_name
      from instances i left join instance_probes p on p.instance_id = i.id
     where i.pool = ${pool} and i.id = ${id}`
  if (!row) throw new NotFound('instance', id)
  return viewFromRow(row)
}

const viewFromRow = (row: Row): InstanceView => ({
  ...instanceFromRow(row),
  agentName: text(row.agent_name),
  probe: probeFromRow(row),
})

/** Ids of the claimed ones, newest claim first. */
export async function claimedIds(sql: Sql, pool: string): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select id from instances where pool = ${pool} and claim_id is not null order by claimed_at desc nulls last, id`
  return rows.map(({ id }) => id)
}

// ── what the API edits ──────────────────────────────────────────────────────────────────────────────────────────

/**
 * Asks for one more recycle of the life that runs now; while one is asked for already it is the same one.
 * Returns the number that `recycled` must reach.
 * @throws NotFound, Conflict `ClaimChanged` when `claim` is given and another claim holds it, `Protected`
 */
export async function requestRecycle(
  sql: Sql,
  pool: string,
  id: string,
  claim: string | null,
): Promise<number> {
  const [row] = await sql<{ recycle_requested: number }[]>`
    update instances set recycle_requested = case when recycle_requested > recycled then recycle_requested else recycle_requested + 1 end
     where pool = ${pool} and id = ${id} and not protected and wanted = 'present' ${ifClaim(sql, claim)}
    returning recycle_requested`
  if (row) return row.recycle_requested
  throw await whyRefused(sql, pool, id, claim)
}

/**
 * From now on it is unwanted; repeating it changes nothing.
 * @throws NotFound, Conflict `ClaimChanged` or `Protected`
 */
export async function requestDestroy(
  sql: Sql,
  pool: string,
  id: string,
  claim: string | null,
): Promise<void> {
  const rows = await sql`
    update instances set wanted = 'absent'
     where pool = ${pool} and id = ${id} and (not protected or wanted = 'absent') ${ifClaim(sql, claim)} returning id`
  if (rows.length === 0) throw await whyRefused(sql, pool, id, claim)
}

const ifClaim = (sql: Sql, claim: string | null) =>
  claim === null ? sql`` : sql`and (claim_id is null or claim_id = ${claim})`

async function whyRefused(sql: Sql, pool: string, id: string, claim: string | null): Promise<Error> {
  const instance = await getInstance(sql, pool, id)
  if (claim !== null && instance.claimId !== null && instance.claimId !== claim)
    return new Conflict(
      'ClaimChanged',
      `instance ${id} serves another claim by now (${instance.claimId}): reload, then decide again`,
    )
  if (instance.protected)
    return new Conflict(
      'Protected',
      `instance ${id} is protected: unprotect it first (PATCH protected=false)`,
    )
  return new Conflict('BeingDeleted', `instance ${id} is being deleted already`)
}

/** @throws NotFound */
export async function setProtected(sql: Sql, pool: string, id: string, value: boolean): Promise<void> {
  const rows =
    await sql`update instances set protected = ${value} where pool = ${pool} and id = ${id} returning id`
  if (rows.length === 0) throw new NotFound('instance', id)
}

// ── what the controller reads and writes ────────────────────────────────────────────────────────────────────────

/** One read for one pass: the row, the claim that holds it, this life's key, its probes. */
export interface Loaded {
  instance: Instance
  claim: Claim | null
  /** Its time was over by the database's clock, which is the one that set `expiresAt`. */
  claimExpired: boolean
  gatewayKey: string | null
  gatewayToken: string | null
  probe: Probe
  /** What it is built from, its own revision's; null: the row does not say. */
  template: Template | null
}

export async function loadInstances(sql: Sql, ids: readonly string[]): Promise<Loaded[]> {
  const rows = await sql<
    { i: Row; c: Row | null; expired: boolean | null; s: Row | null; p: Row | null; template: unknown }[]
  >`
    select to_jsonb(i) as i, to_jsonb(c) as c, c.expires_at <= pool_now() as expired, to_jsonb(s) as s, to_jsonb(p) as p, r.template
      from instances i left join claims c on c.id = i.claim_id
      left join pool_revisions r on r.pool = i.pool and r.number = i.revision
      left join instance_secrets s on s.instance_id = i.id left join instance_probes p on p.instance_id = i.id
     where i.id = any (${ids as string[]})`
  return rows.map(({ i, c, expired, s, p, template }) => ({
    instance: instanceFromRow(i),
    claim: c ? claimFromRow(c) : null,
    claimExpired: expired === true,
    gatewayKey: text(s?.gateway_key),
    gatewayToken: text(s?.gateway_token),
    probe: probeFromRow(p ?? {}),
    template: Template.safeParse(template).data ?? null,
  }))
}

export interface News {
  type: 'Normal' | 'Warning'
  reason: string
  message: string
  claimId?: string
}

/** A build that ended, for the breaker. */
export interface BuildEnd {
  /** null: it became ready. */
  error: string | null
  /** Every further build of this revision would end the same: the breaker opens at once. */
  permanent: boolean
}

export interface BuildCount extends BuildEnd {
  threshold: number
  openSeconds: number
}

export interface InstanceWrite {
  /** Columns of instances by their SQL names; only these change. */
  patch: Record<string, unknown>
  /** `{id, phase, …columns of claims}`: what happens to the claim in the same transaction. */
  claim?: Record<string, unknown> | null
  secret?: { gateway_key: string; gateway_token: string } | null
  build?: BuildCount | null
  news?: readonly News[]
}

/**
 * Writes status. A decision: fenced by the lease and compared with the row's version. An outcome (`attempt` given): where
 * the row's attempt still is this one, and conditional on nothing else. null: somebody else was first; look again.
 */
export async function writeInstance(
  sql: Sql,
  fence: Fence,
  instance: Pick<Instance, 'id' | 'resourceVersion'>,
  attempt: string | null,
  write: InstanceWrite,
  actor: string,
): Promise<Instance | null> {
  const news = write.news?.map(({ claimId, ...rest }) => ({ ...rest, claim_id: claimId })) ?? null
  const [row] = await sql<Row[]>`
    select * from write_instance(${fence.pool}, ${fence.epoch}, ${instance.id}, ${instance.resourceVersion}, ${attempt},
      ${sql.json(write.patch as never)}, ${nullableJson(sql, write.claim)}, ${nullableJson(sql, write.secret)},
      ${nullableJson(sql, write.build)}, ${nullableJson(sql, news)}, ${actor})`
  return row ? instanceFromRow(row) : null
}

const nullableJson = (sql: Sql, value: unknown) =>
  value === null || value === undefined ? null : sql.json(value as never)

/** Commits the attempt of a delivery before its request is sent. null: somebody was first, or nothing is left to deliver. */
export async function beginDelivery(
  sql: Sql,
  fence: Fence,
  id: string,
  attempt: Attempt,
  machine: StoredSnapshot,
): Promise<(Pick<Loaded, 'instance' | 'gatewayKey' | 'template'> & { claim: Claim }) | null> {
  const [row] = await sql<
    { begun: { instance: Row; claim: Row; gatewayKey: string | null; template: unknown } | null }[]
  >`select begin_delivery(${fence.pool}, ${fence.epoch}, ${id}, ${sql.json(attempt as never)}, ${sql.json(machine as never)}) as begun`
  const begun = row?.begun
  return begun
    ? {
        instance: instanceFromRow(begun.instance),
        claim: claimFromRow(begun.claim),
        gatewayKey: begun.gatewayKey,
        template: Template.safeParse(begun.template).data ?? null,
      }
    : null
}

export interface NewMember {
  id: InstanceId
  spriteName: string
  stamp: string
  revision: number
  machine: StoredSnapshot
}

/** How many rows were made; null when the plan was of old news, or we do not lead: plan again. */
export async function insertInstances(
  sql: Sql,
  fence: Fence,
  planVersion: number,
  members: readonly NewMember[],
  operation: string | null,
): Promise<number | null> {
  const rows = members.map(({ spriteName, ...rest }) => ({ ...rest, sprite_name: spriteName }))
  const [row] = await sql<{ made: number }[]>`
    select insert_instances(${fence.pool}, ${fence.epoch}, ${planVersion}, ${sql.json(rows as never)}, ${operation}) as made`
  return row && row.made >= 0 ? row.made : null
}

/** The row goes last. False: it changed meanwhile, or we do not lead: look again. */
export async function removeInstance(
  sql: Sql,
  fence: Fence,
  instance: Instance,
  end: { claim: { reason: string; message: string }; build?: BuildCount | null; news: readonly News[] },
  actor: string,
): Promise<boolean> {
  const [row] = await sql<{ removed: boolean }[]>`
    select remove_instance(${fence.pool}, ${fence.epoch}, ${instance.id}, ${instance.resourceVersion}, ${end.claim.reason},
      ${end.claim.message}, ${nullableJson(sql, end.build)}, ${sql.json(end.news as never)}, ${actor}) as removed`
  return row?.removed === true
}

/** Marks up to `count` idle ones unwanted: outdated first, then the oldest; never a protected one. null: we do not lead. */
export async function unwantIdle(
  sql: Sql,
  fence: Fence,
  count: number,
  options: { operation?: string; revision?: number } = {},
): Promise<number | null> {
  const [row] = await sql<{ marked: number }[]>`
    select unwant_idle(${fence.pool}, ${fence.epoch}, ${count}, ${options.operation ?? null}, ${options.revision ?? null}) as marked`
  return row && row.marked >= 0 ? row.marked : null
}

export interface PlanRow {
  phase: string
  status: InstanceStatus
  revision: number
  bound: boolean
  wanted: 'present' | 'absent'
  shelf: boolean
  /** Its Sprite was not found when last looked for. */
  missing: boolean
  count: number
}

/** What the plan reads: counts, never rows. */
export async function planCounts(sql: Sql, pool: string): Promise<PlanRow[]> {
  const rows = await sql<PlanRow[]>`
    select phase, status, revision, claim_id is not null as bound, wanted, shelf,
           machine -> 'context' ->> 'missingAt' is not null as missing, count(*)::int as count
      from instances where pool = ${pool} group by 1, 2, 3, 4, 5, 6, 7`
  return [...rows]
}

/**
 * Keys that somebody should look at: due, unsettled, asked for, or with a verdict that disagrees with the row. The settled
 * rest is not visited.
 */
export async function dueInstances(
  sql: Sql,
  pool: string,
  strikes: number,
): Promise<{ id: string; phase: string; bound: boolean }[]> {
  const rows = await sql<{ id: string; phase: string; bound: boolean }[]>`
    select i.id, i.phase, i.claim_id is not null as bound from instances i
      left join instance_probes p on p.instance_id = i.id left join claims c on c.id = i.claim_id
     where i.pool = ${pool} and (
       i.phase not in ('idle', 'claimed', 'quarantined')
       or i.next_look_at <= pool_now() or i.wanted = 'absent' or i.recycle_requested > i.recycled
       or (i.phase = 'idle' and i.claim_id is not null)
       or c.released_at is not null or c.cancelled_at is not null or c.expires_at <= pool_now()
       or i.machine -> 'context' ->> 'missingAt' is not null
       or p.strikes >= ${strikes})`
  return [...rows]
}

/** Names and ids as the provider should know them: what a listing is compared with. */
export async function knownSprites(
  sql: Sql,
  pool: string,
): Promise<{ id: string; spriteName: string; spriteId: string | null; phase: string }[]> {
  const rows = await sql<{ id: string; sprite_name: string; sprite_id: string | null; phase: string }[]>`
    select id, sprite_name, sprite_id, phase from instances where pool = ${pool}`
  return rows.map((row) => ({
    id: row.id,
    spriteName: row.sprite_name,
    spriteId: row.sprite_id,
    phase: row.phase,
  }))
}

/** Ends the quarantine of those that are too old or too many, oldest first. */
export async function endQuarantine(
  sql: Sql,
  fence: Fence,
  keep: { most: number; seconds: number },
): Promise<number> {
  const rows = await sql`
    with lease as materialized (select 1 from leases where pool = ${fence.pool} and epoch = ${fence.epoch} for key share),
    kept as (
      select id, updated_at, row_number() over (order by updated_at desc) as place
        from instances where pool = ${fence.pool} and phase = 'quarantined' and wanted = 'present' and not protected)
    update instances i set wanted = 'absent' from kept, lease
     where i.id = kept.id and (kept.place > ${keep.most} or kept.updated_at < pool_now() - make_interval(secs => ${keep.seconds}))
    returning i.id`
  return rows.length
}

/** Deletes that were asked for longer ago than `seconds` and are not confirmed yet. */
export async function stuckDeletes(
  sql: Sql,
  pool: string,
  seconds: number,
): Promise<{ count: number; oldestSeconds: number }> {
  const [row] = await sql<{ count: number; oldest: number | null }[]>`
    select count(*)::int as count, extract(epoch from pool_now() - min(updated_at))::float8 as oldest
      from instances where pool = ${pool} and phase = 'deleting' and updated_at < pool_now() - make_interval(secs => ${seconds})`
  return { count: row?.count ?? 0, oldestSeconds: Math.round(row?.oldest ?? 0) }
}

/** The few facts that an operation waits for; ids that have no row are left out. */
export async function findInstances(
  sql: Sql,
  ids: readonly string[],
): Promise<{ id: string; phase: string; recycled: number; missingAt: number | null }[]> {
  const rows = await sql<Row[]>`
    select id, phase, recycled, (machine -> 'context' ->> 'missingAt')::float8 as missing_at
      from instances where id = any (${ids as string[]})`
  return rows.map((row) => ({
    id: String(row.id),
    phase: String(row.phase),
    recycled: integer(row.recycled),
    missingAt: row.missing_at === null ? null : Number(row.missing_at),
  }))
}
