import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Claim } from '../../specs/claim.ts'
import { Condition } from '../../specs/condition.ts'
import { type ClaimView, liveClaims, liveClaimViews } from '../../specs/db/claims.ts'
import { type InstanceView, listInstances } from '../../specs/db/instances.ts'
import type { ApiContext } from '../context.ts'
import { Instant, instantOf } from '../shapes/common.ts'
import { EarlierNames, earlierNames } from '../shapes/earlier-names.ts'
import { toInstance } from '../shapes/instance.ts'

const STATES = ['creating', 'waitingForAcceptance', 'live', 'degraded', 'releasing'] as const

const AgentShape = z.object({
  /** The instance's. */
  id: z.string(),
  name: z.string(),
  since: Instant,
  state: z.enum(STATES),
})
/** What only a key sees: an invite link is a way into somebody's conversation. */
const AgentWithKey = AgentShape.extend({
  claimId: z.string(),
  instructions: z.string(),
  inviteUrl: z.string().nullable(),
  conversationId: z.string().nullable(),
  joinUrl: z.string().nullable(),
  spriteName: z.string(),
  commit: z.string().nullable(),
  conditions: z.array(Condition),
}).extend(EarlierNames.shape)

export const agentRoutes =
  ({ sql }: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    app.get(
      '/agents',
      {
        config: { access: 'optional' },
        schema: { response: { 200: z.array(z.union([AgentWithKey, AgentShape])) } },
      },
      async ({ actor, pool }) => {
        const holding = new Map((await listInstances(sql, pool)).map((view) => [view.claimId, view]))
        /** A claim that was bound, or ended, between the two reads has no instance here: the next look shows it. */
        const shown = <C extends ClaimView, Agent>(
          claims: C[],
          toAgent: (claim: C, view: InstanceView) => Agent,
        ) =>
          claims.flatMap((claim) => {
            const view = holding.get(claim.id)
            return view ? [toAgent(claim, view)] : []
          })
        return actor.role === null
          ? shown(await liveClaimViews(sql, pool), toAgent)
          : shown(await liveClaims(sql, pool), toAgentWithKey)
      },
    )
  }

function toAgent(claim: ClaimView, instance: InstanceView): z.infer<typeof AgentShape> {
  return {
    id: instance.id,
    name: claim.agentName,
    since: instantOf(claim.boundAt ?? claim.createdAt),
    state: stateOf(claim, instance),
  }
}

function toAgentWithKey(claim: Claim, view: InstanceView): z.infer<typeof AgentWithKey> {
  const instance = toInstance(view)
  return {
    ...toAgent(claim, view),
    claimId: claim.id,
    instructions: claim.instructions,
    inviteUrl: claim.inviteUrl,
    conversationId: claim.conversationId,
    joinUrl: claim.joinUrl,
    spriteName: instance.spriteName,
    commit: instance.commit,
    conditions: instance.conditions,
    ...earlierNames(instance, claim),
  }
}

function stateOf(claim: ClaimView, instance: InstanceView): (typeof STATES)[number] {
  const leaving = claim.releasedAt !== null || claim.cancelledAt !== null || instance.wanted === 'absent'
  if (leaving || claim.phase === 'Releasing') return 'releasing'
  if (claim.phase === 'AwaitingAcceptance') return 'waitingForAcceptance'
  if (claim.phase !== 'Ready') return 'creating'
  const degraded = instance.conditions.some(({ type, status }) => type === 'Degraded' && status === 'True')
  return degraded ? 'degraded' : 'live'
}
