import type { Sql } from './connect.ts'

/** s. Long enough for a slow renewal, short enough that a crash is noticed: a stand-by takes over within it. */
export const LEASE_SECONDS = 10

export interface Taken {
  epoch: number
  /** Until when calls of the holder before may be under way; null: none that it told of. */
  drainUntil: Date | null
}

/** null: somebody else leads. */
export async function takeLease(sql: Sql, pool: string, holder: string): Promise<Taken | null> {
  const [row] = await sql<{ epoch: number; drain_until: Date | null }[]>`
    select epoch, drain_until from take_lease(${pool}, ${holder}, ${LEASE_SECONDS})`
  return row ? { epoch: row.epoch, drainUntil: row.drain_until } : null
}

/** False: it is not ours any more. Changes no key column, so it waits for no write under way. */
export async function renewLease(sql: Sql, pool: string, epoch: number): Promise<boolean> {
  const rows = await sql`
    update leases set expires_at = pool_now() + make_interval(secs => ${LEASE_SECONDS})
     where pool = ${pool} and epoch = ${epoch} and expires_at > pool_now() returning pool`
  return rows.length > 0
}

/** Ends it at once, naming until when our last calls may be under way, and wakes the stand-bys. */
export async function releaseLease(
  sql: Sql,
  pool: string,
  epoch: number,
  drainUntil: Date | null,
): Promise<void> {
  await sql`
    with released as (
      update leases set expires_at = pool_now(), drain_until = ${drainUntil}
       where pool = ${pool} and epoch = ${epoch} returning pool)
    select tell(jsonb_build_object('kind', 'lease', 'pool', pool)) from released`
}

/** Who leads; null: nobody. */
export async function leader(sql: Sql, pool: string): Promise<{ holder: string; epoch: number } | null> {
  const [row] = await sql<{ holder: string; epoch: number }[]>`
    select holder, epoch from leases where pool = ${pool} and expires_at > pool_now()`
  return row ? { holder: row.holder, epoch: row.epoch } : null
}

/** Does anybody lead, and until when, or since when not: a pool that nobody ever led counts from its own beginning. */
export async function leadership(sql: Sql, pool: string): Promise<{ leads: boolean; until: Date } | null> {
  const [row] = await sql<{ leads: boolean; until: Date }[]>`
    select coalesce(l.expires_at > pool_now(), false) as leads, coalesce(l.expires_at, p.created_at) as until
      from pools p left join leases l on l.pool = p.name where p.name = ${pool}`
  return row ? { leads: row.leads, until: row.until } : null
}
