import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { Forbidden, Unauthorized } from '../errors.ts'

/** Each has the rights of those before it. */
const ROLES = ['viewer', 'claimer', 'operator', 'admin'] as const
export type Role = (typeof ROLES)[number]

/** Who asks. `role` null: nobody in particular. */
export interface Actor {
  name: string
  role: Role | null
}
const NOBODY: Actor = { name: 'anonymous', role: null }

/** `none`: any key is ignored. `optional`: open, and says more to a key. `metrics`: the scraper's own token, where one is set. */
export type Access = 'none' | 'optional' | 'metrics' | Role

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Who may. A route that does not say is the admin's. */
    access?: Access
  }
  interface FastifyRequest {
    actor: Actor
  }
}

export interface AuthOptions {
  /** null: no such key. */
  authenticate(key: string): Actor | null
  metricsToken: string | null
}

export const authPlugin = fastifyPlugin<AuthOptions>(
  async (app, { authenticate, metricsToken }) => {
    const isMetricsToken = metricsToken === null ? () => true : matcher(metricsToken)
    app.decorateRequest('actor')
    app.addHook('onRequest', async (request) => {
      request.actor = NOBODY
      if (request.is404) return
      const access = request.routeOptions.config.access ?? 'admin'
      if (access === 'none') return
      const key = bearer(request)
      if (access === 'metrics') {
        if (!isMetricsToken(key ?? '')) throw new Unauthorized()
        return
      }
      if (key === null && access === 'optional') return
      const actor = key === null ? null : authenticate(key)
      if (!actor) throw new Unauthorized()
      request.actor = actor
      if (access !== 'optional' && !hasRole(actor, access)) throw new Forbidden(access)
    })
  },
  { name: 'auth' },
)

/** Has this caller the rights of `role`? For what only some values of a field need. */
export const hasRole = (actor: Actor, role: Role): boolean => rank(actor.role) >= rank(role)

const rank = (role: Role | null) => (role === null ? -1 : ROLES.indexOf(role))

/** null: no key was sent. */
function bearer(request: FastifyRequest): string | null {
  const [, key] = /^bearer +(\S.*?) *$/i.exec(request.headers.authorization ?? '') ?? []
  return key ?? (request.headers.authorization === undefined ? null : '')
}

/** Compares digests, of one length whatever is sent: the time it takes says nothing about the secret. */
export function matcher(secret: string): (candidate: string) => boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const wanted = digest(secret)
  return (candidate) => timingSafeEqual(digest(candidate), wanted)
}
