/**
 * Observe → step → write or act, until only time or news can matter. Everything that changes something at this Sprite goes
 * through here, under its key, one run at a time.
 */

import { nextLookMs } from '../../machines/backoff.ts'
import { type Context, FRESH, type Intent } from '../../machines/life.ts'
import { ABSENT_AFTER_MS, PROOF_GAP_MS, SETUP_LIMIT_MS, START_LIMIT_MS } from '../../machines/limits.ts'
import { NOTHING_SEEN, type Observed } from '../../machines/observed.ts'
import { decode, type Step, step, VERSION } from '../../machines/step.ts'
import { loadInstances, removeInstance } from '../../specs/db/instances.ts'
import type { Instance } from '../../specs/instance.ts'
import { cut } from '../../specs/text.ts'
import { LEASE_PAUSE_MS, LeaseEnding } from '../lease.ts'
import type { Reconcile, Result } from '../reconcile.ts'
import type { Lane } from '../workqueue.ts'
import { act } from './act.ts'
import { carryOutAgentAction } from './agent-action.ts'
import { joinLoopLeftMs } from './join-loop.ts'
import { observe, rowsAlone } from './observe.ts'
import { type InstanceDeps, type Run, startRun } from './run.ts'
import { ACTOR, beginFor, writeFound, writeStep } from './write.ts'

/** More steps than any life takes in one run: past it something turns in a circle, and the queue's backoff is the brake. */
const MAX_STEPS = 40
/** ms. Is the loop that lets people in still at it? */
const JOIN_LOOK_MS = 30_000
/** ms. Somebody else wrote the row, or leads by now: look again, but not in a circle. */
const CONFLICT_MS = 50
/** ms. A claim that can no longer begin is ended by its own reconciler. */
const CLAIM_PAUSE_MS = 1_000

/** The step that a bound idle one takes; the same for all of them, so it can be written without reading first. */
const BEGIN = step(
  { version: VERSION, value: 'idle', context: { ...FRESH, seen: true } },
  { ...NOTHING_SEEN, now: 0, claim: 'live' },
)

export function instanceReconciler(deps: InstanceDeps): Reconcile {
  /** Since when a Sprite gives no answer. Forgotten by a restart: it is then given its time once more. */
  const failingSince = new Map<string, number>()
  return async function reconcile(id, lane, signal): Promise<Result> {
    if (!deps.lead.mayCall()) return { requeueAfterMs: LEASE_PAUSE_MS }
    const facts = await deps.pool()
    let run: Run | null = null
    if (lane === 'deliveries') {
      const begun = await beginFor(deps, id, BEGIN)
      if (begun)
        run = {
          ...startRun(
            { ...begun, claimExpired: false, gatewayToken: null, probe: NEVER_PROBED },
            facts,
            signal,
          ),
          attemptId: begun.attemptId,
        }
    }
    if (!run) {
      const [loaded] = await loadInstances(deps.sql, [id])
      if (!loaded) {
        failingSince.delete(id)
        return {} // gone since it was queued
      }
      run = startRun(loaded, facts, signal)
    }
    if (lane === 'urgent' && hasSlotsOfItsOwn(run.instance))
      return { requeueAfterMs: 0, lane: laneOf(run.instance.phase, false) }
    // What its claim asked of the agent comes first; what it did to the rows is read afresh.
    if (await carryOutAgentAction(deps, run)) return { requeueAfterMs: 0, lane }
    return follow(deps, run, failingSince)
  }
}

const NEVER_PROBED = { okAt: null, failedAt: null, strikes: 0, latencyMs: null, verdict: null }

async function follow(deps: InstanceDeps, first: Run, failingSince: Map<string, number>): Promise<Result> {
  let run = first
  const asked = new Set<Intent>()
  let steps = 0
  for (; steps < MAX_STEPS; steps++) {
    try {
      const { observed, blind } = await look(deps, run, failingSince)
      const next = step(decode(run.instance.machine), observed)
      if (blind !== null && !next.moved) throw blind
      if (next.snapshot.value === 'gone') return remove(deps, run)
      if (next.moved) {
        const before = run
        const written = await writeStep(deps, run, next)
        if (!written) return afterConflict(deps, run, next)
        run = written
        // A new state asks anew, and so does a new attempt: only this run may send it.
        if (before.instance.phase !== run.instance.phase || before.attemptId !== run.attemptId) asked.clear()
        if (changesLane(before.instance.phase, run.instance.phase)) break
        continue
      }
      if (next.intent && !asked.has(next.intent)) {
        asked.add(next.intent)
        await act(next.intent, deps, run)
        continue
      }
      const written = await writeFound(deps, run, null)
      if (!written) return { requeueAfterMs: CONFLICT_MS }
      return { ...nextLook(deps, written), lane: laneOf(written.instance.phase, false) }
    } catch (error) {
      if (error instanceof LeaseEnding) return { requeueAfterMs: LEASE_PAUSE_MS }
      // Status is written after a failure too; then the error goes up, and backoff belongs to the queue.
      const message = error instanceof Error ? error.message : String(error)
      await writeFound(deps, run, cut(message, 500)).catch(() => {})
      throw error
    }
  }
  if (steps >= MAX_STEPS)
    throw new Error(`${MAX_STEPS} steps in one run: ${run.instance.phase} turns in a circle`)
  return { requeueAfterMs: 0, lane: laneOf(run.instance.phase, false) }
}

function afterConflict(deps: InstanceDeps, run: Run, next: Step): Result {
  if (!next.effects.some(({ type }) => type === 'beginDelivery'))
    return { requeueAfterMs: CONFLICT_MS, lane: laneOf(run.instance.phase, false) }
  deps.claimsDue() // cancelled, or past its deadline: nothing is left to begin
  return { requeueAfterMs: CLAIM_PAUSE_MS, lane: laneOf(run.instance.phase, true) }
}

/**
 * What could be seen. A Sprite that gives no answer past its state's deadline is given up on what the rows alone say, but
 * only while the provider answers others: in an incident of its own nothing is decided.
 */
async function look(
  deps: InstanceDeps,
  run: Run,
  failingSince: Map<string, number>,
): Promise<{ observed: Observed; blind: unknown }> {
  try {
    const observed = await observe(deps, run)
    failingSince.delete(run.instance.id)
    return { observed, blind: null }
  } catch (error) {
    const now = deps.clock.now()
    const since = failingSince.get(run.instance.id) ?? now
    failingSince.set(run.instance.id, since)
    const { deadline } = run.instance.machine.context
    const overdue = typeof deadline === 'number' && now >= Math.max(deadline, deps.listing.excusedUntil())
    if (overdue) deps.listing.request()
    // A list that came before this trouble began says nothing about it.
    if (!overdue || !deps.listing.answeredSince(since)) throw error
    return { observed: rowsAlone(deps, run), blind: error }
  }
}

async function remove(deps: InstanceDeps, run: Run): Promise<Result> {
  const asked = run.instance.phase === 'deleting'
  const vanished = !asked && run.instance.firstReadyAt === null // a build that vanished is a build that failed
  const removed = await removeInstance(
    deps.sql,
    deps.lead.fence,
    run.instance,
    {
      claim: { reason: 'SpriteLost', message: 'Its Sprite is gone: claim another one.' },
      build: vanished ? { error: 'SpriteLost', permanent: false, ...run.facts.spec.failure } : null,
      news: [
        asked
          ? {
              type: 'Normal',
              reason: 'Gone',
              message: `Sprite ${run.instance.spriteName} is gone, and so is its row.`,
            }
          : {
              type: 'Warning',
              reason: 'SpriteLost',
              message: `Sprite ${run.instance.spriteName} went away behind our back.`,
            },
      ],
    },
    ACTOR,
  )
  if (!removed) return { requeueAfterMs: CONFLICT_MS }
  if (!asked) deps.listing.lost(deps.clock.now())
  deps.moved()
  return {}
}

/** Which slots a look at this phase takes. */
export function laneOf(phase: string, bound: boolean): Lane {
  switch (phase) {
    case 'idle':
      return bound ? 'deliveries' : 'healing'
    case 'delivering':
    case 'awaiting':
      return 'deliveries'
    case 'claimed':
      return 'joins'
    case 'recovering':
    case 'quarantined':
      return 'healing'
    case 'marking':
    case 'restoring':
      return 'recycles'
    case 'deleting':
      return 'deletes'
    default:
      return 'builds'
  }
}

/**
 * Where the next step may need long calls, whatever woke it waits for that kind's slots: an end that only has to be taken
 * note of never waits behind them. What is unwanted moves on by its row alone.
 */
function hasSlotsOfItsOwn({ phase, wanted }: Pick<Instance, 'phase' | 'wanted'>): boolean {
  if (wanted === 'absent' && phase !== 'deleting') return false
  return ['deletes', 'recycles', 'builds'].includes(laneOf(phase, false))
}

/** A run goes on through what belongs together; where another kind of work begins, it queues for that kind's slots. */
function changesLane(from: string, to: string): boolean {
  if (to === 'proving' && from === 'restoring') return false
  return laneOf(from, true) !== laneOf(to, true)
}

function nextLook(deps: InstanceDeps, run: Run): Result {
  const now = deps.clock.now()
  const context = run.instance.machine.context as unknown as Context
  const soonest = (...delays: (number | null)[]) => {
    const known = delays.filter((delay) => delay !== null)
    return known.length > 0 ? { requeueAfterMs: Math.max(50, Math.min(...known)) } : {}
  }
  const until = (at: number | null) => (at === null || at <= now ? null : at - now) // past: news alone, or another instant
  const elapsed = (limitMs: number) => (context.deadline === null ? 0 : now - (context.deadline - limitMs))
  if (run.limitedMs !== null) return soonest(run.limitedMs * (1 + deps.random.fraction() / 4))
  if (context.missingAt !== null)
    return soonest(
      context.deletedAt !== null
        ? 1_000
        : Math.min(ABSENT_AFTER_MS, Math.max(2_000, context.missingAt + ABSENT_AFTER_MS - now)),
    )
  switch (run.instance.phase) {
    case 'installing':
      return soonest(nextLookMs(elapsed(SETUP_LIMIT_MS)), until(context.deadline))
    case 'starting':
    case 'arming':
      return soonest(nextLookMs(elapsed(START_LIMIT_MS)), until(context.deadline))
    case 'proving':
      return soonest(until((context.cleanAt ?? context.dirtyAt ?? now) + PROOF_GAP_MS), 2_000)
    case 'deleting':
      return soonest(run.deleteAcknowledged || context.deletedAt !== null ? 500 : 5_000)
    case 'awaiting':
      return soonest(until(context.nextJoinAt), until(context.deadline), 5_000)
    case 'delivering':
      return soonest(until(run.instance.attempt?.until ?? null), 2_000)
    case 'claimed':
      return joinLoopLeftMs(deps, run) ? { requeueAfterMs: JOIN_LOOK_MS } : {}
    case 'recovering':
      return soonest(5_000)
    case 'idle':
    case 'quarantined':
      return {}
    default:
      return soonest(1_000, until(context.deadline))
  }
}
