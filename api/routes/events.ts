import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { listEvents } from '../../specs/db/events.ts'
import type { ApiContext } from '../context.ts'
import { PageQuery, page } from '../shapes/common.ts'
import { fromCursor, pageOf } from '../shapes/cursor.ts'
import { EventShape, toEvent } from '../shapes/event.ts'

/** `<xid>-<seq>`, each at most what its column holds. */
const EventId = z.string().regex(/^\d{1,18}-\d{1,18}$/)

export const eventRoutes =
  ({ sql }: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    app.get(
      '/events',
      {
        config: { access: 'viewer' },
        schema: {
          querystring: PageQuery.extend({
            instance: z.string().max(64).optional(),
            claim: z.string().max(64).optional(),
            type: z.enum(['Normal', 'Warning']).optional(),
          }),
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
  }
