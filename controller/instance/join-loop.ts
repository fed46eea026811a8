/**
 * The loop that lets people into a fresh conversation runs inside its Sprite and writes what it did. It is started once and
 * again when it was cut: what it wrote neither says that it ended nor has moved for a while.
 */
import type { Observed } from '../../machines/observed.ts'
import type { Clock } from '../../specs/clock.ts'
import { parseObject } from '../sprites/body.ts'
import type { InstanceDeps, Run } from './run.ts'

/** ms. One try of the command inside, at most. */
const TRY_MS = 10_000
/** Rounds without a word. A busy machine may be late; a second start beside a living loop does nothing. */
const SILENT_ROUNDS = 3
const SILENT_AT_LEAST_MS = 60_000

/** How long a beat has been the same. Forgotten by a restart: a dead loop is then found a while later. */
export interface BeatWatch {
  /** ms since this beat was first seen, 0 for a new one. */
  unmovedMs(instance: string, beat: number): number
  forget(instance: string): void
}

export function createBeatWatch(clock: Clock): BeatWatch {
  const seen = new Map<string, { beat: number; since: number }>()
  return {
    unmovedMs(instance, beat) {
      const last = seen.get(instance)
      if (last?.beat === beat) return clock.monotonic() - last.since
      seen.set(instance, { beat, since: clock.monotonic() })
      return 0
    },
    forget: (instance) => seen.delete(instance),
  }
}

/** ms that the loop still has; null: this claim needs none. */
export function joinLoopLeftMs({ clock }: Pick<InstanceDeps, 'clock'>, { claim, facts }: Run): number | null {
  const { enabled, forSeconds } = facts.spec.claim.joinRequests
  if (!enabled || !claim?.conversationId || claim.joinUrl !== null || !claim.readyAt) return null
  return Math.max(0, claim.readyAt.getTime() + forSeconds * 1000 - clock.now())
}

export async function joinLoop(deps: InstanceDeps, run: Run): Promise<Observed['joinLoop']> {
  const { instance, claim, facts, signal } = run
  const left = joinLoopLeftMs(deps, run)
  if (left === null || left === 0) {
    deps.joinBeats.forget(instance.id)
    return left === null ? 'unneeded' : 'over'
  }
  const bytes = await deps.sprites.readFile(instance.spriteName, deps.files.paths.joinsStatus, signal)
  if (bytes === null) return 'wanted'
  const parsed = deps.files.joinsStatusSchema.safeParse(parseObject(Buffer.from(bytes).toString('utf8')))
  if (!parsed.success) return 'unknown'
  const { conversation, beat, done } = parsed.data
  if (conversation !== claim?.conversationId) return 'wanted'
  if (done) {
    deps.joinBeats.forget(instance.id)
    return 'over'
  }
  const round = facts.spec.claim.joinRequests.intervalSeconds * 1000 + TRY_MS
  const silent = deps.joinBeats.unmovedMs(instance.id, beat)
  return silent >= Math.max(SILENT_AT_LEAST_MS, SILENT_ROUNDS * round) ? 'wanted' : 'running'
}
