import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { deadline } from '../../specs/clock.ts'
import { leader } from '../../specs/db/leases.ts'
import { DEFAULT_POOL } from '../config.ts'
import type { ApiContext } from '../context.ts'
import { Instant, instantOf } from '../shapes/common.ts'

/** ms. A database that takes longer to say who leads is of no use to a claim. */
const DATABASE_LIMIT_MS = 2_000

const Readiness = z.object({
  ok: z.boolean(),
  database: z.boolean(),
  /** False: news do not reach this process, it polls. Slower, not broken. */
  listening: z.boolean(),
  /** Does anybody reconcile? Not a condition of being ready: a stand-by is. */
  leader: z.boolean(),
})

export const healthRoutes =
  ({ sql, clock, news, config }: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    app.get(
      '/healthz',
      { config: { access: 'none' }, schema: { response: { 200: z.object({ ok: z.literal(true) }) } } },
      async () => ({ ok: true as const }),
    )

    app.get(
      '/readyz',
      { config: { access: 'none' }, schema: { response: { 200: Readiness, 503: Readiness } } },
      async (_, reply) => {
        const listening = news.listening()
        try {
          const leads = (await inTime(leader(sql, DEFAULT_POOL))) !== null
          return { ok: true, database: true, listening, leader: leads }
        } catch {
          reply.code(503)
          return { ok: false, database: false, listening, leader: false }
        }
      },
    )

    app.get(
      '/version',
      {
        config: { access: 'none' },
        schema: {
          response: {
            200: z.object({
              version: z.string(),
              environment: z.string(),
              commit: z.string().nullable(),
              startedAt: Instant,
              badge: z.string(),
            }),
          },
        },
      },
      async () => ({
        ...config.version,
        startedAt: instantOf(config.version.startedAt),
        environment: config.environment,
        badge: config.badge,
      }),
    )

    function inTime<T>(answer: Promise<T>): Promise<T> {
      const limit = deadline(clock, 'database', DATABASE_LIMIT_MS)
      const late = new Promise<never>((_, reject) =>
        limit.signal.addEventListener('abort', () => reject(limit.signal.reason), { once: true }),
      )
      return Promise.race([answer, late]).finally(limit.done)
    }
  }
