import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { listRevisions, type Revision } from '../../specs/db/pools.ts'
import type { ApiContext } from '../context.ts'
import { Instant, instantOf, instantOrNull, PageQuery, page } from '../shapes/common.ts'
import { fromCursor, pageOf } from '../shapes/cursor.ts'

const RevisionShape = z.object({
  number: z.int(),
  template: z.record(z.string(), z.unknown()),
  createdAt: Instant,
  buildsOk: z.int(),
  /** Builds that failed in a row since the last good one. */
  failures: z.int(),
  lastFailedAt: Instant.nullable(),
  lastError: z.string().nullable(),
})

export const revisionRoutes =
  ({ sql }: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    app.get(
      '/revisions',
      {
        config: { access: 'viewer' },
        schema: {
          querystring: PageQuery,
          response: { 200: page(RevisionShape) },
        },
      },
      async ({ pool, query: { limit, cursor } }) => {
        const before = fromCursor(z.int().min(0).max(2_147_483_647), cursor)
        return pageOf(
          await listRevisions(sql, pool, limit + 1, before),
          limit,
          toRevision,
          ({ number }) => number,
        )
      },
    )
  }

function toRevision(revision: Revision): z.infer<typeof RevisionShape> {
  return {
    number: revision.number,
    template: revision.template,
    createdAt: instantOf(revision.createdAt),
    buildsOk: revision.buildsOk,
    failures: revision.failures,
    lastFailedAt: instantOrNull(revision.lastFailedAt),
    lastError: revision.lastError,
  }
}
