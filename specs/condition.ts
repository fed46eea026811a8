import { z } from 'zod'

/** What is true of an object, in words for a person; written so that each type has one quiet value. */
export const Condition = z.object({
  type: z.string(),
  status: z.enum(['True', 'False', 'Unknown']),
  /** CamelCase, stable: what scripts compare. */
  reason: z.string(),
  /** For a person, and says what to do. */
  message: z.string(),
  /** RFC 3339; moves only when `status` flips. */
  lastTransitionAt: z.string(),
  /** The generation that this speaks for; null where the object has none. */
  observedGeneration: z.number().nullable(),
})
export type Condition = z.infer<typeof Condition>

export type ConditionNow = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>

/**
 * The list with `next` merged in, by type, in the order of first appearance. `lastTransitionAt` is kept while the
 * status is the same; an unchanged list is returned as the same object, so that callers can skip the write.
 */
export function setConditions(
  conditions: readonly Condition[],
  next: readonly ConditionNow[],
  now: number,
  observedGeneration: number | null = null,
): Condition[] {
  const merged = new Map(conditions.map((condition) => [condition.type, condition]))
  let changed = false
  for (const condition of next) {
    const old = merged.get(condition.type)
    const same =
      old?.status === condition.status &&
      old.reason === condition.reason &&
      old.message === condition.message &&
      old.observedGeneration === observedGeneration
    if (same) continue
    changed = true
    const lastTransitionAt =
      old?.status === condition.status ? old.lastTransitionAt : new Date(now).toISOString()
    merged.set(condition.type, { ...condition, lastTransitionAt, observedGeneration })
  }
  return changed ? [...merged.values()] : (conditions as Condition[])
}
