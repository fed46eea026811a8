import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { Forbidden, Unauthorized } from '../errors.ts'
import { SIGN_IN_LIMIT, SignInLimit, type SignInLimitOptions } from './sign-in-limit.ts'

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
  signInLimit?: SignInLimitOptions
}

export const authPlugin = fastifyPlugin<AuthOptions>(
  async (app, { authenticate, metricsToken, signInLimit = SIGN_IN_LIMIT }) => {
    const limit = new SignInLimit(signInLimit)
    const scraper = oneKey(metricsToken ?? '', { name: 'scraper', role: null })
    app.decorateRequest('actor')
    app.addHook('onRequest', async (request) => {
      request.actor = NOBODY
      if (request.is404) return
      const access = request.routeOptions.config.access ?? 'admin'
      if (access === 'none') return
      const key = bearer(request)
      if (access === 'metrics' && metricsToken === null) return
      if (key === null && access === 'optional') return
      if (key === null) throw new Unauthorized() // no guess
      const address: string = request.ip ?? '' // undefined once the connection is gone, whatever the type says
      await limit.check(address)
      const actor = access === 'metrics' ? scraper(key) : authenticate(key)
      if (!actor) {
        await limit.failed(address, key)
        throw new Unauthorized()
      }
      request.actor = actor
      if (access !== 'optional' && access !== 'metrics' && !hasRole(actor, access))
        throw new Forbidden(access)
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

/** Whose key this is, while there is but one: `actor`'s, or nobody's. */
export function oneKey(secret: string, actor: Actor): (key: string) => Actor | null {
  const isKey = matcher(secret)
  return (key) => (isKey(key) ? actor : null)
}

/** Compares digests, of one length whatever is sent: the time it takes says nothing about the secret. */
function matcher(secret: string): (candidate: string) => boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const wanted = digest(secret)
  return (candidate) => timingSafeEqual(digest(candidate), wanted)
}
