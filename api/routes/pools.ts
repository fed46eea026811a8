import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { countInstances } from '../../specs/db/instances.ts'
import { getPool, listPoolNames } from '../../specs/db/pools.ts'
import { NotFound } from '../../specs/errors.ts'
import { PoolName } from '../../specs/pool.ts'
import type { ApiContext } from '../context.ts'
import { CountsShape, page } from '../shapes/common.ts'

const PoolShape = z.object({
  name: z.string(),
  generation: z.int(),
  observedGeneration: z.int(),
  revision: z.int(),
  counts: CountsShape,
})

export const poolRoutes =
  ({ sql }: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    async function describe(name: string): Promise<z.infer<typeof PoolShape>> {
      const [pool, counts] = await Promise.all([getPool(sql, name), countInstances(sql, name)])
      const { generation, revision } = pool
      return { name, generation, observedGeneration: pool.status.observedGeneration, revision, counts }
    }

    app.get(
      '/api/pools',
      { config: { access: 'viewer' }, schema: { response: { 200: page(PoolShape) } } },
      async () => ({
        items: await Promise.all((await listPoolNames(sql)).map(describe)),
        nextCursor: null,
      }),
    )

    app.get(
      '/api/pools/:pool',
      {
        config: { access: 'viewer' },
        schema: { params: z.object({ pool: z.string() }), response: { 200: PoolShape } },
      },
      async ({ params }) => {
        if (!PoolName.safeParse(params.pool).success) throw new NotFound('pool', params.pool)
        return describe(params.pool)
      },
    )
  }
