/**
 * The world as one pass saw it: the only event of the machine. Each facet is a small closed set in which "unknown" is a
 * value of its own: no answer, or not looked at. What was not seen is never taken for absent.
 */
export interface Observed {
  type: 'observed'
  /** ms since the epoch, by the injected clock. */
  now: number

  // ── the spec, as it stands in the row ──
  wanted: boolean
  /** A recycle was asked for and not answered yet. */
  recycle: boolean
  /** May it be restored at all: recycling on, reuses and age left, current revision, a checkpoint of its own? */
  recyclable: boolean
  /** Keep for a look what cannot be proven clean. */
  quarantine: boolean
  /** A restore counts only when its stream said so. */
  requireComplete: boolean
  /** `paused.delete` is off. */
  mayDelete: boolean
  joinAttempts: number
  claim: 'none' | 'live' | 'cancelled' | 'released' | 'expired'
  /** The claim came with a link: it joins a conversation instead of making one. */
  joins: boolean

  /** ms since the epoch: no deadline acts before it, the provider was in trouble; 0: it was not. */
  excusedUntil: number
  /** Most of the pool's gateways do not answer: that is no fault of each of them, and nobody is restored for it. */
  massIll: boolean

  // ── the once-call in the row ──
  /**
   * `mine`: begun by this very run. `unknown`: by another, or its answer was lost. `overdue`: unknown, and past its time.
   * `reported`: begun by the leader before us, which said that it still reports what comes of it.
   */
  attempt: 'none' | 'mine' | 'unknown' | 'overdue' | 'reported'
  /** What this run's own call came to. `refused`: the request's fault; `failed`: the instance's; `lost`: may have happened. */
  outcome: 'none' | 'delivered' | 'waiting' | 'refused' | 'failed' | 'lost' | 'complete' | 'ended' | 'error'

  // ── the outside ──
  /** `foreign`: another id under our name. */
  sprite: 'unknown' | 'present' | 'missing' | 'foreign'
  /** A complete listing, begun after the Sprite was first missed, lacks it while the provider answers sensibly. */
  listLacks: boolean
  /** The provider's or our own limit held the create back. */
  limited: boolean
  /** This run's delete was acknowledged. */
  deleteAcknowledged: boolean
  /** `refused`: what the template names is not there or not for us, so another try is as good as this one. */
  setup: 'unknown' | 'none' | 'running' | 'done' | 'failed' | 'refused'
  /** The setup's own counter; null where it was not seen. */
  beat: number | null
  files: 'unknown' | 'unwritten' | 'written'
  service: 'unknown' | 'absent' | 'present'
  gateway: 'unknown' | 'down' | 'ready' | 'bound' | 'unauthorized' | 'open'
  /** `pending`: the canary is still there, the restore has not landed. */
  disk: 'unknown' | 'clean' | 'dirty' | 'pending'
  sealed: 'unknown' | 'open' | 'sealed'
  checkpoint: 'unknown' | 'none' | 'made'
  mark: 'unknown' | 'unmarked' | 'marked'
  health: 'unknown' | 'healthy' | 'unhealthy'
  /** This run restarted the gateway. */
  restarted: boolean
  joinLoop: 'unknown' | 'unneeded' | 'wanted' | 'running' | 'over'
}

/** Nothing seen, nothing asked for: the base that tests and the controller lay facets over. */
export const NOTHING_SEEN: Omit<Observed, 'now'> = {
  type: 'observed',
  wanted: true,
  recycle: false,
  recyclable: true,
  quarantine: false,
  requireComplete: true,
  mayDelete: true,
  joinAttempts: 3,
  claim: 'none',
  joins: false,
  excusedUntil: 0,
  massIll: false,
  attempt: 'none',
  outcome: 'none',
  sprite: 'unknown',
  listLacks: false,
  limited: false,
  deleteAcknowledged: false,
  setup: 'unknown',
  beat: null,
  files: 'unknown',
  service: 'unknown',
  gateway: 'unknown',
  disk: 'unknown',
  sealed: 'unknown',
  checkpoint: 'unknown',
  mark: 'unknown',
  health: 'unknown',
  restarted: false,
  joinLoop: 'unknown',
}
