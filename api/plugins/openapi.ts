import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import fastifyPlugin from 'fastify-plugin'
import { createJsonSchemaTransform } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { PoolName } from '../../specs/pool.ts'
import { ProblemShape } from '../shapes/common.ts'

const transform = createJsonSchemaTransform({ zodToJsonConfig: { unrepresentable: 'any' } })
/** The viewer's own styles are inline; its scripts are files. */
const DOCS_POLICY =
  "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"

/** `/openapi.json` and `/docs`, from the same schemas that check bodies and shape answers. */
export const openapiPlugin = fastifyPlugin<{ version: string }>(
  async (app, { version }) => {
    await app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: 'Claw Pool',
          version,
          description:
            'A pool of pre-warmed agents. `/api/pool/…` is the pool named `default`, `/api/pools/{pool}/…` any pool.',
        },
        components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
      },
      transform(document) {
        const { schema = {}, url, route } = document
        const params = schema.params as z.ZodObject | undefined
        const ofPool = url.includes('/:pool') ? z.object({ pool: PoolName }) : undefined
        const all = params && ofPool ? ofPool.extend(params.shape) : (params ?? ofPool)
        const access = route.config?.access ?? 'admin'
        return transform({
          ...document,
          schema: {
            ...schema,
            ...(all && { params: all }),
            response: { ...(schema.response as object | undefined), default: ProblemShape },
            security: access === 'none' ? [] : access === 'optional' ? [{}, { key: [] }] : [{ key: [] }],
          },
        } as Parameters<typeof transform>[0])
      },
    })
    app.addHook('onRoute', (route) => {
      // the viewer's own routes do not know of our keys, and show nothing that needs one
      if (route.url === '/docs' || route.url.startsWith('/docs/')) route.config = { access: 'none' }
    })
    await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: DOCS_POLICY })
    app.get('/openapi.json', { config: { access: 'none' }, schema: { hide: true } }, async () =>
      app.swagger(),
    )
  },
  { name: 'openapi', dependencies: ['auth'] },
)
