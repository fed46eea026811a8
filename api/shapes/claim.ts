import { z } from 'zod'
import { CLAIM_PHASES, type ClaimPhase, ENDED } from '../../specs/claim.ts'
import { Condition } from '../../specs/condition.ts'
import type { ClaimView } from '../../specs/db/claims.ts'
import type { Place } from '../line.ts'
import { Instant, instantOf, instantOrNull } from './common.ts'

export const ClaimShape = z.object({
  id: z.string(),
  phase: z.enum(CLAIM_PHASES),
  agentName: z.string(),
  instanceId: z.string().nullable(),
  inviteUrl: z.string().nullable(),
  inviteSlug: z.string().nullable(),
  conversationId: z.string().nullable(),
  joinUrl: z.string().nullable(),
  /** Place in the line, from 1; null when it does not wait. */
  position: z.int().nullable(),
  /** Until it is bound, as builds went lately; null when that is not known. */
  estimateSeconds: z.int().nullable(),
  createdAt: Instant,
  boundAt: Instant.nullable(),
  readyAt: Instant.nullable(),
  endedAt: Instant.nullable(),
  expiresAt: Instant.nullable(),
  reason: z.string().nullable(),
  conditions: z.array(Condition),
})

/** A released one is on its way back from the commit of its release on, whatever the controller has got round to. */
export function phaseOf(claim: Pick<ClaimView, 'phase' | 'releasedAt'>): ClaimPhase {
  return claim.phase === 'Ready' && claim.releasedAt !== null ? 'Releasing' : claim.phase
}

export function toClaim(claim: ClaimView, { position, estimateSeconds }: Place): z.infer<typeof ClaimShape> {
  return {
    id: claim.id,
    phase: phaseOf(claim),
    agentName: claim.agentName,
    instanceId: claim.instanceId,
    inviteUrl: claim.inviteUrl,
    inviteSlug: claim.inviteSlug,
    conversationId: claim.conversationId,
    joinUrl: claim.joinUrl,
    position,
    estimateSeconds,
    createdAt: instantOf(claim.createdAt),
    boundAt: instantOrNull(claim.boundAt),
    readyAt: instantOrNull(claim.readyAt),
    endedAt: instantOrNull(claim.endedAt),
    expiresAt: instantOrNull(claim.expiresAt),
    reason: claim.reason,
    conditions: claimConditions(claim),
  }
}

/** The three steps, read off the row: a second place to keep them could only disagree with it. */
function claimConditions(claim: ClaimView): Condition[] {
  const ended = ENDED.includes(claim.phase)
  const step = (type: string, doneAt: Date | null, pending: string, yes: string, no: string): Condition => ({
    type,
    status: doneAt ? 'True' : 'False',
    reason: doneAt ? type : ended ? (claim.reason ?? claim.phase) : pending,
    message: doneAt ? yes : ended ? (claim.message ?? `The claim ended: ${claim.phase}.`) : no,
    lastTransitionAt: instantOf(doneAt ?? claim.endedAt ?? claim.createdAt),
    observedGeneration: null,
  })
  const bound = step(
    'Bound',
    claim.boundAt,
    'Waiting',
    'An instance is held for it.',
    'It waits for an instance: raise minIdle, or be patient.',
  )
  const delivered = step(
    'Delivered',
    claim.readyAt,
    claim.phase,
    'The agent is in its conversation.',
    claim.phase === 'AwaitingAcceptance'
      ? 'Approve the newest request to join in the conversation.'
      : 'The agent is being told who it is.',
  )
  if (claim.joinUrl === null) return [bound, delivered]
  const joined = step(
    'Joined',
    claim.joined ? claim.readyAt : null,
    claim.phase,
    'The conversation of the link has taken it in.',
    'The conversation of the link has not taken it in yet: approve the newest request.',
  )
  return [bound, delivered, joined]
}
