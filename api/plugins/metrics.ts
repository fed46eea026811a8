import fastifyPlugin from 'fastify-plugin'
import { Histogram, type Registry } from 'prom-client'
import type { Clock } from '../../specs/clock.ts'

/** s. From an answer out of memory to the longest wait that a caller may ask for. */
const BUCKETS = [0.005, 0.02, 0.1, 0.5, 2, 10, 30, 100, 300]
const METRIC = 'clawpool_http_request_seconds'

/** `/metrics`: all that this process counts, and here how long answers take, by the route's pattern. */
export const metricsPlugin = fastifyPlugin<{ registry: Registry; clock: Clock }>(
  async (app, { registry, clock }) => {
    const seconds = new Histogram({
      name: METRIC,
      help: 'From a request to the end of its answer.',
      labelNames: ['method', 'route', 'status'] as const,
      buckets: BUCKETS,
      registers: [registry],
    })
    const begun = new WeakMap<object, number>()
    app.addHook('onRequest', async (request) => {
      begun.set(request, clock.monotonic())
    })
    app.addHook('onResponse', async (request, reply) => {
      const ms = clock.monotonic() - (begun.get(request) ?? clock.monotonic())
      const route = request.routeOptions.url ?? 'none' // never the path itself: ids are no labels
      seconds.observe({ method: request.method, route, status: reply.statusCode }, ms / 1000)
      const level = request.method === 'GET' ? 'debug' : 'info'
      request.log[level](
        { method: request.method, route, status: reply.statusCode, ms: Math.round(ms) },
        'request answered',
      )
    })
    app.addHook('onClose', async () => registry.removeSingleMetric(METRIC))
    app.get('/metrics', { config: { access: 'metrics' }, schema: { hide: true } }, async (_, reply) => {
      reply.header('content-type', registry.contentType)
      return registry.metrics()
    })
  },
  { name: 'metrics', dependencies: ['auth'] },
)
