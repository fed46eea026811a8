/**
 * The environment gives a pool's first values; afterwards the row is the truth. A variable that changed since it was last
 * applied is an edit by the actor `environment`; one that is unset or unchanged says nothing.
 */
import type { Sql } from '../specs/db/connect.ts'
import { recordEvent } from '../specs/db/events.ts'
import { applyEnvironment, getPool } from '../specs/db/pools.ts'
import { mergePatch, parseSpec } from '../specs/pool.ts'
import type { Lead } from './lease.ts'

/** How a variable's text becomes a patch of the spec. */
const EDITS: Record<string, (value: string) => object> = {
  POOL_MIN_IDLE: (value) => ({ minIdle: Number(value) }),
  POOL_MAX_TOTAL: (value) => ({ maxTotal: Number(value) }),
  OPENCLAW_GIT_REF: (value) => ({ template: { openclawRef: value } }),
  OPENCLAW_REPO_URL: (value) => ({ template: { openclawRepo: value } }),
  INSTANCE_XMTP_ENV: (value) => ({ template: { xmtpEnv: value } }),
  HEARTBEAT_INTERVAL_MS: (value) => ({
    heal: { intervalSeconds: Math.max(1, Math.round(Number(value) / 1000)) },
  }),
}

/** The variables that are edits, of those that are set. */
export function specVariables(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.keys(EDITS).flatMap((name) => {
      const value = env[name]?.trim()
      return value ? [[name, value]] : []
    }),
  )
}

/** Made by the leader when it takes the lease, and by nobody else. Returns the names of the variables that were applied. */
export async function applyChangedEnvironment(
  sql: Sql,
  lead: Lead,
  variables: Readonly<Record<string, string>>,
): Promise<string[]> {
  const pool = await getPool(sql, lead.fence.pool)
  const changed = Object.keys(variables).filter((name) => variables[name] !== pool.appliedEnvironment[name])
  if (changed.length === 0) return []
  const base = pool.spec ?? pool.status.lastGoodSpec
  if (!base) return []
  const spec = parseSpec(
    changed.reduce<unknown>(
      (merged, name) => mergePatch(merged, EDITS[name]?.(variables[name] ?? '') ?? {}),
      base,
    ),
  )
  const applied = await applyEnvironment(sql, lead.fence, spec, pool.generation, {
    ...pool.appliedEnvironment,
    ...variables,
  })
  if (!applied) return [] // edited at this very moment: the next lead compares again
  await recordEvent(sql, {
    pool: pool.name,
    type: 'Normal',
    reason: 'SpecChanged',
    message: `Changed by the environment: ${changed.map((name) => `${name}=${variables[name]}`).join(', ')}`,
    actor: 'environment',
  })
  return changed
}
