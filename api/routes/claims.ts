import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { CLAIM_PHASES, claimRequest } from '../../specs/claim.ts'
import {
  type ClaimSubmission,
  type ClaimView,
  getClaim,
  getClaims,
  linePositions,
  listClaims,
  markUnseen,
  releaseClaim,
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
import { CallerGone, ClaimEnded, ClaimNotInTime, NothingIdle } from '../errors.ts'
import { ClaimShape, phaseOf, toClaim } from '../shapes/claim.ts'
import { PageQuery, page, WaitQuery } from '../shapes/common.ts'
import { fromCursor, pageOf } from '../shapes/cursor.ts'
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

export const claimRoutes =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    const { sql, config, random, record, claims } = context
    const Request = claimRequest(config.xmtpEnv)
    const known = Object.keys(Request.shape)
    const params = z.object({ id: z.string() })
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
          position: await positionOf(claim),
          estimateSeconds: null,
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

    const positionOf = async (claim: ClaimView): Promise<number | null> =>
      claim.phase === 'Waiting' ? ((await linePositions(sql, claim.pool)).get(claim.id) ?? null) : null

    app.get(
      '/claims',
      {
        config: { access: 'claimer' },
        schema: {
          querystring: PageQuery.extend({
            phase: z.enum(CLAIM_PHASES).optional(),
            agentName: z.string().max(400).optional(),
          }),
          response: { 200: page(ClaimShape) },
        },
      },
      async ({ pool, query: { limit, cursor, ...filter } }) => {
        const before = fromCursor(z.int().min(1), cursor)
        const found = await listClaims(sql, pool, { ...filter, before, limit: limit + 1 })
        const waits = found.some(({ phase }) => phase === 'Waiting')
        const positions = waits ? await linePositions(sql, pool) : new Map<string, number>()
        return pageOf(
          found,
          limit,
          (claim) => toClaim(claim, positions.get(claim.id) ?? null),
          ({ number }) => number,
        )
      },
    )

    app.get(
      '/claims/:id',
      {
        config: { access: 'claimer' },
        schema: { params, querystring: WaitQuery, response: { 200: ClaimShape } },
      },
      async ({ pool, params, query }, reply) => {
        const claim = await waitFor(reply, await getClaim(sql, pool, params.id), isAnswerable, query.wait)
        return toClaim(claim, await positionOf(claim))
      },
    )

    const ReleasedShape = ClaimShape.extend({ ok: z.literal(true) })
    /** Release of a delivered one, cancel of one that is not yet; of an ended one, only its end is told. */
    app.delete(
      '/claims/:id',
      {
        config: { access: 'claimer' },
        schema: { params, querystring: WaitQuery, response: { 200: ReleasedShape, 202: ReleasedShape } },
      },
      async (request, reply) => {
        const asked = await release(request, request.params.id)
        const claim = await waitFor(reply, asked, isEnded, request.query.wait)
        if (!isEnded(claim)) reply.code(202).header('location', `${request.base}/claims/${claim.id}`)
        return { ok: true as const, ...toClaim(claim, await positionOf(claim)) }
      },
    )

    async function release(request: FastifyRequest, id: string): Promise<ClaimView> {
      const before = await getClaim(sql, request.pool, id)
      if (isEnded(before)) return before
      const claim = await releaseClaim(sql, request.pool, id)
      const first = before.releasedAt === null && before.cancelledAt === null
      if (first && !isEnded(claim))
        await record(request, {
          reason: claim.releasedAt === null ? 'ClaimCancelled' : 'ClaimReleased',
          message: `claim ${id} was ${claim.releasedAt === null ? 'cancelled before it was delivered' : 'released'}`,
          claimId: id,
          instanceId: claim.instanceId,
        })
      return claim
    }

    async function waitFor(
      reply: FastifyReply,
      claim: ClaimView,
      over: (claim: ClaimView) => boolean,
      waitSeconds = 0,
    ): Promise<ClaimView> {
      if (over(claim) || waitSeconds === 0) return claim
      const wait = { timeoutMs: waitSeconds * 1000, signal: callerGone(reply), look: true }
      return (await claims.wait(claim.id, over, wait)) ?? getClaim(sql, claim.pool, claim.id)
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
