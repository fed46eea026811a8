import { createHash } from 'node:crypto'
import type { Random } from '../../../../specs/random.ts'
import { SPRITE_PATHS } from '../../../sprite/templates.ts'
import type { Disk } from './disk.ts'
import { boundConversation, readChannel, updateChannel } from './gateway-config.ts'
import type { Behaviour } from './repository.ts'

export interface GatewayAnswer {
  status: number
  body: Record<string, unknown>
}
export interface Gateway {
  /** `body` is read only where the route gets that far. */
  handle(request: {
    method: string
    path: string
    authorization: string | null
    body: () => Promise<Record<string, unknown>>
  }): Promise<GatewayAnswer>
}

const BOUND = 'Instance already bound to a conversation. Terminate process and provision a new one.'
const INVITES = { dev: 'https://dev.convos.org/v2?i=', production: 'https://popup.convos.org/v2?i=' }

class Answer extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}
type Body = Record<string, unknown>

/** A field of the wrong type is as good as absent. */
const text = (value: unknown) => (typeof value === 'string' ? value : undefined)

/** The slug of an invite, which may be a link (`?i=slug`, `/join/slug`) or the slug alone. */
export function slugOf(invite: string): string {
  const query = /[?&]i=([^&#]+)/.exec(invite)?.[1]
  return query ? decodeURIComponent(query) : invite.replace(/[?#].*$/, '').replace(/^.*\//, '')
}

/**
 * The Convos channel of OpenClaw, as the stand-in serves it: at most one conversation, held in memory and as two ids in
 * the config. `crash` ends the process. An invite whose slug has `fail`, `never` or `wait-2` in it fails, is never
 * accepted, or is accepted at the third try.
 */
export function createGateway(deps: {
  disk: Disk
  random: Random
  behaviour: Behaviour
  crash: () => void
}): Gateway {
  const { disk, random, behaviour, crash } = deps
  let current = boundConversation(disk)
  const waited = new Map<string, number>()
  const newId = () => createHash('sha256').update(random.secret()).digest('hex').slice(0, 32)

  function identityFile(id: string): string {
    return `${SPRITE_PATHS.convos}/identities/${id}.json`
  }
  function change(id: string, fields: Body): void {
    const identity = JSON.parse(disk.text(identityFile(id)) ?? '{}')
    disk.write(identityFile(id), JSON.stringify({ ...identity, ...fields }, null, 2), 0o600)
  }
  /** Each try to create or join makes a new identity, whatever comes of it. */
  function createIdentity(body: Body, env: keyof typeof INVITES): string {
    const id = newId()
    const name = text(body.name) ?? 'Convos Agent'
    const profile = {
      env,
      name,
      profileName: text(body.profileName) ?? name,
      permissions: text(body.permissions),
      description: text(body.description),
      imageUrl: text(body.imageUrl),
      profileImage: text(body.profileImage),
      ...(behaviour.extraField ? { tone: text(body.tone) } : {}),
    }
    disk.write(identityFile(id), JSON.stringify({ id, ...profile }, null, 2), 0o600)
    return id
  }
  /** Blank instructions leave an older file in place. */
  function writeInstructions({ instructions }: Body): void {
    if (typeof instructions !== 'string' || instructions.trim() === '') return
    if (behaviour.takes.includes('instructions')) disk.write(SPRITE_PATHS.instructions, instructions)
  }
  function bind(env: string, identityId: string, conversationId: string): void {
    change(identityId, { conversationId })
    current = { identityId, conversationId }
    if (!updateChannel(disk, { enabled: true, env, identityId, ownerConversationId: conversationId })) crash()
  }
  function envOf({ env }: Body): keyof typeof INVITES {
    const wanted = env === 'dev' || env === 'production' ? env : readChannel(disk).env
    return wanted === 'dev' ? 'dev' : 'production'
  }

  function create(body: Body): Body {
    const env = envOf(body)
    writeInstructions(body) // before anything can fail, so it stays when something does
    if (behaviour.failClaims) throw new Answer(500, 'convos CLI exited with code 1')
    const inviteSlug = random.secret()
    const identity = createIdentity(body, env)
    change(identity, { inviteSlug })
    const conversationId = newId()
    bind(env, identity, conversationId)
    return { conversationId, inviteUrl: INVITES[env] + inviteSlug, inviteSlug }
  }

  function join(body: Body): Body {
    const invite = text(body.inviteUrl)
    if (!invite) throw new Answer(400, 'inviteUrl (string) is required')
    const env = envOf(body)
    const slug = slugOf(invite)
    writeInstructions(body)
    const identity = createIdentity(body, env)
    if (behaviour.failClaims || slug.includes('fail')) throw new Answer(500, 'convos CLI exited with code 1')
    const before = waited.get(slug) ?? 0
    if (slug.includes('never') || before < Number(/wait-(\d+)/.exec(slug)?.[1] ?? 0)) {
      waited.set(slug, before + 1)
      return { status: 'waiting_for_acceptance' }
    }
    const conversationId = createHash('sha256').update(slug).digest('hex').slice(0, 32)
    bind(env, identity, conversationId) // whoever joins by the same invite is in the same conversation
    return { status: 'joined', conversationId }
  }

  /** The conversation, which `whileBound` has seen. */
  const bound = () => current?.identityId ?? ''

  function rename(body: Body): Body {
    const name = text(body.name)
    if (!name?.trim()) throw new Answer(400, 'name (string) is required')
    change(bound(), { profileName: name })
    return { ok: true }
  }
  function lock(body: Body): Body {
    const locked = body.unlock !== true
    change(bound(), { locked })
    return { ok: true, locked }
  }
  function send(body: Body): Body {
    if (!text(body.message)?.trim()) throw new Answer(400, 'message (string) is required')
    return { success: true, messageId: newId() }
  }
  function explode(): Body {
    current = null // the ids stay in the config: after a restart it is bound again
    return { ok: true, exploded: true }
  }
  function status(): Body {
    const conversation = current && { id: current.conversationId }
    return { ready: true, conversation, streaming: current !== null }
  }

  type When = 'always' | 'unbound' | 'bound'
  const routes: Record<string, { method: string; when: When; handle(body: Body): Body }> = {
    '/convos/status': { method: 'GET', when: 'always', handle: status },
    '/convos/conversation': { method: 'POST', when: 'unbound', handle: create },
    '/convos/join': { method: 'POST', when: 'unbound', handle: join },
    '/convos/conversation/send': { method: 'POST', when: 'bound', handle: send },
    '/convos/rename': { method: 'POST', when: 'bound', handle: rename },
    '/convos/lock': { method: 'POST', when: 'bound', handle: lock },
    '/convos/explode': { method: 'POST', when: 'bound', handle: explode },
  }

  return {
    // The order is the original's: method, key, state, body. Two requests at once can both pass the state.
    async handle({ method, path, authorization, body }) {
      const route = Object.hasOwn(routes, path) ? routes[path] : undefined
      if (!route) return { status: 404, body: { error: 'Not Found' } }
      if (method !== route.method) return { status: 405, body: { error: 'Method Not Allowed' } }
      const key = readChannel(disk).poolApiKey
      if (key && authorization !== `Bearer ${key}`) return { status: 401, body: { error: 'Unauthorized' } }
      if (route.when === 'unbound' && current) return { status: 409, body: { error: BOUND } }
      if (route.when === 'bound' && !current)
        return { status: 400, body: { error: 'No active conversation' } }
      try {
        return { status: 200, body: route.handle(route.method === 'POST' ? await body() : {}) }
      } catch (error) {
        if (error instanceof Answer) return { status: error.status, body: { error: error.message } }
        return { status: 500, body: { error: error instanceof Error ? error.message : 'failed' } }
      }
    },
  }
}
