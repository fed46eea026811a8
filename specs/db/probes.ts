/** `instance_probes`: what changes at every heartbeat, apart from the rows that a claim looks for. */
import type { Sql } from './connect.ts'
import { integer, type Row, text } from './rows.ts'

export interface ProbeTarget {
  id: string
  spriteName: string
  spriteUrl: string
  gatewayKey: string
  bound: boolean
  conversationId: string | null
  resourceVersion: number
  strikes: number
}

/** Idle and claimed ones: what the heartbeat asks. */
export async function probeTargets(sql: Sql, pool: string): Promise<ProbeTarget[]> {
  const rows = await sql<Row[]>`
    select i.id, i.sprite_name, i.sprite_url, s.gateway_key, i.phase = 'claimed' as bound, c.conversation_id, i.resource_version,
           coalesce(p.strikes, 0) as strikes
      from instances i join instance_secrets s on s.instance_id = i.id left join instance_probes p on p.instance_id = i.id
      left join claims c on c.id = i.claim_id
     where i.pool = ${pool} and i.phase in ('idle', 'claimed') and i.sprite_url is not null and i.wanted = 'present'`
  return rows.map((row) => ({
    id: String(row.id),
    spriteName: String(row.sprite_name),
    spriteUrl: String(row.sprite_url),
    gatewayKey: String(row.gateway_key),
    bound: row.bound === true,
    conversationId: text(row.conversation_id),
    resourceVersion: integer(row.resource_version),
    strikes: integer(row.strikes),
  }))
}

export interface ProbeResult {
  id: string
  ok: boolean
  latencyMs: number
  verdict: string
  /** The row's version that the verdict was formed on: dropped when the row has moved since. */
  resourceVersion: number
}

/** One statement for up to 1,000. Returns those whose strikes have reached `strikes`. */
export async function writeProbes(
  sql: Sql,
  results: readonly ProbeResult[],
  strikes: number,
): Promise<string[]> {
  if (results.length === 0) return []
  const rows = await sql<{ id: string }[]>`
    with seen as (
      select * from jsonb_to_recordset(${sql.json(results as never)})
        as r (id text, ok boolean, "latencyMs" int, verdict text, "resourceVersion" bigint)
    ), written as (
      update instance_probes p set
        ok_at = case when s.ok then pool_now() else p.ok_at end,
        failed_at = case when s.ok then p.failed_at else pool_now() end,
        strikes = case when s.ok then 0 else p.strikes + 1 end,
        latency_ms = case when s.ok then s."latencyMs" else p.latency_ms end,
        verdict = s.verdict
       from seen s join instances i on i.id = s.id and i.resource_version = s."resourceVersion"
      where p.instance_id = s.id
      returning p.instance_id as id, p.strikes
    ) select id from written where strikes >= ${strikes}`
  return rows.map(({ id }) => id)
}

/** After a repair: the strikes belong to what was repaired. */
export async function clearStrikes(sql: Sql, id: string): Promise<void> {
  await sql`update instance_probes set strikes = 0, verdict = null where instance_id = ${id} and strikes > 0`
}
