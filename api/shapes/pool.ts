import { z } from 'zod'
import { Condition } from '../../specs/condition.ts'
import { type Pool, PoolSpec } from '../../specs/pool.ts'
import { instantOf } from './common.ts'

export const SpecShape = z.object({
  name: z.string(),
  generation: z.int(),
  /** The generation that the controller has seen: unequal means not caught up. */
  observedGeneration: z.int(),
  /** As stored; one that does not parse (condition `SpecInvalid`) is shown as it is. */
  spec: z.union([PoolSpec, z.record(z.string(), z.unknown())]),
  conditions: z.array(Condition),
  /** Sentences: what is done next, and what is left as it is. */
  plan: z.array(z.string()),
})

/** The spec that counts: the last good one while the row's does not parse. */
export function specInForce(pool: Pool, defaults: PoolSpec): PoolSpec {
  return pool.spec ?? pool.status.lastGoodSpec ?? defaults
}

/** That nobody leads is nothing that a leader could report: it is read off the lease, and stands in place of its word. */
export function withLeader(
  conditions: readonly Condition[],
  leadership: { leads: boolean; until: Date } | null,
): Condition[] {
  if (!leadership || leadership.leads) return [...conditions]
  const condition: Condition = {
    type: 'LeaderElected',
    status: 'False',
    reason: 'NobodyLeads',
    message:
      'Nobody reconciles: what stands here is old. Start a controller, or see its log for why it does not lead.',
    lastTransitionAt: instantOf(leadership.until),
    observedGeneration: null,
  }
  return [...conditions.filter(({ type }) => type !== 'LeaderElected'), condition]
}
