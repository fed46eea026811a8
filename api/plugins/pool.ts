import fastifyPlugin from 'fastify-plugin'
import type { Sql } from '../../specs/db/connect.ts'
import { findPool } from '../../specs/db/pools.ts'
import { NotFound } from '../../specs/errors.ts'
import { PoolName } from '../../specs/pool.ts'
import { DEFAULT_POOL } from '../config.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Name of the pool that the path speaks of. */
    pool: string
    /** Where its routes begin: `/api/pool` or `/api/pools/:pool`. */
    base: string
  }
}

/** Ours are words of `[a-z0-9]`; an event's has a dash. Anything else is no id of ours, and never reaches a statement. */
const ID = /^[A-Za-z0-9_-]{1,64}$/

/** For the routes of one pool, wherever they are mounted. @throws NotFound */
export const poolPlugin = fastifyPlugin<{ sql: Sql }>(
  async (app, { sql }) => {
    app.decorateRequest('pool')
    app.decorateRequest('base')
    app.addHook('onRequest', async (request) => {
      const { pool, ...ids } = request.params as Record<string, string>
      for (const [name, id] of Object.entries(ids))
        if (!ID.test(id))
          throw new NotFound(name === 'id' ? 'such id:' : name, JSON.stringify(id.slice(0, 64)))
      request.pool = pool ?? DEFAULT_POOL
      request.base = pool === undefined ? '/api/pool' : `/api/pools/${pool}`
      if (pool === undefined) return // made at the first start, before the first request
      if (!PoolName.safeParse(pool).success || !(await findPool(sql, pool))) throw new NotFound('pool', pool)
    })
  },
  { name: 'pool', dependencies: ['auth'] },
)
