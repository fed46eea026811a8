import helmet from '@fastify/helmet'
import fastifyPlugin from 'fastify-plugin'

/** s. A year, the value that browsers' preload lists ask for at least. */
const HSTS_SECONDS = 31_536_000

/**
 * What a browser must not do with our answers. No CORS: another site's page reads nothing. `upgrade-insecure-requests`
 * would break plain http on a laptop's address, so https is asked for only where a trusted proxy says it is spoken.
 */
export const securityPlugin = fastifyPlugin<{ behindProxy: boolean }>(
  async (app, { behindProxy }) => {
    await app.register(helmet, {
      contentSecurityPolicy: {
        useDefaults: false,
        directives: {
          defaultSrc: ["'self'"],
          scriptSrc: ["'self'"],
          styleSrc: ["'self'"],
          imgSrc: ["'self'", 'data:'],
          connectSrc: ["'self'"],
          objectSrc: ["'none'"],
          baseUri: ["'none'"],
          formAction: ["'self'"],
          frameAncestors: ["'none'"],
        },
      },
      frameguard: { action: 'deny' },
      referrerPolicy: { policy: 'no-referrer' },
      strictTransportSecurity: false,
    })
    if (behindProxy)
      app.addHook('onRequest', async (request, reply) => {
        if (request.protocol === 'https') reply.header('strict-transport-security', `max-age=${HSTS_SECONDS}`)
      })
  },
  { name: 'security' },
)
