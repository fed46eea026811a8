import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { getClaim } from '../../specs/db/claims.ts'
import { listEvents } from '../../specs/db/events.ts'
import type { ApiContext } from '../context.ts'
import { PageQuery, page } from '../shapes/common.ts'
import { fromCursor, pageOf } from '../shapes/cursor.ts'
import { EventShape, toEvent } from '../shapes/event.ts'

/** `<xid>-<seq>`, each at most what its column holds. */
const EventId = z.string().regex(/^\d{1,18}-\d{1,18}$/)

export const eventRoutes =
  ({ sql, feed }: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    const Filter = z.object({
      instance: z.string().max(64).optional(),
      claim: z.string().max(64).optional(),
      type: z.enum(['Normal', 'Warning']).optional(),
    })

    app.get(
      '/events',
      {
        config: { access: 'viewer' },
        schema: {
          querystring: PageQuery.extend(Filter.shape),
          response: { 200: page(EventShape) },
        },
      },
      async ({ pool, query }) => {
        const { limit, cursor, ...filter } = query
        const before = fromCursor(EventId, cursor)
        const events = await listEvents(sql, pool, { ...filter, before, limit: limit + 1 })
        return pageOf(events, limit, toEvent, ({ id }) => id)
      },
    )

    const headers = z.looseObject({ 'last-event-id': EventId.optional() })
    const stream = {
      description: 'One event, as JSON, in each message.',
      content: { 'text/event-stream': { schema: z.string() } },
    }

    /** What comes from now on, or behind `Last-Event-ID`. */
    app.get(
      '/events/stream',
      { config: { access: 'viewer' }, schema: { querystring: Filter, headers, response: { 200: stream } } },
      async ({ pool, query, headers }, reply) =>
        feed.send(reply, { ...query, pool, from: headers['last-event-id'] ?? 'end' }),
    )

    /** Each step of one claim, from its first or behind `Last-Event-ID`. */
    app.get(
      '/claims/:id/events',
      {
        config: { access: 'claimer' },
        schema: { params: z.object({ id: z.string() }), headers, response: { 200: stream } },
      },
      async ({ pool, params, headers }, reply) => {
        const claim = await getClaim(sql, pool, params.id)
        return feed.send(reply, { pool, claim: claim.id, from: headers['last-event-id'] ?? 'start' })
      },
    )
  }
