import { FRESH } from '../../machines/life.ts'
import { VERSION } from '../../machines/step.ts'
import type { ClaimSubmission } from '../../specs/db/claims.ts'
import type { Sql } from '../../specs/db/connect.ts'
import {
  type InstanceWrite,
  insertInstances,
  loadInstances,
  writeInstance,
} from '../../specs/db/instances.ts'
import { takeLease } from '../../specs/db/leases.ts'
import { ensurePool, type Fence, getPool } from '../../specs/db/pools.ts'
import { type Instance, InstanceId } from '../../specs/instance.ts'
import { defaultSpec, type PoolSpec } from '../../specs/pool.ts'
import { systemRandom } from '../../specs/random.ts'

export const SPEC: PoolSpec = defaultSpec({
  minIdle: 2,
  maxTotal: 50,
  template: { openclawRef: 'staging', openclawRepo: 'file:///repo', xmtpEnv: 'dev' },
  healIntervalSeconds: 20,
  createsPerMinute: 600,
})

/** A pool of its own and the right to write for it. */
export async function aPool(
  sql: Sql,
  spec: Partial<PoolSpec> = {},
  name = systemRandom.word(10),
): Promise<Fence> {
  await ensurePool(sql, {
    name,
    uid: systemRandom.word(16),
    spec: { ...SPEC, ...spec },
    appliedEnvironment: {},
  })
  const taken = await takeLease(sql, name, 'test')
  if (!taken) throw new Error('somebody else leads')
  return { pool: name, epoch: taken.epoch }
}

export const snapshot = (value: string, context: object = {}) => ({
  version: VERSION,
  value,
  context: { ...FRESH, seen: true, ...context },
})

/** Rows as the plan makes them. */
export async function members(sql: Sql, fence: Fence, count: number): Promise<InstanceId[]> {
  const pool = await getPool(sql, fence.pool)
  const rows = Array.from({ length: count }, () => {
    const id = InstanceId.parse(systemRandom.word(12))
    return {
      id,
      spriteName: `claw-dev-${id}`,
      stamp: 'stamp',
      revision: pool.revision,
      machine: snapshot('pending'),
    }
  })
  const made = await insertInstances(sql, fence, pool.planVersion, rows, null)
  if (made !== count) throw new Error(`made ${made} of ${count}`)
  return rows.map(({ id }) => id)
}

/** Written as the leader does; the row as it stands then. */
export async function put(
  sql: Sql,
  fence: Fence,
  id: string,
  patch: Record<string, unknown>,
  more: Omit<InstanceWrite, 'patch'> = {},
): Promise<Instance> {
  const [loaded] = await loadInstances(sql, [id])
  if (!loaded) throw new Error(`no instance ${id}`)
  const written = await writeInstance(sql, fence, loaded.instance, null, { patch, ...more }, 'test')
  if (!written) throw new Error(`instance ${id} was written by somebody else`)
  return written
}

/** `count` proven ones on the shelf, oldest first. */
export async function idleOnes(sql: Sql, fence: Fence, count: number): Promise<InstanceId[]> {
  const ids = await members(sql, fence, count)
  for (const [place, id] of ids.entries()) await put(sql, fence, id, idle(place))
  return ids
}

export const idle = (place = 0) => {
  const at = new Date(Date.UTC(2026, 0, 1, 0, 0, place)).toISOString()
  return {
    machine: snapshot('idle'),
    touched: false,
    proven_at: at,
    first_ready_at: at,
    ready_at: at,
    sprite_id: 'sprite-1',
    sprite_url: 'http://127.0.0.1:9',
    checkpoint_id: 'v1',
    takes: ['instructions'],
    next_look_at: null,
  }
}

export const aClaim = (pool: string, more: Partial<ClaimSubmission> = {}): ClaimSubmission => ({
  claimId: systemRandom.word(16),
  pool,
  actor: 'admin',
  agentName: 'Ada',
  instructions: 'Be kind.',
  joinUrl: null,
  extra: {},
  ttlSeconds: null,
  priority: 0,
  wait: false,
  deadlineSeconds: 90,
  key: null,
  bodyHash: null,
  joinDedupeSeconds: 60,
  ...more,
})
