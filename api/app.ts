import Fastify, { type FastifyInstance, type FastifyPluginAsync, LogController } from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import type { ApiConfig } from './config.ts'
import { type ApiContext, type ApiDeps, createContext } from './context.ts'
import { dashboard } from './dashboard/routes.ts'
import { type Actor, authPlugin, oneKey } from './plugins/auth.ts'
import { bodyPlugin } from './plugins/body.ts'
import { errorsPlugin } from './plugins/errors.ts'
import { metricsPlugin } from './plugins/metrics.ts'
import { openapiPlugin } from './plugins/openapi.ts'
import { poolPlugin } from './plugins/pool.ts'
import { securityPlugin } from './plugins/security.ts'
import { agentActionRoutes } from './routes/agent-actions.ts'
import { agentRoutes } from './routes/agents.ts'
import { claimRoute } from './routes/claim.ts'
import { claimRoutes } from './routes/claims.ts'
import { debugRoutes } from './routes/debug.ts'
import { eventRoutes } from './routes/events.ts'
import { healthRoutes } from './routes/health.ts'
import { instanceRoutes } from './routes/instances.ts'
import { operationRoutes } from './routes/operations.ts'
import { poolRoutes } from './routes/pools.ts'
import { revisionRoutes } from './routes/revisions.ts'
import { specRoutes } from './routes/spec.ts'
import { statusRoutes } from './routes/status.ts'
import { supplyRoutes } from './routes/supply.ts'

export type { ApiDeps } from './context.ts'

/** bytes. Instructions of 256 KB as JSON may write them, quotes and newlines escaped. */
const BODY_LIMIT = 1024 * 1024
/** ms. From the first byte of a request to its last. */
const REQUEST_LIMIT_MS = 60_000
/** Until there are roles, one key may do everything. */
const ADMIN: Actor = { name: 'admin', role: 'admin' }

/**
 * The whole API, not listening yet: a test asks it by `inject`.
 * @param serves `health`: only whether the process lives, what it is and its metrics, for a controller without an API.
 */
export async function buildApp(
  deps: ApiDeps,
  { serves = 'all' }: { serves?: 'all' | 'health' } = {},
): Promise<FastifyInstance> {
  const { config, clock } = deps
  const app = Fastify({
    ...(deps.log ? { loggerInstance: deps.log } : { logger: false }),
    logController: new LogController({ disableRequestLogging: true }), // one line at the end of each says as much
    trustProxy: trusted(config.trustProxy),
    bodyLimit: BODY_LIMIT,
    requestTimeout: REQUEST_LIMIT_MS,
    routerOptions: { maxParamLength: 200, ignoreTrailingSlash: true },
    return503OnClosing: false, // what comes on a connection that is still open is answered
    genReqId: () => deps.random.word(12),
  }).withTypeProvider<ZodTypeProvider>()
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)

  const context = createContext(deps)
  await app.register(errorsPlugin)
  await app.register(securityPlugin, { behindProxy: config.trustProxy !== false })
  await app.register(authPlugin, {
    authenticate: oneKey(config.apiKey, ADMIN),
    metricsToken: config.metricsToken,
  })
  await app.register(metricsPlugin, { registry: deps.registry, clock })
  await app.register(bodyPlugin)
  if (serves === 'all') await app.register(openapiPlugin, { version: config.version.version })

  await app.register(healthRoutes(context))
  if (serves === 'health') return app
  await app.register(dashboard)
  await app.register(poolRoutes(context))
  for (const prefix of ['/api/pool', '/api/pools/:pool']) await app.register(onePool(context), { prefix })

  answerBeforeClosing(app, context)
  return app
}

/** Whoever waits when the server closes gets an answer, on a connection that then goes too: it is waited for. */
function answerBeforeClosing(
  app: FastifyInstance,
  { claims, operations, feed, clock, config }: ApiContext,
): void {
  let closing = false
  let cancel = () => {}
  const endWaits = () => {
    claims.close()
    operations.close()
  }
  app.addHook('preClose', async () => {
    closing = true
    feed.close() // its readers come back, to another replica
    cancel = clock.after(config.closeWithinMs, endWaits)
  })
  app.addHook('onSend', async (_, reply) => {
    if (closing) reply.header('connection', 'close')
  })
  app.addHook('onClose', async () => {
    cancel()
    endWaits()
  })
}

/** A number is of hops, which Fastify takes as a function. */
function trusted(proxy: ApiConfig['trustProxy']) {
  return typeof proxy === 'number' ? (_: string, hop: number) => hop < proxy : proxy
}

/** All that can be asked of one pool. */
const onePool =
  (context: ApiContext): FastifyPluginAsync =>
  async (app) => {
    await app.register(poolPlugin, { sql: context.sql })
    const resources = [
      specRoutes,
      statusRoutes,
      agentRoutes,
      claimRoute,
      claimRoutes,
      agentActionRoutes,
      instanceRoutes,
      supplyRoutes,
      operationRoutes,
      debugRoutes,
      eventRoutes,
      revisionRoutes,
    ]
    for (const resource of resources) await app.register(resource(context))
  }
