/**
 * The world as it is, for what the state needs and no more. Reads only. What gives no answer stays "unknown", or rises as
 * the client's error where the whole pass can say nothing; absence is only ever what the provider said in so many words.
 */

import type { Context } from '../../machines/life.ts'
import { START_LIMIT_MS } from '../../machines/limits.ts'
import { NOTHING_SEEN, type Observed } from '../../machines/observed.ts'
import type { FileEntry } from '../sprites/client.ts'
import { SpriteMissing } from '../sprites/errors.ts'
import { holds } from './files.ts'
import { joinLoop } from './join-loop.ts'
import {
  checkpointComment,
  claimState,
  type InstanceDeps,
  ownerLabel,
  type Run,
  setupAttempt,
} from './run.ts'
import { SERVICE } from './sprite-files.ts'

type Facets = Partial<Observed>

/** ms. A look at a gateway that is starting; a sleeping one gets the longer. */
const PROBE_MS = 8_000
export const WAKE_MS = 20_000

export async function observe(deps: InstanceDeps, run: Run): Promise<Observed> {
  const base = rowsAlone(deps, run)
  const context = run.instance.machine.context as unknown as Context
  // What is unwanted, or whose user has gone, needs no look at the outside to move on.
  const movesAnyway =
    (!base.wanted && run.instance.phase !== 'deleting') ||
    (['claimed', 'awaiting', 'recovering'].includes(run.instance.phase) &&
      base.claim !== 'live' &&
      base.claim !== 'none')
  if (movesAnyway) return base
  const facets = await look(deps, run, context, base).catch(async (error: unknown) => {
    if (error instanceof SpriteMissing && error.what === 'sprite') return spriteFacets(deps, run)
    throw error
  })
  const now = deps.clock.now()
  const missed = facets.sprite === 'missing' && context.missingAt !== null
  const listLacks =
    missed &&
    deps.listing.lacks(
      run.instance.spriteName,
      context.missingAt ?? now,
      context.deletedAt !== null || run.instance.spriteId === null ? 'deleted' : 'expected',
      now,
    )
  if (missed && !listLacks) deps.listing.request()
  return { ...base, now, ...facets, listLacks }
}

/** Nothing looked at: what is wanted, who holds it, and what time it is. */
export const rowsAlone = (deps: InstanceDeps, run: Run): Observed => ({
  ...NOTHING_SEEN,
  now: deps.clock.now(),
  ...fromRows(deps, run),
})

function fromRows(deps: InstanceDeps, run: Run): Facets {
  const { instance, claim, facts } = run
  const now = deps.clock.now()
  const { recycle } = facts.spec
  return {
    wanted: instance.wanted === 'present',
    recycle: instance.recycleRequested > instance.recycled,
    recyclable:
      recycle.enabled &&
      instance.checkpointId !== null &&
      instance.reuses < recycle.maxReuses &&
      now - instance.createdAt.getTime() < recycle.maxAgeSeconds * 1000 &&
      instance.revision === facts.revision,
    quarantine: recycle.quarantine,
    requireComplete: recycle.requireComplete,
    mayDelete: !facts.spec.paused.delete,
    joinAttempts: facts.spec.claim.joinAttempts,
    claim: claimState(claim, run.claimExpired),
    excusedUntil: deps.listing.excusedUntil(),
    massIll: deps.massIll(),
    joins: claim?.joinUrl != null,
    attempt: attemptState(deps, run, now),
    outcome: run.outcome,
    limited: run.limitedMs !== null,
    deleteAcknowledged: run.deleteAcknowledged,
    restarted: run.restarted,
  }
}

function attemptState({ lead }: InstanceDeps, run: Run, now: number): Observed['attempt'] {
  const { attempt } = run.instance
  if (attempt === null) return 'none'
  if (attempt.id === run.attemptId) return 'mine'
  if (now >= attempt.until) return 'overdue'
  // The leader before us named until when its calls may be under way: it writes their outcomes itself.
  return lead.foreignUntil !== null && now < lead.foreignUntil ? 'reported' : 'unknown'
}

async function look(deps: InstanceDeps, run: Run, context: Context, base: Observed): Promise<Facets> {
  switch (run.instance.phase) {
    case 'pending':
    case 'deleting':
      return spriteFacets(deps, run)
    case 'installing':
      return context.missingAt === null ? setupFacets(deps, run, context) : spriteFacets(deps, run)
    case 'configuring':
      return context.missingAt === null ? filesFacets(deps, run) : spriteFacets(deps, run)
    case 'starting':
      return context.missingAt === null ? startingFacets(deps, run, context) : spriteFacets(deps, run)
    case 'proving':
      return context.missingAt === null ? proofFacets(deps, run, context) : spriteFacets(deps, run)
    case 'sealing':
      return context.missingAt === null ? sealFacets(deps, run) : spriteFacets(deps, run)
    case 'checkpointing':
      return context.missingAt === null ? checkpointFacets(deps, run) : spriteFacets(deps, run)
    case 'arming':
      return context.missingAt === null ? armingFacets(deps, run, context) : spriteFacets(deps, run)
    case 'idle':
      return base.claim !== 'none' && context.missingAt === null ? {} : settledFacets(deps, run, context)
    case 'claimed':
      return settledFacets(deps, run, context)
    case 'delivering':
      // On the happy path nothing is looked at: the row says what is to be done, the answer what came of it.
      return base.joins && base.attempt !== 'mine' ? boundFacets(deps, run) : {}
    case 'awaiting':
      return boundFacets(deps, run)
    case 'marking':
      return context.missingAt === null ? markFacets(deps, run) : spriteFacets(deps, run)
    case 'restoring':
      return {}
    case 'recovering':
      return recoveringFacets(deps, run, context)
    case 'quarantined':
      return context.missingAt === null ? {} : spriteFacets(deps, run)
    default:
      throw new Error(`no way to look at ${run.instance.phase}`)
  }
}

async function spriteFacets({ sprites }: InstanceDeps, run: Run): Promise<Facets> {
  const { instance, facts } = run
  if (run.deleteAcknowledged && instance.machine.context.deletedAt === null) return { sprite: 'unknown' }
  const sprite = run.sprite ?? (await sprites.get(instance.spriteName, run.signal))
  if (sprite === null) return { sprite: 'missing' }
  if (instance.spriteId !== null) return { sprite: sprite.id === instance.spriteId ? 'present' : 'foreign' }
  if (sprite.labels !== null && !sprite.labels.includes(ownerLabel(facts.uid))) return { sprite: 'foreign' }
  if (instance.phase === 'pending' && sprite.urlAuth !== 'public') {
    run.foundPrivate = true
    return { sprite: 'missing' } // not yet as it was asked for: asked for again, and found
  }
  run.sprite = sprite
  return { sprite: 'present' }
}

async function setupFacets({ sprites, files }: InstanceDeps, run: Run, context: Context): Promise<Facets> {
  const { spriteName } = run.instance
  const bytes = await sprites.readFile(spriteName, files.paths.setupStatus, run.signal)
  if (bytes === null) return { setup: 'none' }
  const parsed = files.setupStatusSchema.safeParse(parseJson(bytes))
  if (!parsed.success) return { setup: 'unknown' }
  const status = parsed.data
  if (status.attempt !== setupAttempt(run, context.tries)) return { setup: 'none' }
  const over = status.exit !== null
  if (over || status.beat !== context.beat) {
    const log = await sprites
      .readFile(spriteName, files.paths.setupLog, run.signal)
      .then((text) => (text ? lastLines(text, 5) : []))
      .catch(() => [])
    run.found.progress = { phase: status.phase, percent: status.percent, log }
  } else {
    const shown = run.instance.progress
    run.found.progress = { phase: status.phase, percent: status.percent, log: shown?.log ?? [] }
  }
  if (status.commit !== null) run.found.commit = status.commit
  if (status.exit === 0) {
    run.found.takes = status.takes
    run.found.progress = null
    return { setup: 'done', beat: status.beat }
  }
  if (over) {
    run.found.setupError = status.error
    return { setup: files.isRefused(status) ? 'refused' : 'failed' }
  }
  return { setup: 'running', beat: status.beat }
}

async function filesFacets(
  { sprites, files, anthropicApiKey }: InstanceDeps,
  run: Run,
): Promise<Pick<Observed, 'files'>> {
  const { instance } = run
  const wanted = configFiles({ files, anthropicApiKey }, run)
  for (const { path, content } of wanted)
    if (!(await holds(sprites, instance.spriteName, path, content, run.signal))) return { files: 'unwritten' }
  return { files: 'written' }
}

/** The two files of a life. Before the checkpoint they hold nothing that is worth knowing. */
export function configFiles(
  { files, anthropicApiKey }: Pick<InstanceDeps, 'files' | 'anthropicApiKey'>,
  run: Run,
): { path: string; content: string }[] {
  const { gatewayKey, gatewayToken, template, instance } = run
  if (gatewayKey === null || gatewayToken === null) throw new Error('this life has no keys')
  const { xmtpEnv } = template
  return [
    {
      path: files.paths.openclawJson,
      content: files.openclawJson({ xmtpEnv, gatewayKey, gatewayToken }),
    },
    {
      path: files.paths.dotEnv,
      content: files.dotEnv({ anthropicApiKey: instance.phase === 'arming' ? anthropicApiKey : null }),
    },
  ]
}

async function startingFacets(deps: InstanceDeps, run: Run, context: Context): Promise<Facets> {
  const { service } = await serviceFacets(deps, run)
  if (service !== 'present') return { service }
  return { service, gateway: await gatewayFacet(deps, run, startProbeMs(deps, context)) }
}

/** Where nobody listens yet a request hangs: short looks first, longer ones for a gateway that takes its time. */
function startProbeMs({ clock }: InstanceDeps, context: Context): number {
  const elapsed = context.deadline === null ? PROBE_MS : clock.now() - (context.deadline - START_LIMIT_MS)
  return Math.min(PROBE_MS, Math.max(1_000, elapsed / 2))
}

async function serviceFacets({ sprites }: InstanceDeps, run: Run): Promise<Pick<Observed, 'service'>> {
  const services = await sprites.listServices(run.instance.spriteName, run.signal)
  return { service: services.some(({ name }) => name === SERVICE) ? 'present' : 'absent' }
}

async function gatewayFacet(deps: InstanceDeps, run: Run, timeoutMs: number): Promise<Observed['gateway']> {
  const { spriteUrl } = run.instance
  if (spriteUrl === null) return 'unknown'
  const state = await deps.gateway.status(spriteUrl, run.gatewayKey, { timeoutMs }, run.signal)
  if (state.kind === 'unauthorized') return 'unauthorized'
  if (state.kind === 'down') return 'down'
  return state.conversationId === null ? 'ready' : 'bound'
}

async function armingFacets(deps: InstanceDeps, run: Run, context: Context): Promise<Facets> {
  const { spriteUrl } = run.instance
  const { files } = await filesFacets(deps, run)
  if (files !== 'written' || spriteUrl === null) return { files }
  const { service } = await serviceFacets(deps, run)
  if (service !== 'present') return { files, service }
  const timeoutMs = startProbeMs(deps, context)
  const gateway = await gatewayFacet(deps, run, timeoutMs)
  if (gateway !== 'ready') return { files, service, gateway }
  const stranger = await deps.gateway.status(spriteUrl, null, { timeoutMs }, run.signal)
  if (stranger.kind !== 'unauthorized')
    return { files, service, gateway: stranger.kind === 'up' ? 'open' : 'down' }
  return { files, service, gateway, disk: await userTraces(deps, run) }
}

/** Two listings of parents that must be there: what they lack is absent, what they do not answer is unknown. */
async function userTraces(
  { sprites, files }: InstanceDeps,
  run: Run,
): Promise<'clean' | 'dirty' | 'unknown'> {
  const { spriteName } = run.instance
  const home = await sprites.listFiles(spriteName, files.paths.home, run.signal)
  const workspace = await sprites.listFiles(spriteName, files.paths.workspace, run.signal)
  if (home === null || workspace === null) return 'unknown'
  const left = has(home, files.paths.convos) || has(workspace, files.paths.instructions)
  return left ? 'dirty' : 'clean'
}

const has = (entries: readonly FileEntry[], path: string) =>
  entries.some(({ name }) => name === path.slice(path.lastIndexOf('/') + 1))

/**
 * Is this disk ours, as sealed, and nobody else's? The stamp must be read back word for word from a listing that shows
 * it; after a restore the control plane's word is asked as well, which nothing inside the Sprite can forge.
 */
async function proofFacets(deps: InstanceDeps, run: Run, context: Context): Promise<Facets> {
  const { sprites, files } = deps
  const { instance, signal } = run
  const dir = await sprites.listFiles(instance.spriteName, files.paths.dir, signal)
  if (dir === null) return { disk: 'unknown' }
  if (has(dir, files.paths.canary)) return { disk: context.restored ? 'pending' : 'dirty' }
  if (!has(dir, files.paths.stamp)) return { disk: 'dirty' }
  const stamp = await sprites.readFile(instance.spriteName, files.paths.stamp, signal)
  if (stamp === null) return { disk: 'unknown' }
  if (!Buffer.from(instance.stamp).equals(stamp)) return { disk: 'dirty' }
  const traces = await userTraces(deps, run)
  if (traces !== 'clean' || !context.restored) return { disk: traces }

  const sprite = await sprites.get(instance.spriteName, signal)
  if (sprite === null) return { sprite: 'missing' }
  if (sprite.id !== instance.spriteId) return { sprite: 'foreign' }
  const checkpoint = (await sprites.listCheckpoints(instance.spriteName, signal)).find(
    ({ id }) => id === instance.checkpointId,
  )
  const services = await sprites.listServices(instance.spriteName, signal)
  const sealed = services.length === 0 && checkpoint?.createdAt === instance.checkpointAt
  return { disk: sealed ? 'clean' : 'dirty' }
}

async function sealFacets({ sprites, files }: InstanceDeps, run: Run): Promise<Facets> {
  const { spriteName } = run.instance
  const services = await sprites.listServices(spriteName, run.signal)
  const config = await sprites.listFiles(spriteName, files.paths.openclawDir, run.signal)
  if (config === null) return { sealed: 'unknown' }
  const secrets = has(config, files.paths.openclawJson) || has(config, files.paths.dotEnv)
  return { sealed: services.length === 0 && !secrets ? 'sealed' : 'open' }
}

async function checkpointFacets({ sprites }: InstanceDeps, run: Run): Promise<Facets> {
  const all = await sprites.listCheckpoints(run.instance.spriteName, run.signal)
  const mine = all.find(({ comment }) => comment === checkpointComment(run))
  if (!mine) return { checkpoint: 'none' }
  run.found.checkpoint = { id: mine.id, createdAt: mine.createdAt }
  return { checkpoint: 'made' }
}

async function markFacets(deps: InstanceDeps, run: Run): Promise<Facets> {
  const { sprites, files, gateway } = deps
  const { instance } = run
  if (instance.canary === null) throw new Error('no word to mark the disk with')
  // File calls may hang on a cold machine; a request to its URL wakes it, whatever it answers.
  if (instance.spriteUrl !== null)
    await gateway.status(instance.spriteUrl, run.gatewayKey, { timeoutMs: WAKE_MS }, run.signal)
  const marked = await holds(sprites, instance.spriteName, files.paths.canary, instance.canary, run.signal)
  return { mark: marked ? 'marked' : 'unmarked' }
}

/** Only our key could have bound it: what its status shows is what came of a join whose answer was lost. */
async function boundFacets(deps: InstanceDeps, run: Run): Promise<Facets> {
  const { spriteUrl } = run.instance
  if (spriteUrl === null) return {}
  const state = await deps.gateway.status(spriteUrl, run.gatewayKey, { timeoutMs: WAKE_MS }, run.signal)
  if (state.kind !== 'up' || state.conversationId === null) return {}
  run.delivered ??= { conversationId: state.conversationId, inviteUrl: null, inviteSlug: null }
  return { gateway: 'bound' }
}

/** Idle and claimed ones are looked at by the heartbeat; here only where its verdict, the list or a spell of absence asks for it. */
async function settledFacets(deps: InstanceDeps, run: Run, context: Context): Promise<Facets> {
  const { instance, probe, facts } = run
  const missed = deps.listing.misses(instance.spriteName, instance.spriteId, instance.updatedAt.getTime())
  if (context.missingAt !== null || missed) {
    const seen = await spriteFacets(deps, run)
    if (seen.sprite !== 'present' || context.missingAt !== null) return seen
  }
  const suspect = probe.strikes >= facts.spec.heal.strikes || probe.verdict === 'bound'
  if (suspect && !facts.spec.paused.heal) return healthFacets(deps, run)
  return instance.phase === 'claimed' ? { joinLoop: await joinLoop(deps, run) } : {}
}

/** Looks again itself: a verdict that waited in a queue may be of another time. */
async function healthFacets(deps: InstanceDeps, run: Run): Promise<Facets> {
  const { instance, claim } = run
  if (instance.spriteUrl === null) return {}
  const state = await deps.gateway.status(
    instance.spriteUrl,
    run.gatewayKey,
    { timeoutMs: WAKE_MS },
    run.signal,
  )
  if (state.kind === 'up') {
    const bound = state.conversationId !== null
    const gateway = bound ? 'bound' : 'ready'
    if (claim === null) return { gateway, health: bound ? 'unhealthy' : 'healthy' }
    const right = state.conversationId === claim.conversationId && state.streaming !== false
    return { gateway, health: right ? 'healthy' : 'unhealthy' }
  }
  const seen = await spriteFacets(deps, run)
  return { ...seen, health: 'unhealthy' }
}

async function recoveringFacets(deps: InstanceDeps, run: Run, context: Context): Promise<Facets> {
  if (context.missingAt !== null) return spriteFacets(deps, run)
  return run.facts.spec.paused.heal ? {} : healthFacets(deps, run)
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'))
  } catch {
    return undefined
  }
}

/** For a person to read: printable, short. */
function lastLines(bytes: Uint8Array, count: number): string[] {
  const tail = Buffer.from(bytes.subarray(Math.max(0, bytes.length - 4_000))).toString('utf8')
  return tail
    .split('\n')
    .map((line) =>
      line
        .replace(/\p{Cc}/gu, ' ')
        .trim()
        .slice(0, 200)
        .toWellFormed(),
    )
    .filter((line) => line.length > 0)
    .slice(-count)
}
