/** Actions of a claim's agent, as far as they wait: their instance is woken, which carries them out under its own key. */

import type { Clock } from '../../specs/clock.ts'
import { getClaims } from '../../specs/db/claims.ts'
import type { Sql } from '../../specs/db/connect.ts'
import { AGENT_VERBS, type AgentVerb, type Operation } from '../../specs/operation.ts'
import { OUTCOME_UNKNOWN } from '../instance/agent-action.ts'

/** ms. One under repair cannot be asked now: looked at again, not hammered. */
const LOOK_AGAIN_MS = 5_000

export const isAgentAction = ({ kind, selector }: Operation): boolean =>
  kind === 'action' && AGENT_VERBS.includes(selector.verb as AgentVerb)

export function agentActions({ sql, clock, look }: { sql: Sql; clock: Clock; look(instance: string): void }) {
  /** When each was last seen to wait. Forgotten by a restart: its instance is looked at once more. */
  const looked = new Map<string, number>()

  return async function advance(action: Operation) {
    const now = clock.now()
    for (const [id, at] of looked) if (now - at >= LOOK_AGAIN_MS) looked.delete(id)
    const { attempt } = action
    if (attempt) return now >= attempt.until ? OUTCOME_UNKNOWN : { phase: 'Running' as const }
    if (action.cancelledAt) return ended('Cancelled', 'Cancelled', 'Cancelled before it was sent.')
    const [claim] = await getClaims(sql, [action.selector.claim ?? ''])
    if (!claim || claim.instanceId === null || claim.endedAt || claim.releasedAt || claim.cancelledAt)
      return ended('Failed', 'ClaimEnded', 'The claim ended before it was sent.')
    if (now >= action.deadlineAt.getTime())
      return ended('Expired', 'DeadlineExceeded', 'Its agent could not be asked in time; nothing was sent.')
    if (!looked.has(action.id)) {
      looked.set(action.id, now)
      look(claim.instanceId)
    }
    return { phase: 'Pending' as const }
  }

  function ended(phase: 'Failed' | 'Cancelled' | 'Expired', reason: string, message: string) {
    return { phase, failed: 1, message, result: { reason } }
  }
}
