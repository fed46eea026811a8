import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { listEvents } from '../../specs/db/events.ts'
import {
  claimedIds,
  getInstance,
  type InstanceView,
  listInstances,
  requestDestroy,
  requestRecycle,
  setProtected,
} from '../../specs/db/instances.ts'
import { lastAction } from '../../specs/db/operations.ts'
import { Conflict, NotFound } from '../../specs/errors.ts'
import { isFinished, type Operation } from '../../specs/operation.ts'
import { answerWith, ask, follow } from '../ask.ts'
import { DEFAULT_WAIT_SECONDS } from '../config.ts'
import type { ApiContext } from '../context.ts'
import { PageQuery, page, WaitQuery } from '../shapes/common.ts'
import { fromCursor, pageOf } from '../shapes/cursor.ts'
import { EventShape, toEvent } from '../shapes/event.ts'
import { InstanceShape, toInstance } from '../shapes/instance.ts'
import { OperationShape, toOperation } from '../shapes/operation.ts'

/** s. A restore and a proof, or a delete whose absence is confirmed twice and apart, behind others in their lanes. */
const ACTION_SECONDS = 1800
/** s. One read of one file. */
const LOGS_SECONDS = 60
const TIMELINE = 100

const Position = z.object({ createdAt: z.iso.datetime(), id: z.string().max(64) })
const WithTimeline = InstanceShape.extend({ timeline: z.array(EventShape) })
const Acted = z.object({
  ok: z.literal(true),
  instanceId: z.string(),
  /** `recycled`, `replaced` or `destroyed`; null while it goes on. */
  outcome: z.string().nullable(),
  operation: OperationShape,
})

export const instanceRoutes =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    const { sql, record } = context
    const params = z.object({ id: z.string() })
    const ActQuery = WaitQuery.extend({ claim: z.string().min(1).max(64).optional() })

    async function withTimeline(pool: string, id: string): Promise<z.infer<typeof WithTimeline>> {
      const [view, events] = await Promise.all([
        getInstance(sql, pool, id),
        listEvents(sql, pool, { instance: id, limit: TIMELINE }),
      ])
      return { ...toInstance(view), timeline: events.map(toEvent) }
    }

    app.get(
      '/instances',
      {
        config: { access: 'viewer' },
        schema: { querystring: PageQuery, response: { 200: page(InstanceShape) } },
      },
      async ({ pool, query: { limit, cursor } }) => {
        const after = fromCursor(Position, cursor)
        const views = await listInstances(sql, pool, { limit: limit + 1, after })
        return pageOf(views, limit, toInstance, ({ createdAt, id }) => ({ createdAt, id }))
      },
    )

    app.get(
      '/instances/:id',
      { config: { access: 'viewer' }, schema: { params, response: { 200: WithTimeline } } },
      async ({ pool, params }) => withTimeline(pool, params.id),
    )

    app.patch(
      '/instances/:id',
      {
        config: { access: 'operator' },
        schema: {
          params,
          body: z.strictObject({ protected: z.boolean() }),
          response: { 200: WithTimeline },
        },
      },
      async (request) => {
        const { id } = request.params
        const wish = request.body.protected
        await setProtected(sql, request.pool, id, wish)
        await record(request, {
          reason: wish ? 'Protected' : 'Unprotected',
          message: wish ? 'nothing destroys or recycles it' : 'it may be destroyed and recycled again',
          instanceId: id,
        })
        return withTimeline(request.pool, id)
      },
    )

    /** Says which are claimed; the verb is the earlier manager's, and changes nothing. */
    app.delete(
      '/instances',
      {
        config: { access: 'operator' },
        schema: { response: { 200: z.object({ ids: z.array(z.string()) }) } },
      },
      async ({ pool }) => ({ ids: await claimedIds(sql, pool) }),
    )

    const acting = {
      config: { access: 'operator' as const },
      schema: { params, querystring: ActQuery, response: { 200: Acted, 202: Acted } },
    }

    app.delete('/instances/:id', acting, async (request, reply) => {
      const { id } = request.params
      const { claim = null, wait = DEFAULT_WAIT_SECONDS } = request.query
      const { instance, last } = await rowAndLastAction(request.pool, id, 'recycle')
      if (!instance) return acted(request, reply, id, await follow(context, reply, last, wait))
      if (instance.status === 'provisioning')
        throw new Conflict('Provisioning', `instance ${id} is being built: nobody used it yet`)
      const until = await requestRecycle(sql, request.pool, id, claim)
      const running = last && !isFinished(last) && last.selector.until === until
      const operation = running
        ? await follow(context, reply, last, wait)
        : await ask(context, request, reply, {
            kind: 'action',
            wanted: 1,
            selector: { instance: id, verb: 'recycle', until },
            deadlineSeconds: ACTION_SECONDS,
            waitSeconds: wait,
            edit: {
              reason: 'RecycleRequested',
              message: `recycle ${id}`,
              instanceId: id,
              claimId: instance.claimId,
            },
          })
      return acted(request, reply, id, operation)
    })

    app.delete('/instances/:id/destroy', acting, async (request, reply) => {
      const { id } = request.params
      const { claim = null, wait = DEFAULT_WAIT_SECONDS } = request.query
      const { instance, last } = await rowAndLastAction(request.pool, id, 'destroy')
      if (!instance) return acted(request, reply, id, await follow(context, reply, last, wait))
      await requestDestroy(sql, request.pool, id, claim)
      const operation =
        last && !isFinished(last)
          ? await follow(context, reply, last, wait)
          : await ask(context, request, reply, {
              kind: 'action',
              wanted: 1,
              selector: { instance: id, verb: 'destroy' },
              deadlineSeconds: ACTION_SECONDS,
              waitSeconds: wait,
              edit: {
                reason: 'DestroyRequested',
                message: `destroy ${id}`,
                instanceId: id,
                claimId: instance.claimId,
              },
            })
      return acted(request, reply, id, operation)
    })

    type Found = { instance: InstanceView; last: Operation | null } | { instance: null; last: Operation }

    /** The instance while there is one; afterwards what was last asked of it answers. @throws NotFound when neither knows it */
    async function rowAndLastAction(pool: string, id: string, verb: 'recycle' | 'destroy'): Promise<Found> {
      const [instance, last] = await Promise.all([
        getInstance(sql, pool, id).catch((error) => {
          if (error instanceof NotFound) return null
          throw error
        }),
        lastAction(sql, pool, id, verb),
      ])
      if (instance) return { instance, last }
      if (last) return { instance, last }
      throw new NotFound('instance', id)
    }

    function acted(
      request: FastifyRequest,
      reply: FastifyReply,
      instanceId: string,
      operation: Operation,
    ): z.infer<typeof Acted> {
      reply.code(answerWith(request, reply, operation))
      const outcome = z.string().nullable().catch(null).parse(operation.result?.outcome)
      return { ok: true, instanceId, outcome, operation: toOperation(operation) }
    }

    const LogsShape = z.object({ source: z.string(), lines: z.array(z.string()) })
    const LogsAskedShape = z.object({ ok: z.literal(true), operation: OperationShape })
    app.get(
      '/instances/:id/logs',
      {
        config: { access: 'operator' },
        schema: {
          params,
          querystring: WaitQuery.extend({ source: z.enum(['build', 'gateway']).default('build') }),
          response: { 200: LogsShape, 202: LogsAskedShape },
        },
      },
      async (request, reply) => {
        const { id } = request.params
        const { source, wait = DEFAULT_WAIT_SECONDS } = request.query
        const instance = await getInstance(sql, request.pool, id)
        if (source === 'build') return { source, lines: instance.progress?.log ?? [] }
        const operation = await ask(context, request, reply, {
          kind: 'logs',
          selector: { instance: id },
          arguments: { source },
          deadlineSeconds: LOGS_SECONDS,
          waitSeconds: wait,
          edit: null,
        })
        if (answerWith(request, reply, operation) === 202)
          return reply.code(202).send({ ok: true, operation: toOperation(operation) })
        return { source, lines: z.array(z.string()).catch([]).parse(operation.result?.lines) }
      },
    )
  }
