/** Claims that wait, expired, or were cancelled before anything began. What was begun belongs to its instance's reconciler. */

import {
  endUnbegunClaims,
  expiredInstances,
  nextClaimDeadline,
  releaseUnseen,
} from '../../specs/db/claims.ts'
import type { Sql } from '../../specs/db/connect.ts'
import { LEASE_PAUSE_MS, type Lead } from '../lease.ts'
import type { Result } from '../reconcile.ts'

export interface ClaimsDeps {
  sql: Sql
  lead: Lead
  pool: string
  /** `claim.unseenSeconds` of the spec in force. */
  unseenSeconds(): number
  look(instanceId: string): void
  plan(): void
}

/** ms. Deadlines further away are looked for again; the tick would find them too. */
const FARTHEST_MS = 60_000

export function claimsReconciler({ sql, lead, pool, unseenSeconds, look, plan }: ClaimsDeps) {
  return async function reconcile(): Promise<Result> {
    if (!lead.mayCall()) return { requeueAfterMs: LEASE_PAUSE_MS }
    await releaseUnseen(sql, lead.fence, unseenSeconds()) // first: what it cancels ends right below
    const ended = await endUnbegunClaims(sql, lead.fence)
    if (ended.length > 0) plan()
    for (const id of await expiredInstances(sql, pool)) look(id)
    const seconds = await nextClaimDeadline(sql, pool, unseenSeconds())
    return seconds === null
      ? {}
      : { requeueAfterMs: Math.min(FARTHEST_MS, Math.max(200, seconds * 1000 + 20)) }
  }
}
