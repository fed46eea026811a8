import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { Condition } from '../../specs/condition.ts'
import { liveClaimViews } from '../../specs/db/claims.ts'
import { countInstances, listInstances } from '../../specs/db/instances.ts'
import { leadership } from '../../specs/db/leases.ts'
import { getPool } from '../../specs/db/pools.ts'
import type { ApiContext } from '../context.ts'
import { CountsShape } from '../shapes/common.ts'
import { EarlierNames, earlierNames } from '../shapes/earlier-names.ts'
import { InstanceShape, toInstance } from '../shapes/instance.ts'
import { withLeader } from '../shapes/pool.ts'

const StatusShape = z.object({
  name: z.string(),
  generation: z.int(),
  observedGeneration: z.int(),
  counts: CountsShape,
  conditions: z.array(Condition),
  instances: z.array(InstanceShape.extend(EarlierNames.shape)),
})

export const statusRoutes =
  ({ sql }: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    app.get(
      '/counts',
      { config: { access: 'none' }, schema: { response: { 200: CountsShape } } },
      async (request) => countInstances(sql, request.pool),
    )

    app.get(
      '/status',
      { config: { access: 'viewer' }, schema: { response: { 200: StatusShape } } },
      async (request) => {
        const [pool, counts, instances, claims, lease] = await Promise.all([
          getPool(sql, request.pool),
          countInstances(sql, request.pool),
          listInstances(sql, request.pool),
          liveClaimViews(sql, request.pool),
          leadership(sql, request.pool),
        ])
        const claimOf = new Map(claims.map((claim) => [claim.id, claim]))
        return {
          name: pool.name,
          generation: pool.generation,
          observedGeneration: pool.status.observedGeneration,
          counts,
          conditions: withLeader(pool.status.conditions, lease),
          instances: instances.map((view) => {
            const instance = toInstance(view)
            return { ...instance, ...earlierNames(instance, claimOf.get(view.claimId ?? '') ?? null) }
          }),
        }
      },
    )
  }
