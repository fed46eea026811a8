import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { listEvents } from '../../specs/db/events.ts'
import { getInstance } from '../../specs/db/instances.ts'
import { STATUSES } from '../../specs/instance.ts'
import { ask } from '../ask.ts'
import { DEFAULT_WAIT_SECONDS } from '../config.ts'
import type { ApiContext } from '../context.ts'
import { Instant, WaitQuery } from '../shapes/common.ts'
import { EventShape, toEvent } from '../shapes/event.ts'
import { InstanceShape, toInstance } from '../shapes/instance.ts'

/** s. One look at one Sprite: a wake-up and a few calls. */
const PROBE_SECONDS = 120
const TIMELINE = 100

/** What the controller's probe found; null: it was not to be told. It strips secrets before it writes. */
const Found = z.object({
  processes: z.unknown().default(null),
  localCheck: z.unknown().default(null),
  envExists: z.unknown().default(null),
  listening: z.unknown().default(null),
  apiStatus: z.unknown().default(null),
  apiBody: z.unknown().default(null),
  logTail: z.unknown().default(null),
  /** When the Sprite itself was asked; null: it did not answer in time, and only what we knew is here. */
  probedAt: Instant.nullable().default(null),
})

const DebugShape = z.object({
  id: z.string(),
  name: z.string(),
  status: z.enum(STATUSES),
  url: z.string().nullable(),
  ...Found.shape,
  instance: InstanceShape,
  timeline: z.array(EventShape),
  /** Why there is nothing of the Sprite's own here; null: there is. */
  message: z.string().nullable(),
})

export const debugRoutes =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    const { sql } = context

    app.get(
      '/debug/:id',
      {
        config: { access: 'operator' },
        schema: {
          params: z.object({ id: z.string() }),
          querystring: WaitQuery,
          response: { 200: DebugShape },
        },
      },
      async (request, reply) => {
        const { id } = request.params
        await getInstance(sql, request.pool, id)
        const probe = await ask(context, request, reply, {
          kind: 'probe',
          selector: { instance: id },
          deadlineSeconds: PROBE_SECONDS,
          waitSeconds: request.query.wait ?? DEFAULT_WAIT_SECONDS,
          edit: null,
        })
        const [view, events] = await Promise.all([
          getInstance(sql, request.pool, id),
          listEvents(sql, request.pool, { instance: id, limit: TIMELINE }),
        ])
        const probed = probe.phase === 'Succeeded'
        return {
          ...Found.parse((probed && probe.result) || {}),
          id,
          name: view.spriteName,
          status: view.status,
          url: view.spriteUrl,
          instance: toInstance(view),
          timeline: events.map(toEvent),
          message: probed
            ? null
            : (probe.message ?? 'the probe is not over yet: ask again, or with a longer ?wait='),
        }
      },
    )
  }
