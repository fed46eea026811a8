/** What a step means for the rows: one statement for the instance, its claim, its keys and the news. */

import { backoffMs } from '../../machines/backoff.ts'
import { JOIN_LIMIT_MS, RESTORE_LIMIT_MS } from '../../machines/limits.ts'
import { TEMPLATE_REFUSED } from '../../machines/moves.ts'
import type { Step } from '../../machines/step.ts'
import { sleep } from '../../specs/clock.ts'
import { type ConditionNow, setConditions } from '../../specs/condition.ts'
import { isRetryable, isUnavailable } from '../../specs/db/connect.ts'
import {
  type BuildEnd,
  beginDelivery,
  type InstanceWrite,
  type News,
  writeInstance,
} from '../../specs/db/instances.ts'
import { clearStrikes } from '../../specs/db/probes.ts'
import type { Attempt, Instance } from '../../specs/instance.ts'
import type { Template } from '../../specs/pool.ts'
import { cut } from '../../specs/text.ts'
import { claimState, type InstanceDeps, type Run } from './run.ts'

const SETTLED = ['idle', 'claimed', 'quarantined']
/** ms. A begun call's time-out, its answer's way back, and the statement that records it. */
const ANSWER_MARGIN_MS = 5_000
/** ms. Between the begin of a delivery and its request: waking, and a file where the gateway takes no instructions. */
const PREPARE_MS = 30_000
export const ACTOR = 'controller'

/** The run as it stands after the write; null when somebody else was first: look again. */
export async function writeStep(deps: InstanceDeps, run: Run, step: Step): Promise<Run | null> {
  const effects = new Map(step.effects.map((effect) => [effect.type, effect]))
  const { instance, facts } = run
  const now = deps.clock.now()

  if (effects.has('beginDelivery') && instance.phase === 'idle') return beginRun(deps, run, step)

  const patch: Record<string, unknown> = {
    machine: step.snapshot,
    next_look_at: SETTLED.includes(step.snapshot.value) ? null : new Date(now + 1000).toISOString(),
    ...foundPatch(run),
  }
  let claim: Record<string, unknown> | null = null
  let secret: { gateway_key: string; gateway_token: string } | null = null
  const entered = step.snapshot.value !== instance.phase ? step.snapshot.value : null

  if (effects.has('newKeys'))
    secret = { gateway_key: deps.random.secret(), gateway_token: deps.random.secret() }
  if (effects.has('beginRestore')) patch.attempt = newAttempt(deps, 'restore', RESTORE_LIMIT_MS)
  if (effects.has('beginDelivery')) patch.attempt = newAttempt(deps, 'join', PREPARE_MS + JOIN_LIMIT_MS)
  if (effects.has('endAttempt')) patch.attempt = null
  if (effects.has('recordProof')) Object.assign(patch, { touched: false, proven_at: iso(now) })
  if (effects.has('becomeIdle') && instance.phase === 'arming')
    Object.assign(patch, {
      first_ready_at: iso(instance.firstReadyAt?.getTime() ?? now),
      ready_at: iso(now),
      recycled: instance.recycleRequested,
      reuses: instance.reuses + (instance.firstReadyAt === null ? 0 : 1),
      rank: instance.revision,
      claimed_at: null,
      error: null,
      progress: null,
    })
  if (entered === 'marking')
    Object.assign(patch, { touched: true, proven_at: null, canary: deps.random.word(24), claimed_at: null })
  if (entered === 'deleting') Object.assign(patch, { error: reasonOf(run, step), progress: null })
  const build = buildEnd(run, step)
  if (build?.error) patch.error = build.error

  const claimId = instance.claimId
  if (claimId !== null) {
    if (effects.has('claimReady')) claim = { id: claimId, ...deliveredClaim(run, now) }
    if (effects.has('claimAwaiting')) claim = { id: claimId, phase: 'AwaitingAcceptance' }
    if (effects.has('claimBackToLine')) claim = { id: claimId, ...backToLine(run, now) }
    const failed = effects.get('claimFailed')
    if (failed)
      claim = {
        id: claimId,
        phase: 'Failed',
        reason: failed.reason,
        message: cut(`${failed.message ?? ''}${run.failure ? ` (${run.failure})` : ''}`, 500),
        ended_at: iso(now),
      }
    if (effects.has('claimEnded')) claim = { id: claimId, ...endedClaim(run, now) }
    if (claim && !['Ready', 'AwaitingAcceptance'].includes(String(claim.phase))) patch.claim_id = null
  }
  const conditions = setConditions(instance.conditions, instanceConditions(run, step), now)
  if (conditions !== instance.conditions) patch.conditions = conditions

  const write = {
    patch,
    claim,
    secret,
    build: build && { ...build, ...facts.spec.failure },
    news: newsOf(run, step, entered),
  }
  const isOutcome =
    effects.has('endAttempt') && run.attemptId !== null && instance.attempt?.id === run.attemptId
  const written = isOutcome
    ? await writeOutcome(deps, run, write)
    : await writeInstance(deps.sql, deps.lead.fence, instance, null, write, ACTOR)
  if (!written) return null
  deps.moved()
  if (effects.has('becomeIdle')) await clearStrikes(deps.sql, instance.id)
  const attempt = patch.attempt as Attempt | null | undefined
  return {
    ...run,
    instance: written,
    claim: patch.claim_id === null ? null : run.claim,
    gatewayKey: secret?.gateway_key ?? run.gatewayKey,
    gatewayToken: secret?.gateway_token ?? run.gatewayToken,
    attemptId: attempt ? attempt.id : attempt === null ? null : run.attemptId,
    outcome: attempt === undefined ? run.outcome : 'none',
    failure: attempt === undefined ? run.failure : null,
    probe: effects.has('becomeIdle') ? { ...run.probe, strikes: 0, verdict: null } : run.probe,
    restarted: false,
    found: {},
  }
}

/**
 * What came of a call that is sent once must not be lost to a database that is away for a moment: it is written where its
 * attempt still stands, so it may be tried again until the attempt's time is over.
 */
async function writeOutcome(deps: InstanceDeps, run: Run, write: InstanceWrite): Promise<Instance | null> {
  const { instance, attemptId } = run
  const until = instance.attempt?.until ?? 0
  for (let failures = 1; ; failures++) {
    try {
      return await writeInstance(deps.sql, deps.lead.fence, instance, attemptId, write, ACTOR)
    } catch (error) {
      const pause = backoffMs(failures, deps.random.fraction(), 100, 5_000)
      const again = isRetryable(error) || isUnavailable(error)
      if (!again || deps.clock.now() + pause >= until) throw error
      await sleep(deps.clock, pause)
    }
  }
}

/** Idle and bound → delivering: the claim's row has its say, so this is a function of its own in the database. */
async function beginRun(deps: InstanceDeps, run: Run, step: Step): Promise<Run | null> {
  const begun = await beginFor(deps, run.instance.id, step)
  if (begun) deps.moved()
  return begun ? { ...run, ...begun, template: begun.template ?? run.template } : null
}

export async function beginFor(
  deps: InstanceDeps,
  id: string,
  step: Pick<Step, 'snapshot'>,
): Promise<
  (Pick<Run, 'instance' | 'claim' | 'gatewayKey' | 'attemptId'> & { template: Template | null }) | null
> {
  const attempt = newAttempt(deps, 'converse', PREPARE_MS + JOIN_LIMIT_MS) // the database knows which call it is, and says so in the row
  const begun = await beginDelivery(deps.sql, deps.lead.fence, id, attempt, {
    ...step.snapshot,
    context: { ...step.snapshot.context },
  })
  return begun ? { ...begun, attemptId: attempt.id } : null
}

function newAttempt(deps: InstanceDeps, call: Attempt['call'], limitMs: number): Attempt {
  return { id: deps.random.word(16), call, until: deps.clock.now() + limitMs + ANSWER_MARGIN_MS }
}

/** Progress and errors that come without a move. null: nothing to write. */
export async function writeFound(deps: InstanceDeps, run: Run, error: string | null): Promise<Run | null> {
  const patch: Record<string, unknown> = foundPatch(run)
  if (error !== run.instance.error && run.instance.phase !== 'deleting') patch.error = error
  if (Object.keys(patch).length === 0) return run
  const written = await writeInstance(deps.sql, deps.lead.fence, run.instance, null, { patch }, ACTOR)
  return written && { ...run, instance: written, found: {} }
}

function foundPatch(run: Run): Record<string, unknown> {
  const { found, instance, sprite } = run
  const patch: Record<string, unknown> = {}
  const differs = (key: string, now: unknown, was: unknown) => {
    if (JSON.stringify(now) !== JSON.stringify(was)) patch[key] = now
  }
  if (sprite && instance.phase === 'pending') {
    differs('sprite_id', sprite.id, instance.spriteId)
    differs('sprite_url', sprite.url, instance.spriteUrl)
  }
  if (found.commit !== undefined) differs('commit', found.commit, instance.commit)
  if (found.takes !== undefined) differs('takes', found.takes, instance.takes)
  if (found.progress !== undefined) differs('progress', found.progress, instance.progress)
  if (found.checkpoint) {
    differs('checkpoint_id', found.checkpoint.id, instance.checkpointId)
    differs('checkpoint_at', found.checkpoint.createdAt, instance.checkpointAt)
  }
  return patch
}

const iso = (ms: number) => new Date(ms).toISOString()

function deliveredClaim(run: Run, now: number): Record<string, unknown> {
  const delivered = run.delivered
  return {
    phase: 'Ready',
    conversation_id: delivered?.conversationId ?? null,
    invite_url: delivered?.inviteUrl ?? null,
    invite_slug: delivered?.inviteSlug ?? null,
    joined: run.claim?.joinUrl != null,
    ready_at: iso(now),
  }
}

/** It keeps its number, so it is first in line; a claim that several instances failed ends with the reason. */
function backToLine(run: Run, now: number): Record<string, unknown> {
  const attempts = run.claim?.attempts ?? 0
  if (attempts < run.facts.spec.claim.attempts) return { phase: 'Waiting', instance_id: null }
  return {
    phase: 'Failed',
    reason: 'DeliveryFailed',
    message: cut(`${attempts} instances were tried; the last one: ${run.failure ?? 'no answer'}`, 500),
    ended_at: iso(now),
  }
}

function endedClaim(run: Run, now: number): Record<string, unknown> {
  const state = claimState(run.claim, run.claimExpired)
  const phase = state === 'expired' ? 'Expired' : state === 'cancelled' ? 'Cancelled' : 'Released'
  return { phase, reason: phase === 'Expired' ? 'TtlExpired' : phase, ended_at: iso(now) }
}

const reasonOf = (run: Run, step: Step): string => {
  const why = run.found.setupError ?? run.failure
  return cut(`${step.snapshot.context.reason ?? 'Deleted'}${why ? `: ${why}` : ''}`, 500)
}

/** null: no build ended here. */
function buildEnd(run: Run, step: Step): BuildEnd | null {
  const has = (type: string) => step.effects.some((effect) => effect.type === type)
  if (has('buildFailed'))
    return { error: reasonOf(run, step), permanent: step.snapshot.context.reason === TEMPLATE_REFUSED }
  const isFirst = run.instance.firstReadyAt === null
  return has('becomeIdle') && isFirst ? { error: null, permanent: false } : null
}

function instanceConditions(run: Run, step: Step): ConditionNow[] {
  const { value, context } = step.snapshot
  const claimed = run.instance.claimId !== null || value === 'claimed'
  const ill = value === 'recovering'
  const conditions: ConditionNow[] = []
  if (['idle', 'claimed', 'recovering'].includes(value))
    conditions.push(
      ill
        ? {
            type: 'Healthy',
            status: 'False',
            reason: 'ProbesFail',
            message: `Its gateway does not answer as it should (${run.probe.verdict ?? 'no answer'}); it is being repaired.`,
          }
        : { type: 'Healthy', status: 'True', reason: 'ProbesPass', message: 'Its gateway answers.' },
    )
  if (claimed || ill)
    conditions.push({
      type: 'Degraded',
      status: ill && context.from === 'claimed' ? 'True' : 'False',
      reason: ill ? 'UnderRepair' : 'Works',
      message: ill
        ? 'Claimed and under repair: it is kept, woken and its gateway restarted, never replaced.'
        : 'Nothing is wrong.',
    })
  if (context.missingAt !== null)
    conditions.push({
      type: 'Lost',
      status: 'Unknown',
      reason: 'NotFound',
      message: 'The provider says there is no such Sprite; a second look and the list decide.',
    })
  else if (run.instance.conditions.some(({ type, status }) => type === 'Lost' && status !== 'False'))
    conditions.push({ type: 'Lost', status: 'False', reason: 'Found', message: 'Its Sprite is there.' })
  return conditions
}

function newsOf(run: Run, step: Step, entered: string | null): News[] {
  const reason = step.snapshot.context.reason
  const claimId = run.instance.claimId
  const said = (type: News['type'], name: string, message: string): News => ({
    type,
    reason: name,
    message,
    ...(claimId === null ? {} : { claimId }),
  })
  if (step.effects.some(({ type }) => type === 'claimBackToLine'))
    return [
      said(
        'Warning',
        'DeliveryMovedOn',
        `The claim goes on to another instance: ${run.failure ?? 'the outcome is unknown'}.`,
      ),
    ]
  switch (entered) {
    case 'installing':
      return [said('Normal', 'SpriteCreated', `Sprite ${run.instance.spriteName} exists; the setup begins.`)]
    case 'configuring':
      return [
        said('Normal', 'SetupDone', `OpenClaw is built from ${run.found.commit ?? 'an unknown commit'}.`),
      ]
    case 'arming':
      return [said('Normal', 'Proven', 'The disk was proven clean, twice; new keys are written.')]
    case 'idle':
      return [said('Normal', 'Idle', 'Ready to be claimed.')]
    case 'awaiting':
      return [said('Normal', 'AwaitingAcceptance', 'The inviter must approve the join request.')]
    case 'claimed':
      return run.instance.phase === 'recovering'
        ? [said('Normal', 'Recovered', 'Its gateway answers again.')]
        : [said('Normal', 'Delivered', 'The agent is in its conversation.')]
    case 'marking':
      return [said('Normal', 'Recycling', 'It goes back to its checkpoint before anybody else gets it.')]
    case 'recovering':
      return [
        said(
          'Warning',
          'Unhealthy',
          `Its gateway does not answer as it should: ${run.probe.verdict ?? 'no answer'}.`,
        ),
      ]
    case 'quarantined':
      return [said('Warning', 'Quarantined', 'It could not be proven clean and is kept for a look.')]
    case 'deleting':
      return [
        said(
          reason === 'Unwanted' ? 'Normal' : 'Warning',
          reason ?? 'Deleting',
          `It will be deleted: ${reasonOf(run, step)}.`,
        ),
      ]
    default:
      return []
  }
}
