import type { FastifyReply } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { CLAIM_PHASES, claimRequest } from '../../specs/claim.ts'
import {
  type ClaimSubmission,
  type ClaimView,
  getClaim,
  getClaims,
  markUnseen,
  type Submitted,
  submitClaim,
} from '../../specs/db/claims.ts'
import { isRetryable, isUnavailable } from '../../specs/db/connect.ts'
import { getPool } from '../../specs/db/pools.ts'
import { Conflict } from '../../specs/errors.ts'
import { callerGone } from '../ask.ts'
import {
  bodyHash,
  idempotencyKey,
  isAnswerable,
  isEnded,
  isServed,
  preferredWait,
  unknownFields,
} from '../claiming.ts'
import type { ApiContext } from '../context.ts'
import { CallerGone, ClaimEnded, ClaimNotInTime, Forbidden, NothingIdle } from '../errors.ts'
import { placesOf } from '../line.ts'
import { hasRole } from '../plugins/auth.ts'
import { phaseOf } from '../shapes/claim.ts'
import { specInForce } from '../shapes/pool.ts'

const Served = z.object({
  inviteUrl: z.string().nullable(),
  inviteSlug: z.string().nullable(),
  conversationId: z.string().nullable(),
  instanceId: z.string().nullable(),
  claimId: z.string(),
  joined: z.boolean(),
  waitingForAcceptance: z.boolean(),
  warnings: z.array(z.string()),
})
const Accepted = z.object({
  claimId: z.string(),
  phase: z.enum(CLAIM_PHASES),
  position: z.int().nullable(),
  estimateSeconds: z.int().nullable(),
  warnings: z.array(z.string()),
})

/** `POST /claim`: one instance for one caller, now or when it is its turn. */
export const claimRoute =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    const { sql, config, random, claims, ring } = context
    const Request = claimRequest(config.xmtpEnv)
    const known = Object.keys(Request.shape)
    const line = { sql, defaults: config.specDefaults }
    /** Under way: the database stays until they are there. */
    const leaving = new Set<Promise<void>>()
    app.addHook('onClose', async () => {
      await Promise.all(leaving)
    })

    app.post(
      '/claim',
      {
        config: { access: 'claimer' },
        schema: { body: Request.loose(), response: { 200: Served, 202: Accepted } },
      },
      async (request, reply) => {
        const { body, pool } = request
        const spec = specInForce(await getPool(sql, pool), config.specDefaults).claim
        const prefer = preferredWait(request.headers.prefer)
        const key = idempotencyKey(request.headers['idempotency-key'])
        if ((body.priority ?? 0) > 0 && !hasRole(request.actor, 'operator')) throw new Forbidden('operator')
        const wish = {
          pool,
          agentName: body.agentName,
          instructions: body.instructions,
          joinUrl: body.joinUrl ?? null,
          extra: body.extra ?? {},
          ttlSeconds: body.ttlSeconds ?? spec.ttlSeconds,
          priority: body.priority ?? 0,
        }
        const claim = await submitAndWait(
          reply,
          {
            ...wish,
            claimId: random.word(16),
            actor: request.actor.name,
            wait: prefer !== null || spec.onEmpty === 'wait',
            // who does not take a 202 is told of the end, so there has to be one by then
            deadlineSeconds: spec.deliverySeconds + (prefer === null ? 0 : spec.waitSecondsMax),
            key,
            bodyHash: key === null ? null : bodyHash({ ...wish, ttlSeconds: body.ttlSeconds ?? null }),
            joinDedupeSeconds: spec.joinDedupeSeconds,
          },
          (prefer ?? spec.deliverySeconds + 1) * 1000, // 1 s later than its deadline: then it has a reason
        )
        const warnings = unknownFields(body, known)
        if (isServed(claim)) return served(claim, warnings)
        if (isEnded(claim)) throw new ClaimEnded(claim)
        if (prefer === null) throw new ClaimNotInTime(claim)
        reply
          .header('location', `${request.base}/claims/${claim.id}`)
          .header('preference-applied', `wait=${prefer}`)
        return reply.code(202).send({
          claimId: claim.id,
          phase: phaseOf(claim),
          ...(await placesOf(line, pool, [claim]))(claim),
          warnings,
        })
      },
    )

    /** Resolves with the claim when its caller can be answered, or as it is when the time is over. */
    async function submitAndWait(
      reply: FastifyReply,
      wish: ClaimSubmission,
      timeoutMs: number,
    ): Promise<ClaimView> {
      const gone = callerGone(reply)
      if (gone.aborted) throw new CallerGone()
      const stop = new AbortController()
      // from before it exists: no news of it can be missed
      const answer = claims.wait(wish.claimId, isAnswerable, {
        timeoutMs,
        signal: AbortSignal.any([gone, stop.signal]),
      })
      try {
        const submitted = await submit(wish)
        if (submitted.outcome === 'Empty') throw new NothingIdle()
        if (submitted.outcome === 'KeyReused')
          throw new Conflict(
            'IdempotencyKeyReused',
            `this Idempotency-Key came before with another body (${shown(submitted.bodyHash)} then, ${shown(wish.bodyHash)} now): use a new key for a new claim`,
          )
        if (submitted.outcome !== 'Known') ring(wish.pool)
        onceGone(gone, () => leave(submitted.claimId))
        const claim =
          submitted.outcome === 'Known'
            ? await claims.wait(submitted.claimId, isAnswerable, { timeoutMs, signal: gone, look: true })
            : await answer
        return claim ?? (await getClaim(sql, wish.pool, submitted.claimId))
      } finally {
        stop.abort()
      }
    }

    /** Somebody's answer will not be written. Silence says nothing: only a connection that was seen to close is told here. */
    function leave(id: string): void {
      const mark = markUnseen(sql, id)
        .catch((error: unknown) => app.log.warn({ claim: id, err: error }, 'a lost caller was not recorded'))
        .finally(() => leaving.delete(mark))
      leaving.add(mark)
    }

    /** An answer that was lost on its way may have been a yes: the claim's id is ours, so it can be looked for. */
    async function submit(wish: ClaimSubmission): Promise<Submitted> {
      try {
        return await submitClaim(sql, wish)
      } catch (error) {
        if (isRetryable(error)) return submitClaim(sql, wish)
        if (!isUnavailable(error)) throw error
        const [made] = await getClaims(sql, [wish.claimId]).catch(() => [])
        if (!made) throw error
        return { outcome: 'Waiting', claimId: made.id }
      }
    }
  }

function onceGone(gone: AbortSignal, run: () => void): void {
  if (gone.aborted) run()
  else gone.addEventListener('abort', run, { once: true })
}

/** Enough of a body's hash to tell two of them apart. */
const shown = (hash: string | null) => `${hash?.slice(0, 8)}…`

function served(claim: ClaimView, warnings: string[]): z.infer<typeof Served> {
  const { inviteUrl, inviteSlug, conversationId, instanceId, joined } = claim
  const waitingForAcceptance = claim.phase === 'AwaitingAcceptance'
  return {
    inviteUrl,
    inviteSlug,
    conversationId,
    instanceId,
    claimId: claim.id,
    joined,
    waitingForAcceptance,
    warnings,
  }
}
