import { NotFound } from '../errors.ts'
import { type Pool, type PoolSpec, PoolStatus, storedSpec } from '../pool.ts'
import type { Sql } from './connect.ts'
import { integer, type Row } from './rows.ts'

/** The leader's claim to write: every decision compares it by a locked read in the same statement. */
export interface Fence {
  pool: string
  epoch: number
}

function poolFromRow(row: Row): Pool {
  return {
    name: String(row.name),
    uid: String(row.uid),
    generation: integer(row.generation),
    revision: integer(row.revision),
    planVersion: integer(row.plan_version),
    rawSpec: row.spec,
    spec: storedSpec(row.spec),
    status: PoolStatus.safeParse(row.status).data ?? PoolStatus.parse({}),
    appliedEnvironment: (row.applied_environment ?? {}) as Record<string, string>,
  }
}

/** @throws NotFound */
export async function getPool(sql: Sql, name: string): Promise<Pool> {
  const pool = await findPool(sql, name)
  if (!pool) throw new NotFound('pool', name)
  return pool
}

/** null: no such pool. */
export async function findPool(sql: Sql, name: string): Promise<Pool | null> {
  const [row] = await sql<Row[]>`
    select name, uid, spec, generation, revision, plan_version, status, applied_environment from pools where name = ${name}`
  return row ? poolFromRow(row) : null
}

export async function listPoolNames(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`select name from pools order by name limit 1000`
  return rows.map(({ name }) => name)
}

/** Makes the pool when it is not there. True: this call made it. */
export async function ensurePool(
  sql: Sql,
  pool: { name: string; uid: string; spec: PoolSpec; appliedEnvironment: Record<string, string> },
): Promise<boolean> {
  const rows = await sql`
    insert into pools (name, uid, spec, applied_environment)
    values (${pool.name}, ${pool.uid}, ${sql.json(pool.spec as never)}, ${sql.json(pool.appliedEnvironment)})
    on conflict (name) do nothing returning name`
  return rows.length > 0
}

/**
 * Writes the spec where the row is still at `generation`; null when somebody was first. An equal spec changes nothing,
 * the generation included.
 */
export async function putSpec(
  sql: Sql,
  name: string,
  spec: PoolSpec,
  generation: number,
): Promise<Pool | null> {
  const [row] = await sql<Row[]>`
    update pools set spec = ${sql.json(spec as never)} where name = ${name} and generation = ${generation}
    returning name, uid, spec, generation, revision, plan_version, status, applied_environment`
  return row ? poolFromRow(row) : null
}

/** An edit by the environment, with the values it was made of; the leader alone does it. False: not the leader, or moved. */
export async function applyEnvironment(
  sql: Sql,
  fence: Fence,
  spec: PoolSpec,
  generation: number,
  applied: Record<string, string>,
): Promise<boolean> {
  const rows = await sql`
    with lease as materialized (select 1 from leases where pool = ${fence.pool} and epoch = ${fence.epoch} for key share)
    update pools set spec = ${sql.json(spec as never)}, applied_environment = ${sql.json(applied)} from lease
     where name = ${fence.pool} and generation = ${generation} returning name`
  return rows.length > 0
}

/** False: not the leader any more. */
export async function writePoolStatus(sql: Sql, fence: Fence, status: PoolStatus): Promise<boolean> {
  const rows = await sql`
    with lease as materialized (select 1 from leases where pool = ${fence.pool} and epoch = ${fence.epoch} for key share)
    update pools set status = ${sql.json(status as never)} from lease where name = ${fence.pool} returning name`
  return rows.length > 0
}

export interface Revision {
  number: number
  template: PoolSpec['template']
  createdAt: Date
  buildsOk: number
  failures: number
  /** Times the breaker opened again after the one build it let through. */
  rounds: number
  lastFailedAt: Date | null
  lastError: string | null
}

/** Newest first. `before` is the number of the last one seen. */
export async function listRevisions(
  sql: Sql,
  pool: string,
  limit = 20,
  before?: number | undefined,
): Promise<Revision[]> {
  const rows = await sql<Row[]>`
    select number, template, created_at, builds_ok, failures, rounds, last_failed_at, last_error
      from pool_revisions where pool = ${pool} ${before === undefined ? sql`` : sql`and number < ${before}`} order by number desc limit ${limit}`
  return rows.map((row) => ({
    number: integer(row.number),
    template: row.template as PoolSpec['template'],
    createdAt: row.created_at as Date,
    buildsOk: integer(row.builds_ok),
    failures: integer(row.failures),
    rounds: integer(row.rounds),
    lastFailedAt: row.last_failed_at as Date | null,
    lastError: row.last_error as string | null,
  }))
}

/**
 * Whose database this is. Returns null when it is ours (or is so from now on); else what it belongs to.
 */
export async function claimDatabase(
  sql: Sql,
  mine: { environment: string; spritesApi: string },
): Promise<{ environment: string; spritesApi: string } | null> {
  await sql`insert into identity (environment, sprites_api) values (${mine.environment}, ${mine.spritesApi}) on conflict do nothing`
  const [row] = await sql<
    { environment: string; sprites_api: string }[]
  >`select environment, sprites_api from identity`
  if (!row) throw new Error('the identity row went away')
  const same = row.environment === mine.environment && row.sprites_api === mine.spritesApi
  return same ? null : { environment: row.environment, spritesApi: row.sprites_api }
}
