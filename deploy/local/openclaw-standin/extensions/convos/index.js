// The Convos channel's routes. One process holds at most one conversation: memory, and two ids in the config, from
// which it is restored after a restart.
import { readChannel } from './config.js'
import {
  bind,
  conversationOf,
  createIdentity,
  inviteUrl,
  newId,
  newSlug,
  slugOf,
  updateIdentity,
  writeInstructions,
} from './conversation.js'
import { answer, Refusal, readBody, text } from './http.js'

const BOUND = 'Instance already bound to a conversation. Terminate process and provision a new one.'

export function createConvos({ home, settings }) {
  const { identityId, ownerConversationId } = readChannel(home)
  let current = identityId && ownerConversationId ? { identityId, id: ownerConversationId } : null
  const waited = new Map() // slug -> how often it was answered with "waiting"

  function whileUnbound() {
    if (current) throw new Refusal(409, BOUND)
  }

  function whileBound() {
    if (!current) throw new Refusal(400, 'No active conversation')
  }

  const envOf = (body) =>
    body.env === 'dev' || body.env === 'production' ? body.env : (readChannel(home).env ?? 'production')

  function profileOf(body, env) {
    const name = text(body.name) ?? 'Convos Agent'
    const permissions = ['all-members', 'admin-only'].includes(body.permissions)
      ? body.permissions
      : undefined
    const profile = { env, name, profileName: text(body.profileName) ?? name, permissions }
    Object.assign(profile, { description: text(body.description), imageUrl: text(body.imageUrl) })
    Object.assign(profile, { profileImage: text(body.profileImage) })
    return settings.extraField ? { ...profile, tone: text(body.tone) } : profile
  }

  async function create(body) {
    const env = envOf(body)
    writeInstructions(home, body.instructions) // before anything can fail, so it stays when something does
    if (settings.failClaims) throw new Error('convos CLI exited with code 1')
    const inviteSlug = newSlug()
    const identity = createIdentity(home, { ...profileOf(body, env), inviteSlug })
    const conversationId = newId()
    bind(home, env, identity, conversationId)
    current = { identityId: identity, id: conversationId }
    return { conversationId, inviteUrl: inviteUrl(env, inviteSlug), inviteSlug }
  }

  async function join(body) {
    const invite = text(body.inviteUrl)
    if (!invite) throw new Refusal(400, 'inviteUrl (string) is required')
    const env = envOf(body)
    const slug = slugOf(invite)
    writeInstructions(home, body.instructions)
    const identity = createIdentity(home, profileOf(body, env)) // the inviter sees one more request for each try
    if (settings.failClaims || slug.includes('fail')) throw new Error('convos CLI exited with code 1')
    const before = waited.get(slug) ?? 0
    if (slug.includes('never') || before < Number(/wait-(\d+)/.exec(slug)?.[1] ?? 0)) {
      waited.set(slug, before + 1)
      return { status: 'waiting_for_acceptance' }
    }
    const conversationId = conversationOf(slug)
    bind(home, env, identity, conversationId)
    current = { identityId: identity, id: conversationId }
    return { status: 'joined', conversationId }
  }

  async function send(body) {
    if (!text(body.message)?.trim()) throw new Refusal(400, 'message (string) is required')
    return { success: true, messageId: newId() }
  }

  async function rename(body) {
    const name = text(body.name)
    if (!name?.trim()) throw new Refusal(400, 'name (string) is required')
    updateIdentity(home, current.identityId, { profileName: name })
    return { ok: true }
  }

  async function lock(body) {
    const locked = body.unlock !== true
    updateIdentity(home, current.identityId, { locked })
    return { ok: true, locked }
  }

  async function explode() {
    current = null // the ids stay in the config: after a restart it is bound again
    return { ok: true, exploded: true }
  }

  async function status() {
    return { ready: true, conversation: current && { id: current.id }, streaming: current !== null }
  }

  const routes = {
    '/convos/status': { method: 'GET', check() {}, handle: status },
    '/convos/conversation': { method: 'POST', check: whileUnbound, handle: create },
    '/convos/join': { method: 'POST', check: whileUnbound, handle: join },
    '/convos/conversation/send': { method: 'POST', check: whileBound, handle: send },
    '/convos/rename': { method: 'POST', check: whileBound, handle: rename },
    '/convos/lock': { method: 'POST', check: whileBound, handle: lock },
    '/convos/explode': { method: 'POST', check: whileBound, handle: explode },
  }

  // The order is the original's: method, key, state, body. The key is read from the file at each request.
  return async function handle(request, response) {
    const route = routes[request.url.split('?')[0]]
    if (!route) return answer(response, 404, { error: 'Not Found' })
    if (request.method !== route.method) return answer(response, 405, { error: 'Method Not Allowed' })
    const key = readChannel(home).poolApiKey
    if (key && request.headers.authorization !== `Bearer ${key}`) {
      return answer(response, 401, { error: 'Unauthorized' })
    }
    try {
      route.check()
      answer(response, 200, await route.handle(route.method === 'POST' ? await readBody(request) : {}))
    } catch (error) {
      answer(response, error.status ?? 500, { error: error.message })
    }
  }
}
