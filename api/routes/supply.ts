import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { countInstances } from '../../specs/db/instances.ts'
import { getPool } from '../../specs/db/pools.ts'
import { Invalid } from '../../specs/errors.ts'
import { answerWith, ask } from '../ask.ts'
import { DEFAULT_WAIT_SECONDS } from '../config.ts'
import type { ApiContext } from '../context.ts'
import { CountsShape, WaitQuery } from '../shapes/common.ts'
import { OperationShape, toOperation } from '../shapes/operation.ts'
import { specInForce } from '../shapes/pool.ts'

/** s. A build takes about five minutes, and a large batch waits for places to build. */
const REPLENISH_SECONDS = 3600
/** s. Each absence is confirmed twice and apart, after a delete that may need tries. */
const DRAIN_SECONDS = 1800
const RECONCILE_SECONDS = 300
const LONGEST_SECONDS = 86_400

const Answer = z.object({ ok: z.literal(true), counts: CountsShape, operation: OperationShape.nullable() })
const count = z.int().min(1)

/** How many there are: more of them, fewer of them, and a look at whether the count is right. */
export const supplyRoutes =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    const { sql, config } = context

    const reconcile = (
      request: FastifyRequest,
      reply: FastifyReply,
      wait = DEFAULT_WAIT_SECONDS,
      confirmLost = false,
    ) =>
      ask(context, request, reply, {
        kind: 'reconcile',
        arguments: { confirmLost },
        deadlineSeconds: RECONCILE_SECONDS,
        waitSeconds: wait,
        edit: {
          reason: 'ReconcileRequested',
          message: `a look at everything, now${confirmLost ? '; what is missing is said to be lost' : ''}`,
        },
      })

    /** @throws Invalid for a count above `maxTotal`. */
    async function checkCount(name: string, wanted: number): Promise<{ maxTotal: number; orphans: number }> {
      const pool = await getPool(sql, name)
      const { maxTotal } = specInForce(pool, config.specDefaults)
      if (wanted <= maxTotal) return { maxTotal, orphans: pool.status.orphans }
      throw new Invalid('the body is not valid', [
        { path: 'count', message: `is ${wanted}; 1 to maxTotal, which is ${maxTotal}` },
      ])
    }

    app.post(
      '/replenish',
      {
        config: { access: 'operator' },
        schema: {
          querystring: WaitQuery,
          body: z.strictObject({ count: count.optional() }).nullish(),
          response: {
            200: Answer,
            202: Answer.extend({ created: z.int().optional() }),
          },
        },
      },
      async (request, reply) => {
        const wanted = request.body?.count
        if (wanted === undefined) {
          const operation = await reconcile(request, reply, request.query.wait)
          reply.code(answerWith(request, reply, operation))
          const counts = await countInstances(sql, request.pool)
          return { ok: true as const, counts, operation: toOperation(operation) }
        }

        const { maxTotal, orphans } = await checkCount(request.pool, wanted)
        const counts = await countInstances(sql, request.pool)
        const alive = Object.values(counts).reduce((sum, n) => sum + n, orphans)
        const created = Math.min(wanted, Math.max(0, maxTotal - alive))
        reply.code(202) // at once: a build takes minutes
        if (created === 0) return { ok: true as const, created, counts, operation: null }
        const operation = await ask(context, request, reply, {
          kind: 'replenish',
          wanted: created,
          deadlineSeconds: REPLENISH_SECONDS,
          waitSeconds: 0,
          edit: {
            reason: 'ReplenishRequested',
            message: `${created} more than the plan${created < wanted ? `, of ${wanted} asked for: maxTotal is ${maxTotal}` : ''}`,
          },
        })
        reply.header('location', `${request.base}/operations/${operation.id}`)
        return { ok: true as const, created, counts, operation: toOperation(operation) }
      },
    )

    const Drained = Answer.extend({ drained: z.int() })
    app.post(
      '/drain',
      {
        config: { access: 'operator' },
        schema: {
          querystring: WaitQuery,
          body: z
            .strictObject({
              count: count.optional(),
              all: z.boolean().optional(),
              revision: count.max(2_147_483_647).optional(),
              deadlineSeconds: z.int().min(1).max(LONGEST_SECONDS).optional(),
            })
            .refine(({ count, all }) => !(all && count !== undefined), {
              path: ['count'],
              message: 'either count or all, not both',
            })
            .nullish(),
          response: { 200: Drained, 202: Drained },
        },
      },
      async (request, reply) => {
        const { count = 1, all = false, revision, deadlineSeconds = DRAIN_SECONDS } = request.body ?? {}
        if (!all) await checkCount(request.pool, count)
        const wanted = all ? (await countInstances(sql, request.pool)).idle : count
        const operation = await ask(context, request, reply, {
          kind: 'drain',
          wanted,
          selector: { ...(all && { all }), ...(revision !== undefined && { revision }) },
          deadlineSeconds,
          waitSeconds: request.query.wait ?? DEFAULT_WAIT_SECONDS,
          edit: {
            reason: 'DrainRequested',
            message: `${all ? `all ${wanted}` : wanted} idle${revision === undefined ? '' : ` of revision ${revision}`}`,
          },
        })
        reply.code(answerWith(request, reply, operation))
        return {
          ok: true as const,
          drained: operation.done,
          counts: await countInstances(sql, request.pool),
          operation: toOperation(operation),
        }
      },
    )

    const Reconciled = Answer.extend({ cleaned: z.int() })
    app.post(
      '/reconcile',
      {
        config: { access: 'operator' },
        schema: {
          querystring: WaitQuery,
          // `confirmLost`: a person says that what the list lacks is gone, though it is much.
          body: z.strictObject({ confirmLost: z.boolean().optional() }).nullish(),
          response: { 200: Reconciled, 202: Reconciled },
        },
      },
      async (request, reply) => {
        const operation = await reconcile(request, reply, request.query.wait, request.body?.confirmLost)
        reply.code(answerWith(request, reply, operation))
        const cleaned = z.int().catch(0).parse(operation.result?.cleaned)
        return {
          ok: true as const,
          cleaned,
          counts: await countInstances(sql, request.pool),
          operation: toOperation(operation),
        }
      },
    )
  }
