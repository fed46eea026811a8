/**
 * Observe → step → write or act, until only time or news can matter. Everything that changes something at this Sprite goes
 * through here, under its key, one run at a time.
 */

import { nextLookMs } from '../../machines/backoff.ts'
import { type Context, FRESH, type Intent } from '../../machines/instance.machine.ts'
import { ABSENT_AFTER_MS, PROOF_GAP_MS, SETUP_LIMIT_MS, START_LIMIT_MS } from '../../machines/limits.ts'
import { NOTHING_SEEN, type Observed } from '../../machines/observed.ts'
import { decode, step, VERSION } from '../../machines/step.ts'
import { loadInstances, removeInstance } from '../../specs/db/instances.ts'
import type { Instance } from '../../specs/instance.ts'
import type { Reconcile, Result } from '../reconcile.ts'
import type { Lane } from '../workqueue.ts'
import { act, LeaseEnding } from './act.ts'
import { observe, rowsAlone } from './observe.ts'
import { type InstanceDeps, type Run, startRun } from './run.ts'
import { ACTOR, beginFor, writeFound, writeStep } from './write.ts'

/** More steps than any life takes in one run: past it something turns in a circle, and the queue's backoff is the brake. */
const MAX_STEPS = 40
/** ms. Somebody else wrote the row, or leads by now: look again, but not in a circle. */
const CONFLICT_MS = 50

/** The step that a bound idle one takes; the same for all of them, so it can be written without reading first. */
const BEGIN = step(
  { version: VERSION, value: 'idle', context: { ...FRESH, seen: true } },
  { ...NOTHING_SEEN, now: 0, claim: 'live' },
)

export function instanceReconciler(deps: InstanceDeps): Reconcile {
  return async function reconcile(id, lane, signal): Promise<Result> {
    if (!deps.lead.mayCall()) return {}
    const facts = await deps.pool()
    let run: Run | null = null
    if (lane === 'deliveries') {
      const begun = await beginFor(deps, id, BEGIN)
      if (begun)
        run = {
          ...startRun({ ...begun, gatewayToken: null, probe: NEVER_PROBED }, facts, signal),
          attemptId: begun.attemptId,
        }
    }
    if (!run) {
      const [loaded] = await loadInstances(deps.sql, [id])
      if (!loaded) return {} // gone since it was queued
      run = startRun(loaded, facts, signal)
    }
    if (lane === 'urgent' && hasSlotsOfItsOwn(run.instance))
      return { requeueAfterMs: 0, lane: laneOf(run.instance.phase, false) }
    return follow(deps, run)
  }
}

const NEVER_PROBED = { okAt: null, failedAt: null, strikes: 0, latencyMs: null, verdict: null }

async function follow(deps: InstanceDeps, first: Run): Promise<Result> {
  let run = first
  const asked = new Set<Intent>()
  for (let steps = 0; steps < MAX_STEPS; steps++) {
    try {
      const { observed, blind } = await look(deps, run)
      const next = step(decode(run.instance.machine), observed)
      if (blind !== null && !next.moved) throw blind
      if (next.snapshot.value === 'gone') return remove(deps, run)
      if (next.moved) {
        const before = run.instance.phase
        const written = await writeStep(deps, run, next)
        if (!written) return { requeueAfterMs: CONFLICT_MS, lane: laneOf(run.instance.phase, false) }
        run = written
        if (before !== run.instance.phase) asked.clear()
        if (changesLane(before, run.instance.phase)) break
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
      if (error instanceof LeaseEnding) return {}
      // Status is written after a failure too; then the error goes up, and backoff belongs to the queue.
      const message = error instanceof Error ? error.message : String(error)
      await writeFound(deps, run, message.slice(0, 500)).catch(() => {})
      throw error
    }
  }
  return { requeueAfterMs: 0, lane: laneOf(run.instance.phase, false) }
}

/**
 * What could be seen. A Sprite that gives no answer past its state's deadline is given up on what the rows alone say, but
 * only while the provider answers others: in an incident of its own nothing is decided.
 */
async function look(deps: InstanceDeps, run: Run): Promise<{ observed: Observed; blind: unknown }> {
  try {
    return { observed: await observe(deps, run), blind: null }
  } catch (error) {
    const { deadline } = run.instance.machine.context
    const overdue = typeof deadline === 'number' && deps.clock.now() >= deadline
    if (overdue) deps.listing.request()
    if (!overdue || !deps.listing.answering()) throw error
    return { observed: rowsAlone(deps, run), blind: error }
  }
}

async function remove(deps: InstanceDeps, run: Run): Promise<Result> {
  const asked = run.instance.phase === 'deleting'
  const removed = await removeInstance(
    deps.sql,
    deps.lead.fence,
    run.instance,
    { reason: 'SpriteLost', message: 'Its Sprite is gone: claim another one.' },
    [
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
  const until = (at: number | null) => (at === null ? null : at - now)
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
      return joinLoopMayRun(deps, run) ? { requeueAfterMs: 30_000 } : {}
    case 'recovering':
      return soonest(5_000)
    case 'idle':
    case 'quarantined':
      return {}
    default:
      return soonest(1_000, until(context.deadline))
  }
}

function joinLoopMayRun(deps: InstanceDeps, run: Run): boolean {
  const { claim, facts } = run
  const { joinRequests } = facts.spec.claim
  return (
    joinRequests.enabled &&
    claim?.joinUrl === null &&
    claim.readyAt !== null &&
    deps.clock.now() - claim.readyAt.getTime() < joinRequests.forSeconds * 1000
  )
}
