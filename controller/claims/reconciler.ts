/** Claims that wait, expired, or were cancelled before anything began. What was begun belongs to its instance's reconciler. */

import { endUnbegunClaims, expiredInstances, nextClaimDeadline } from '../../specs/db/claims.ts'
import type { Sql } from '../../specs/db/connect.ts'
import type { Lead } from '../lease.ts'
import type { Result } from '../reconcile.ts'

export interface ClaimsDeps {
  sql: Sql
  lead: Lead
  pool: string
  look(instanceId: string): void
  plan(): void
}

/** ms. Deadlines further away are looked for again; the tick would find them too. */
const FARTHEST_MS = 60_000

export function claimsReconciler({ sql, lead, pool, look, plan }: ClaimsDeps) {
  return async function reconcile(): Promise<Result> {
    if (!lead.mayCall()) return {}
    const ended = await endUnbegunClaims(sql, lead.fence)
    if (ended.length > 0) plan()
    for (const id of await expiredInstances(sql, pool)) look(id)
    const seconds = await nextClaimDeadline(sql, pool)
    return seconds === null
      ? {}
      : { requeueAfterMs: Math.min(FARTHEST_MS, Math.max(200, seconds * 1000 + 20)) }
  }
}
