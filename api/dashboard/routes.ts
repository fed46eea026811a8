import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyPluginAsync } from 'fastify'

const FILES = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/assets/dashboard.css': ['dashboard.css', 'text/css; charset=utf-8'],
  '/assets/dashboard.js': ['dashboard.js', 'text/javascript; charset=utf-8'],
} as const

/** The page: three files as they lie here, read once. It holds no secret; who opens it signs in with a key. */
export const dashboard: FastifyPluginAsync = async (app) => {
  for (const [url, [name, type]] of Object.entries(FILES)) {
    const content = readFileSync(join(import.meta.dirname, name))
    app.get(url, { config: { access: 'none' }, schema: { hide: true } }, async (_, reply) =>
      reply.type(type).header('cache-control', 'no-cache').send(content),
    )
  }
}
