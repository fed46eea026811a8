import { z } from 'zod'
import { Condition } from '../../specs/condition.ts'
import { type Pool, PoolSpec } from '../../specs/pool.ts'

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

/** Whether anybody leads is nothing that a leader can report: it is read off the lease. */
export function withLeader(conditions: readonly Condition[], leads: boolean, now: number): Condition[] {
  const told = conditions.find(({ type }) => type === 'LeaderElected')
  const status = leads ? 'True' : 'False'
  const condition: Condition = {
    type: 'LeaderElected',
    status,
    reason: leads ? 'Leads' : 'NobodyLeads',
    message: leads
      ? 'A controller leads this pool.'
      : 'Nobody reconciles: what stands here is old. Start a controller, or see its log for why it does not lead.',
    lastTransitionAt: told?.status === status ? told.lastTransitionAt : new Date(now).toISOString(),
    observedGeneration: null,
  }
  return [...conditions.filter(({ type }) => type !== 'LeaderElected'), condition]
}
