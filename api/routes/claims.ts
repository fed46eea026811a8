import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { CLAIM_PHASES, TtlSeconds } from '../../specs/claim.ts'
import { type ClaimView, getClaim, listClaims, releaseClaim, renewClaim } from '../../specs/db/claims.ts'
import { callerGone } from '../ask.ts'
import { isAnswerable, isEnded } from '../claiming.ts'
import type { ApiContext } from '../context.ts'
import { placesOf } from '../line.ts'
import { ClaimShape, toClaim } from '../shapes/claim.ts'
import { PageQuery, page, WaitQuery } from '../shapes/common.ts'
import { fromCursor, pageOf } from '../shapes/cursor.ts'

/** Claims that were made: seen, waited for, extended, let go. */
export const claimRoutes =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    const { sql, config, record, claims } = context
    const params = z.object({ id: z.string() })
    const line = { sql, defaults: config.specDefaults }
    const shown = async (claim: ClaimView) =>
      toClaim(claim, (await placesOf(line, claim.pool, [claim]))(claim))

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
        const placeOf = await placesOf(line, pool, found)
        return pageOf(
          found,
          limit,
          (claim) => toClaim(claim, placeOf(claim)),
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
        const claim = await getClaim(sql, pool, params.id)
        return shown(await waitFor(reply, claim, isAnswerable, query.wait))
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
        return { ok: true as const, ...(await shown(claim)) }
      },
    )

    app.post(
      '/claims/:id/renew',
      {
        config: { access: 'claimer' },
        schema: { params, body: z.strictObject({ ttlSeconds: TtlSeconds }), response: { 200: ClaimShape } },
      },
      async (request) => {
        const { ttlSeconds } = request.body
        const claim = await renewClaim(sql, request.pool, request.params.id, ttlSeconds)
        const from = claim.phase === 'Ready' ? 'now' : 'its delivery'
        await record(request, {
          reason: 'ClaimRenewed',
          message: `it ends ${ttlSeconds} s from ${from}`,
          claimId: claim.id,
          instanceId: claim.instanceId,
        })
        return shown(claim)
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
