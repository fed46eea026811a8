// What a conversation leaves on the disk: an identity, the owner's instructions, two ids in the config.
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { updateChannel } from './config.js'

const INVITES = { dev: 'https://dev.convos.org/v2?i=', production: 'https://popup.convos.org/v2?i=' }

export const inviteUrl = (env, slug) => INVITES[env] + slug

/** The slug of an invite, which may be a link (`?i=slug`, `/join/slug`) or the slug alone. */
export function slugOf(invite) {
  const query = /[?&]i=([^&#]+)/.exec(invite)
  return query ? decodeURIComponent(query[1]) : invite.replace(/[?#].*$/, '').replace(/^.*\//, '')
}

/** Whoever joins by the same invite is in the same conversation. */
export const conversationOf = (slug) => createHash('sha256').update(slug).digest('hex').slice(0, 32)

/** Blank instructions leave an older file in place, as in the original. */
export function writeInstructions(home, instructions) {
  if (typeof instructions !== 'string' || instructions.trim() === '') return
  const workspace = join(home, '.openclaw/workspace')
  mkdirSync(workspace, { recursive: true })
  writeFileSync(join(workspace, 'INSTRUCTIONS.md'), instructions)
}

const identityFile = (home, id) => join(home, '.convos/identities', `${id}.json`)

/** Each try to create or join makes a new identity, whatever comes of it. */
export function createIdentity(home, profile) {
  const id = randomBytes(16).toString('hex')
  mkdirSync(join(home, '.convos/identities'), { recursive: true, mode: 0o700 })
  writeFileSync(identityFile(home, id), JSON.stringify({ id, ...profile }, null, 2), { mode: 0o600 })
  return id
}

export function updateIdentity(home, id, change) {
  const identity = JSON.parse(readFileSync(identityFile(home, id), 'utf8'))
  writeFileSync(identityFile(home, id), JSON.stringify({ ...identity, ...change }, null, 2), { mode: 0o600 })
}

export function bind(home, env, identityId, conversationId) {
  updateIdentity(home, identityId, { conversationId })
  updateChannel(home, { enabled: true, env, identityId, ownerConversationId: conversationId })
}

export const newId = (bytes = 16) => randomBytes(bytes).toString('hex')
export const newSlug = () => randomBytes(30).toString('base64url')
