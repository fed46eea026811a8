/** The line of claims that wait, and what is on its way to them. */

import type { Sql } from './connect.ts'

/** Cancelled and overdue ones have left it already, whoever gets round to ending them. */
const inLine = (sql: Sql, pool: string) =>
  sql`pool = ${pool} and phase = 'Waiting' and cancelled_at is null and deadline_at > pool_now()`

/** Who waits, and at which place, from 1: of these claims, or of all. */
export async function linePositions(
  sql: Sql,
  pool: string,
  ids: readonly string[],
): Promise<Map<string, number>> {
  const rows = await sql<{ id: string; place: number }[]>`
    select id, place from (
      select id, row_number() over (order by priority desc, number)::int as place from claims where ${inLine(sql, pool)}) line
     where id = any (${ids as string[]})`
  return new Map(rows.map(({ id, place }) => [id, place]))
}

export async function countWaiting(sql: Sql, pool: string): Promise<number> {
  const [row] = await sql<{ n: number }[]>`select count(*)::int as n from claims where ${inLine(sql, pool)}`
  return row?.n ?? 0
}

/** What an estimate stands on. */
export interface Outlook {
  /** s, the median of the last 20 builds, from the row to the first idle; null: none has been. */
  buildSeconds: number | null
  /** Unbound ones that become idle, how long each has been at it. */
  building: { ageSeconds: number }[]
  recycling: number
  /** All that counts against `maxTotal`. */
  alive: number
}

export async function readOutlook(sql: Sql, pool: string): Promise<Outlook> {
  const [row] = await sql<
    { build: number | null; building: number[] | null; recycling: number; alive: number }[]
  >`
    select
      (select percentile_cont(0.5) within group (order by seconds) from (
         select extract(epoch from first_ready_at - created_at)::float8 as seconds from instances
          where pool = ${pool} and first_ready_at is not null order by first_ready_at desc limit 20) builds) as build,
      array_agg(extract(epoch from pool_now() - created_at)::float8)
        filter (where status = 'provisioning' and wanted = 'present') as building,
      count(*) filter (where status = 'recycling' and wanted = 'present')::int as recycling,
      count(*)::int as alive
      from instances where pool = ${pool}`
  return {
    buildSeconds: row?.build ?? null,
    building: (row?.building ?? []).map((ageSeconds) => ({ ageSeconds })),
    recycling: row?.recycling ?? 0,
    alive: row?.alive ?? 0,
  }
}
