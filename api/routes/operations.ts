import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { cancelOperation, getOperation, listOperations } from '../../specs/db/operations.ts'
import { follow } from '../ask.ts'
import type { ApiContext } from '../context.ts'
import { PageQuery, page, WaitQuery } from '../shapes/common.ts'
import { fromCursor, pageOf } from '../shapes/cursor.ts'
import { OperationShape, toOperation } from '../shapes/operation.ts'

const Position = z.object({ createdAt: z.iso.datetime(), id: z.string().max(64) })

export const operationRoutes =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    const { sql, record } = context
    const params = z.object({ id: z.string() })

    app.get(
      '/operations',
      {
        config: { access: 'viewer' },
        schema: { querystring: PageQuery, response: { 200: page(OperationShape) } },
      },
      async ({ pool, query: { limit, cursor } }) => {
        const after = fromCursor(Position, cursor)
        const operations = await listOperations(sql, pool, { limit: limit + 1, after })
        return pageOf(operations, limit, toOperation, ({ createdAt, id }) => ({ createdAt, id }))
      },
    )

    app.get(
      '/operations/:id',
      {
        config: { access: 'viewer' },
        schema: { params, querystring: WaitQuery, response: { 200: OperationShape } },
      },
      async ({ pool, params, query }, reply) =>
        toOperation(await follow(context, reply, await getOperation(sql, pool, params.id), query.wait ?? 0)),
    )

    /** What it has begun goes on; it begins nothing more. */
    app.delete(
      '/operations/:id',
      { config: { access: 'operator' }, schema: { params, response: { 200: OperationShape } } },
      async (request) => {
        const { id } = request.params
        const operation = await cancelOperation(sql, request.pool, id)
        await record(request, {
          reason: 'OperationCancelled',
          message: `${operation.kind} ${id} is to begin nothing more`,
          causeId: id,
        })
        return toOperation(operation)
      },
    )
  }
