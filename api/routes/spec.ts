import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { countInstances } from '../../specs/db/instances.ts'
import { leadership } from '../../specs/db/leases.ts'
import { countWaiting } from '../../specs/db/line.ts'
import { getPool, putSpec } from '../../specs/db/pools.ts'
import { Conflict, PreconditionFailed } from '../../specs/errors.ts'
import {
  differingFields,
  fieldsResetByPut,
  type Pool,
  type PoolSpec,
  specFromPatch,
  specFromPut,
} from '../../specs/pool.ts'
import type { ApiContext } from '../context.ts'
import { previewPlan } from '../shapes/plan.ts'
import { SpecShape, withLeader } from '../shapes/pool.ts'

/** Edits by others that one edit is laid on top of anew before it gives up; each takes a few ms. */
const TRIES = 10

const EditQuery = z.object({
  /** Says what would come of it, and writes nothing. */
  dryRun: z.enum(['true', 'false', '']).optional(),
})

export const specRoutes =
  ({ sql, config, record }: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    async function show(reply: FastifyReply, pool: Pool, spec: PoolSpec | null = pool.spec) {
      const [counts, waiting, lease] = await Promise.all([
        countInstances(sql, pool.name),
        countWaiting(sql, pool.name),
        leadership(sql, pool.name),
      ])
      const { observedGeneration, plan, conditions } = pool.status
      const planned = spec === pool.spec && observedGeneration === pool.generation && plan.length > 0
      reply.header('etag', `"${pool.generation}"`)
      return {
        name: pool.name,
        generation: pool.generation,
        observedGeneration,
        spec: spec ?? (pool.rawSpec as Record<string, unknown>),
        conditions: withLeader(conditions, lease),
        plan: planned || !spec ? plan : previewPlan(spec, counts, waiting),
      }
    }

    /** Lays the edit on what stands there now; when somebody else was first, on what stands there then. */
    async function edit(
      request: FastifyRequest<{ Querystring: z.infer<typeof EditQuery> }>,
      reply: FastifyReply,
      next: (pool: Pool) => PoolSpec,
    ) {
      const { dryRun } = request.query
      for (let tries = 0; tries < TRIES; tries++) {
        const pool = await getPool(sql, request.pool)
        checkMatch(request.headers['if-match'], pool.generation)
        const spec = next(pool)
        if (dryRun !== undefined && dryRun !== 'false') return show(reply, pool, spec)
        const written = await putSpec(sql, pool.name, spec, pool.generation)
        if (!written) continue
        if (written.generation !== pool.generation)
          await record(request, { reason: 'SpecChanged', message: changes(pool.rawSpec, spec) })
        return show(reply, written)
      }
      throw new Conflict('SpecMoved', 'others edit this spec all the time: try again')
    }

    app.get(
      '/spec',
      { config: { access: 'viewer' }, schema: { response: { 200: SpecShape } } },
      async (request, reply) => show(reply, await getPool(sql, request.pool)),
    )

    const editing = {
      config: { access: 'operator' as const },
      schema: { querystring: EditQuery, body: z.unknown(), response: { 200: SpecShape } },
    }

    app.put('/spec', editing, async (request, reply) =>
      edit(request, reply, (pool) => {
        const spec = specFromPut(request.body, config.specDefaults)
        if (request.headers['if-match'] === undefined && pool.spec)
          refuseReset(fieldsResetByPut(pool.spec, request.body, spec))
        return spec
      }),
    )

    app.patch('/spec', editing, async (request, reply) =>
      edit(request, reply, (pool) =>
        // one that does not parse is mended by what parses once the patch is on it
        specFromPatch(pool.spec ?? (pool.rawSpec as PoolSpec), request.body, config.specDefaults),
      ),
    )
  }

/** The one-line PUT must never change by accident what it does not name. @throws Conflict `WouldReset` */
function refuseReset(fields: readonly string[]): void {
  if (fields.length === 0) return
  throw new Conflict(
    'WouldReset',
    `this PUT does not name ${fields.join(', ')}, and would put the default there. To change only what you name, use PATCH; to reset the rest too, send If-Match with the ETag of the spec you read`,
    fields.map((path) => ({ path, message: 'is not its default, and this PUT does not name it' })),
  )
}

/** @throws PreconditionFailed */
function checkMatch(header: string | undefined, generation: number): void {
  if (header === undefined || header.trim() === '*') return
  const tags = header.split(',').map((tag) =>
    tag
      .trim()
      .replace(/^W\//, '')
      .replace(/^"(.*)"$/, '$1'),
  )
  if (!tags.includes(String(generation)))
    throw new PreconditionFailed(tags.join(', ').slice(0, 100), generation)
}

/** `minIdle: 3 → 5; maxIdle: null → 8`, without what an address may carry before its host. */
function changes(from: unknown, to: PoolSpec): string {
  const at = (object: unknown, path: string) =>
    path.split('.').reduce((value, key) => (value as Record<string, unknown> | undefined)?.[key], object)
  const shown = (value: unknown) => (JSON.stringify(value) ?? 'unset').replace(/\/\/[^/@"]*@/g, '//***@')
  return differingFields(from, to)
    .map((path) => `${path}: ${shown(at(from, path))} → ${shown(at(to, path))}`)
    .join('; ')
}
