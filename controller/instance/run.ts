import type { Observed } from '../../machines/observed.ts'
import type { Claim } from '../../specs/claim.ts'
import type { Clock } from '../../specs/clock.ts'
import type { Sql } from '../../specs/db/connect.ts'
import type { Loaded } from '../../specs/db/instances.ts'
import type { Progress } from '../../specs/instance.ts'
import type { PoolSpec, Template } from '../../specs/pool.ts'
import type { Random } from '../../specs/random.ts'
import type { GatewayClient } from '../gateway/client.ts'
import type { Lead } from '../lease.ts'
import type { Listing } from '../orphans/listing.ts'
import type { Sprite, SpritesClient } from '../sprites/client.ts'
import type { BeatWatch } from './join-loop.ts'
import type { SpriteFiles } from './sprite-files.ts'

/** What every pass over an instance is handed. */
export interface InstanceDeps {
  sql: Sql
  clock: Clock
  random: Random
  sprites: SpritesClient
  gateway: GatewayClient
  files: SpriteFiles
  lead: Lead
  listing: Listing
  /** The pool as last read, refreshed by whoever plans it: spec, uid, revision. */
  pool(): Promise<PoolFacts>
  /** A step was written: a plan or an operation may wait for it. */
  moved(): void
  /** A claim whose time is over holds one that was never begun: its own reconciler ends it. */
  claimsDue(): void
  /** The provider's or our own limit holds creates back for so long. */
  limited(ms: number): void
  /** Most of the pool's gateways did not answer the newest heartbeat. */
  massIll(): boolean
  joinBeats: BeatWatch
  anthropicApiKey: string | null
  /** Whose creates the limiter counts. */
  account: string
}

export interface PoolFacts {
  name: string
  uid: string
  revision: number
  spec: PoolSpec
}

/** One pass: what was loaded, and what this run itself began and heard. Gone with the run: nothing else may rest on it. */
export interface Run extends Loaded {
  facts: PoolFacts
  /** Its own revision's: what it is built, configured and asked with. */
  template: Template
  /** The attempt that this run committed; any other in the row is unknown to it. */
  attemptId: string | null
  outcome: Observed['outcome']
  /** What came with the outcome, for the claim's row. */
  delivered: { conversationId: string; inviteUrl: string | null; inviteSlug: string | null } | null
  failure: string | null
  sprite: Sprite | null
  /** GET found ours, but its URL is not public yet. */
  foundPrivate: boolean
  limitedMs: number | null
  deleteAcknowledged: boolean
  restarted: boolean
  /** What the observation found that belongs into status. */
  found: Found
  signal: AbortSignal
}

export interface Found {
  commit?: string | null
  takes?: string[]
  progress?: Progress | null
  checkpoint?: { id: string; createdAt: string }
  setupError?: string | null
}

export function startRun(loaded: Loaded, facts: PoolFacts, signal: AbortSignal): Run {
  return {
    ...loaded,
    template: loaded.template ?? facts.spec.template,
    facts,
    attemptId: null,
    outcome: 'none',
    delivered: null,
    failure: null,
    sprite: null,
    foundPrivate: false,
    limitedMs: null,
    deleteAcknowledged: false,
    restarted: false,
    found: {},
    signal,
  }
}

/** The label that marks a Sprite as this pool's. */
export const ownerLabel = (uid: string) => `clawpool-${uid}`

/** Names the setup's try: only a result that carries it counts. */
export const setupAttempt = (run: Run, tries: number) => `${run.instance.id}-${tries}`

/** Found again by it after a lost answer; the stamp makes it this instance's alone. */
export const checkpointComment = (run: Run) => `clawpool ${run.instance.id} ${run.instance.stamp}`

/** Ended, or asked to end: what holds the instance has no more right to it. */
export function claimState(claim: Claim | null, expired: boolean): Observed['claim'] {
  if (!claim) return 'none'
  if (claim.phase === 'Expired' || expired) return 'expired'
  if (claim.releasedAt !== null || claim.phase === 'Released') return 'released'
  if (claim.cancelledAt !== null || claim.endedAt !== null) return 'cancelled'
  return 'live'
}
