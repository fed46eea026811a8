/**
 * One intent, one call (or a few that belong together), each safe to find half done. What was begun is looked at again by
 * the next observation; nothing here decides.
 */
import type { Intent } from '../../machines/life.ts'
import { CONVERSE_LIMIT_MS, JOIN_LIMIT_MS } from '../../machines/limits.ts'
import { INVITE_DOMAINS } from '../../specs/claim.ts'
import { blockCreates, takeCreateToken } from '../../specs/db/limits.ts'
import { cut } from '../../specs/text.ts'
import { GatewayBound, GatewayRejected, GatewayUnauthorized, GatewayUnknown } from '../gateway/errors.ts'
import { LeaseEnding } from '../lease.ts'
import {
  NothingToCheckpoint,
  SpriteExists,
  SpriteMissing,
  SpritesError,
  SpritesRateLimited,
} from '../sprites/errors.ts'
import { placeFile } from './files.ts'
import { joinLoopLeftMs } from './join-loop.ts'
import { configFiles, WAKE_MS } from './observe.ts'
import { checkpointComment, type InstanceDeps, ownerLabel, type Run, setupAttempt } from './run.ts'
import { GATEWAY_PORT, SERVICE } from './sprite-files.ts'

/** ms. Where the provider says 429 and not until when. */
const RATE_LIMIT_PAUSE_MS = 15_000
const EXEC_TIMEOUT_MS = 60_000

export async function act(intent: Intent, deps: InstanceDeps, run: Run): Promise<void> {
  if (!deps.lead.mayCall()) throw new LeaseEnding(`not begun: ${intent}`)
  switch (intent) {
    case 'createSprite':
      return createSprite(deps, run)
    case 'startSetup':
      return startSetup(deps, run)
    case 'writeConfig':
      for (const { path, content } of configFiles(deps, run)) await place(deps, run, path, content, '0600')
      return
    case 'putService':
      return putService(deps, run)
    case 'seal':
      return seal(deps, run)
    case 'createCheckpoint':
      return createCheckpoint(deps, run)
    case 'deliver':
      return deliver(deps, run)
    case 'startJoinLoop':
      return startJoinLoop(deps, run)
    case 'mark':
      if (run.instance.canary === null) throw new Error('no word to mark the disk with')
      return place(deps, run, deps.files.paths.canary, run.instance.canary, '0644')
    case 'restore':
      return restore(deps, run)
    case 'restartGateway':
      return restartGateway(deps, run)
    case 'deleteSprite':
      // "Absent" is no acknowledgement: in an incident providers say so of everything.
      run.deleteAcknowledged = (await deps.sprites.remove(run.instance.spriteName, run.signal)) === 'deleted'
      return
    default: {
      const never: never = intent
      throw new Error(`no such intent: ${never}`)
    }
  }
}

const place = (deps: InstanceDeps, run: Run, path: string, content: string, mode: string) =>
  placeFile(deps.sprites, deps.random, run.instance.spriteName, path, content, mode, run.signal)

async function createSprite({ sql, sprites, account, lead, limited }: InstanceDeps, run: Run): Promise<void> {
  const { instance, facts, signal } = run
  if (run.foundPrivate) {
    run.sprite = await sprites.makePublic(instance.spriteName, signal)
    return
  }
  const wait = await takeCreateToken(sql, account, facts.spec.limits.createsPerMinute)
  if (wait > 0) {
    run.limitedMs = wait * 1000
    limited(run.limitedMs)
    return
  }
  if (!lead.mayCall()) throw new LeaseEnding('not begun: createSprite')
  try {
    const created = await sprites.create(
      { name: instance.spriteName, labels: [ownerLabel(facts.uid)] },
      signal,
    )
    run.sprite =
      created.urlAuth === 'public' ? created : await sprites.makePublic(instance.spriteName, signal)
  } catch (error) {
    if (error instanceof SpriteExists) return // an answer was lost: the next look finds it and compares the label
    if (!(error instanceof SpritesRateLimited)) throw error
    run.limitedMs = error.retryAfterMs ?? RATE_LIMIT_PAUSE_MS
    limited(run.limitedMs)
    await blockCreates(sql, account, run.limitedMs / 1000)
  }
}

async function startSetup(deps: InstanceDeps, run: Run): Promise<void> {
  const { sprites, files } = deps
  const { instance, template, signal } = run
  const tries = Number(instance.machine.context.tries)
  const { paths } = files
  await place(deps, run, paths.stamp, instance.stamp, '0644')
  await place(deps, run, paths.gatewayScript, files.readSpriteFile('gateway.sh'), '0755')
  await place(deps, run, paths.joinsScript, files.readSpriteFile('joins.sh'), '0755')
  await place(deps, run, paths.setupScript, files.readSpriteFile('setup.sh'), '0755')
  const env = files.setupEnv({
    attempt: setupAttempt(run, tries),
    repo: template.openclawRepo,
    ref: template.openclawRef,
    commit: null,
  })
  await place(deps, run, paths.setupEnv, env, '0644')
  const started = await sprites.exec(
    instance.spriteName,
    files.setupArgv,
    { timeoutMs: EXEC_TIMEOUT_MS },
    signal,
  )
  // No exit code: unknown, the next look at the result file tells. Another one: it says itself why.
  if (started.exitCode !== null && started.exitCode !== 0)
    throw new Error(
      `setup did not start: exit ${started.exitCode}: ${started.stderr
        .replace(/\p{Cc}/gu, ' ')
        .trim()
        .slice(0, 200)}`,
    )
}

const putService = ({ sprites, files }: InstanceDeps, run: Run) =>
  sprites.putService(
    run.instance.spriteName,
    { name: SERVICE, cmd: files.paths.gatewayScript, httpPort: GATEWAY_PORT },
    run.signal,
  )

/** A rung of the ladder was tried, whatever came of it: the next look tells, and the next rung comes in its time. */
async function restartGateway(deps: InstanceDeps, run: Run): Promise<void> {
  run.restarted = true
  try {
    await deps.sprites.restartService(run.instance.spriteName, SERVICE, run.signal)
  } catch (error) {
    if (error instanceof SpriteMissing && error.what === 'service') return putService(deps, run)
    if (!(error instanceof SpritesError)) throw error
    run.failure = error.message
  }
}

async function seal({ sprites, files }: InstanceDeps, run: Run): Promise<void> {
  const { spriteName } = run.instance
  await sprites.removeService(spriteName, SERVICE, run.signal)
  await sprites.removeFile(spriteName, files.paths.openclawJson, run.signal)
  await sprites.removeFile(spriteName, files.paths.dotEnv, run.signal)
}

async function createCheckpoint({ sprites }: InstanceDeps, run: Run): Promise<void> {
  const { spriteName } = run.instance
  try {
    const end = await sprites.createCheckpoint(spriteName, checkpointComment(run), run.signal)
    if (end.outcome === 'error') throw new Error(`checkpoint: ${cut(end.message, 200)}`)
  } catch (error) {
    // Right after a create or a wake nothing runs that could be checkpointed: one exec, and the next pass asks again.
    if (!(error instanceof NothingToCheckpoint)) throw error
    await sprites.exec(spriteName, ['true'], { timeoutMs: EXEC_TIMEOUT_MS }, run.signal)
    throw error
  }
}

/**
 * Sent once, by the run that committed its attempt. Whatever comes back is an outcome; an answer that is lost is one too. What
 * is sent once is not given the run's signal: a call that we abort is one of which nothing is known, and it has its own limit.
 */
async function deliver(deps: InstanceDeps, run: Run): Promise<void> {
  const { instance, claim, gatewayKey, template, signal } = run
  const { spriteUrl, takes } = instance
  if (!claim || !spriteUrl || gatewayKey === null || takes === null) {
    run.outcome = 'failed'
    run.failure = 'the instance is not known well enough to deliver to'
    return
  }
  const env = template.xmtpEnv
  const done = deps.lead.underway(instance.attempt?.until ?? deps.clock.now())
  try {
    if (!takes.includes('instructions')) {
      // File calls may hang on a cold machine; a request to its URL wakes it, whatever it answers.
      await deps.gateway.status(spriteUrl, gatewayKey, { timeoutMs: WAKE_MS }, signal)
      await place(deps, run, deps.files.paths.instructions, claim.instructions, '0600')
    }
    const body = { ...claim.extra, profileName: claim.agentName, env, instructions: claim.instructions }
    const limitMs = claim.joinUrl === null ? CONVERSE_LIMIT_MS : JOIN_LIMIT_MS
    const inTime = deps.clock.now() + limitMs <= (instance.attempt?.until ?? 0)
    // Whoever leads next lets this attempt be until its time, and no longer: its answer must be there by then.
    if (!inTime || !deps.lead.mayCall()) throw new GatewayNotAsked()
    if (claim.joinUrl !== null) {
      const inviteUrl = asLink(claim.joinUrl, env)
      const answer = await deps.gateway.join(
        spriteUrl,
        gatewayKey,
        { ...body, inviteUrl },
        { timeoutMs: JOIN_LIMIT_MS },
      )
      run.outcome = answer.status === 'joined' ? 'delivered' : 'waiting'
      if (answer.status === 'joined')
        run.delivered = { conversationId: answer.conversationId, inviteUrl: null, inviteSlug: null }
    } else {
      run.delivered = await deps.gateway.converse(
        spriteUrl,
        gatewayKey,
        { ...body, name: claim.agentName },
        { timeoutMs: CONVERSE_LIMIT_MS },
      )
      run.outcome = 'delivered'
    }
  } catch (error) {
    run.failure = error instanceof Error ? error.message : String(error)
    run.outcome = outcomeOf(error)
  } finally {
    done()
  }
}

class GatewayNotAsked extends Error {
  override readonly name = 'GatewayNotAsked'
  constructor() {
    super('too late to send the request: the lease or the attempt would have ended before its answer')
  }
}

/** Whom does the error blame: the request, the instance, or nobody knows what happened? */
function outcomeOf(error: unknown): Run['outcome'] {
  if (error instanceof GatewayRejected) return 'refused'
  if (error instanceof GatewayUnknown) return 'lost'
  if (
    error instanceof GatewayBound ||
    error instanceof GatewayUnauthorized ||
    error instanceof GatewayNotAsked ||
    error instanceof SpritesError
  )
    return 'failed'
  return 'lost'
}

/** A bare slug becomes the link of the environment that it belongs to. */
function asLink(joinUrl: string, env: 'dev' | 'production'): string {
  return joinUrl.includes(':')
    ? joinUrl
    : `https://${INVITE_DOMAINS[env]}/v2?i=${encodeURIComponent(joinUrl)}`
}

/** For as long as is left: one that was cut in the middle does not begin anew. */
async function startJoinLoop(deps: InstanceDeps, run: Run): Promise<void> {
  const { instance, claim, facts, template, signal } = run
  const leftMs = joinLoopLeftMs(deps, run)
  if (!claim?.conversationId || leftMs === null) return
  const argv = deps.files.joinsArgv({
    conversationId: claim.conversationId,
    xmtpEnv: template.xmtpEnv,
    forSeconds: Math.ceil(leftMs / 1000),
    intervalSeconds: facts.spec.claim.joinRequests.intervalSeconds,
  })
  await deps.sprites.exec(instance.spriteName, argv, { timeoutMs: EXEC_TIMEOUT_MS }, signal)
  deps.joinBeats.forget(instance.id)
}

/** Its own checkpoint, once for each canary, and not aborted. An answer that is cut is not a "complete". */
async function restore({ sprites, lead, clock }: InstanceDeps, run: Run): Promise<void> {
  const { instance } = run
  if (instance.checkpointId === null) {
    run.outcome = 'error'
    run.failure = 'no checkpoint of its own'
    return
  }
  const done = lead.underway(instance.attempt?.until ?? clock.now())
  try {
    const end = await sprites.restoreCheckpoint(instance.spriteName, instance.checkpointId)
    run.outcome = end.outcome
    if (end.outcome !== 'complete') run.failure = cut(end.message, 300)
  } catch (error) {
    run.outcome = 'lost'
    run.failure = error instanceof Error ? error.message : String(error)
  } finally {
    done()
  }
}
