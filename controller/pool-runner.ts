/**
 * One pool, led: its work queue, what wakes the keys in it, and the reconcilers. Losing every timer, cache and NOTIFY only
 * makes it slower: the sweep alone finds all that is due.
 */
import type { Logger } from 'pino'
import { type Clock, sleep } from '../specs/clock.ts'
import type { ConditionNow } from '../specs/condition.ts'
import { forgetClaimKeys } from '../specs/db/claims.ts'
import type { Sql } from '../specs/db/connect.ts'
import { keepEventPartitions } from '../specs/db/events.ts'
import { createEventBell } from '../specs/db/gather.ts'
import { dueInstances } from '../specs/db/instances.ts'
import type { NewsHub } from '../specs/db/news-hub.ts'
import { getPool } from '../specs/db/pools.ts'
import type { Pool, PoolSpec } from '../specs/pool.ts'
import type { Random } from '../specs/random.ts'
import { claimsReconciler } from './claims/reconciler.ts'
import { applyChangedEnvironment } from './environment.ts'
import type { GatewayClient } from './gateway/client.ts'
import { createBeatWatch } from './instance/join-loop.ts'
import { instanceReconciler, laneOf } from './instance/reconciler.ts'
import type { InstanceDeps, PoolFacts } from './instance/run.ts'
import type { SpriteFiles } from './instance/sprite-files.ts'
import type { Lead } from './lease.ts'
import type { ControllerMetrics } from './metrics.ts'
import { inspector } from './operations/inspect.ts'
import { operationsReconciler } from './operations/reconciler.ts'
import { createListingCache } from './orphans/listing.ts'
import { orphansReconciler } from './orphans/reconciler.ts'
import { poolReconciler } from './pool/reconciler.ts'
import { heartbeat } from './probes.ts'
import type { Result } from './reconcile.ts'
import type { SpritesClient } from './sprites/client.ts'
import { fencedSprites } from './sprites/fenced.ts'
import { createWorkQueue, type WorkQueue } from './workqueue.ts'

export interface ControllerDeps {
  sql: Sql
  clock: Clock
  random: Random
  sprites: SpritesClient
  gateway: GatewayClient
  files: SpriteFiles
  news: NewsHub
  log: Logger
  metrics: ControllerMetrics
  config: ControllerConfig
}

export interface ControllerConfig {
  /** `<prefix>-<environment>`: first part of every Sprite's name. */
  namePrefix: string
  /** Whose creates the limiter counts: the Sprites API's address. */
  account: string
  anthropicApiKey: string | null
  /** ms. Every key that may need a look is looked at so often, whatever else happens. */
  tickMs: number
  /** ms. Rows against the provider's list. */
  reconcileMs: number
  eventsDays: number
  /** Variables of the environment that are edits of the spec when they change. */
  specVariables: Readonly<Record<string, string>>
}

/** ms. The sweep while nobody tells us anything. */
const POLL_MS = 2_000
/** ms. A newer list than this is new enough for whoever asks. */
const LIST_PAUSE_MS = 1_000
const HOUSEKEEPING_MS = 3_600_000
/** Gateways that may fail at one time and still each be a fault of its own. */
const FEW_ILL = 3
/** s. A retry by its Idempotency-Key comes within a day. */
const CLAIM_KEY_SECONDS = 86_400
/** s. Until a spec was read that says otherwise. */
const UNSEEN_SECONDS = 60

export async function runPool(deps: ControllerDeps, lead: Lead): Promise<void> {
  const { sql, clock, random, log, news, config } = deps
  const pool = lead.fence.pool
  const applied = await applyChangedEnvironment(sql, lead, config.specVariables).catch((error: unknown) => {
    log.error({ pool, error: messageOf(error) }, 'the environment could not be applied to the spec')
    return []
  })
  if (applied.length > 0) log.info({ pool, variables: applied }, 'the environment changed the spec')

  let row = await getPool(sql, pool)
  let facts = factsOf(row, row.spec ?? row.status.lastGoodSpec)
  const ring = createEventBell({ sql, clock })
  const look = (id: string) => queue.nudge(`instance/${id}`, 'healing')
  const plan = () => queue.nudge('plan', 'planning')

  const listing = createListingCache(() => queue.nudgeAfter('listing', 'planning', LIST_PAUSE_MS))
  const orphans = orphansReconciler({
    sql,
    clock,
    lead,
    sprites: deps.sprites,
    pool,
    uid: () => row.uid,
    namePrefix: config.namePrefix,
    listing,
    everyMs: config.reconcileMs,
    look,
    changed: plan,
  })
  /** ms since the epoch: creates are held back until then. */
  let limitedUntil = 0
  let massIll = false
  const sprites = fencedSprites(deps.sprites, lead)
  const conditions = (): ConditionNow[] => [
    ...orphans.conditions(),
    limitCondition(clock.now() < limitedUntil),
    ...processConditions(deps),
  ]
  const setFacts = (next: Pool, spec: PoolSpec) => {
    row = next
    facts = factsOf(next, spec)
  }
  const refresh = async () => {
    const next = await getPool(sql, pool)
    const spec = next.spec ?? next.status.lastGoodSpec
    if (spec) setFacts(next, spec)
  }

  const instanceDeps: InstanceDeps = {
    sql,
    clock,
    random,
    sprites,
    gateway: deps.gateway,
    files: deps.files,
    lead,
    listing,
    pool: async () => facts ?? Promise.reject(new Error(`pool ${pool}: no valid spec yet`)),
    moved: () => {
      plan()
      ring(pool)
    },
    claimsDue: () => queue.nudge('claims', 'planning'),
    limited(ms) {
      limitedUntil = Math.max(limitedUntil, clock.now() + ms)
      plan()
      queue.nudgeAfter('plan', 'planning', ms + LIST_PAUSE_MS) // the condition ends with the limit
    },
    massIll: () => massIll,
    joinBeats: createBeatWatch(clock),
    anthropicApiKey: config.anthropicApiKey,
    account: config.account,
  }
  const operations = operationsReconciler({
    sql,
    clock,
    random,
    lead,
    pool,
    namePrefix: config.namePrefix,
    orphans,
    inspect: inspector(instanceDeps),
    changed: () => {
      queue.nudge('sweep', 'planning')
      plan()
    },
    look,
    lookAtAll: () => lookAtAll(),
    requestList: listing.request,
    wake: (id, overdue) => queue[overdue ? 'add' : 'nudge'](`operation/${id}`, 'operations'),
  })
  const sweep = async (): Promise<Result> => {
    for (const { id, phase, bound } of await dueInstances(sql, pool, facts?.spec.heal.strikes ?? 3))
      queue.nudge(`instance/${id}`, laneOf(phase, bound))
    return {}
  }
  /** Monotonic ms: when the newest list was begun. */
  let listedAt = Number.NEGATIVE_INFINITY
  const lookRound = () => {
    // Its own timer may have been lost. This is not a second one: a list that is fresh enough is not read again.
    if (clock.monotonic() - listedAt >= config.reconcileMs) queue.nudge('listing', 'planning')
    queue.nudge('sweep', 'planning')
    plan()
    queue.nudge('claims', 'planning')
    queue.nudge('operations', 'planning')
  }
  const lookAtAll = () => {
    queue.nudge('listing', 'planning')
    lookRound()
  }
  const reconcilers: Record<string, () => Promise<Result>> = {
    plan: poolReconciler({
      sql,
      clock,
      random,
      lead,
      pool,
      namePrefix: config.namePrefix,
      conditions,
      orphans: orphans.count,
      changed: () => queue.nudge('sweep', 'planning'),
      facts: setFacts,
    }),
    claims: claimsReconciler({
      sql,
      lead,
      pool,
      unseenSeconds: () => facts?.spec.claim.unseenSeconds ?? UNSEEN_SECONDS,
      look: (id) => queue.nudge(`instance/${id}`, 'urgent'),
      plan: instanceDeps.moved,
    }),
    operations: operations.list,
    listing() {
      listedAt = clock.monotonic()
      return orphans.reconcile()
    },
    sweep,
    housekeeping: async () => {
      await keepEventPartitions(sql, config.eventsDays)
      await forgetClaimKeys(sql, CLAIM_KEY_SECONDS)
      return { requeueAfterMs: HOUSEKEEPING_MS }
    },
  }
  const reconcileInstance = instanceReconciler(instanceDeps)

  const queue: WorkQueue = createWorkQueue({
    clock,
    random,
    async reconcile(key, lane, signal) {
      const [kind = '', id] = key.split('/')
      if (id === undefined) return reconcilers[kind]?.() ?? {}
      return kind === 'operation' ? operations.advance(id, signal) : reconcileInstance(id, lane, signal)
    },
    onEnd({ key, lane, ms, error, failures }) {
      const [controller = ''] = key.split('/')
      deps.metrics.reconciled(controller, lane, error === null ? 'success' : 'error', ms / 1000)
      if (error !== null)
        log[failures > 3 ? 'error' : 'warn'](
          { pool, key, lane, failures, error: messageOf(error) },
          'a pass failed',
        )
    },
  })

  const stopWatching = deps.metrics.watch(pool, queue)
  deps.metrics.leading(pool, lead.fence.epoch)
  log.info({ pool, epoch: lead.fence.epoch }, 'leading')
  const mine =
    (handler: (ids: readonly string[], bound: readonly string[], more: boolean) => void) =>
    (told: {
      pool?: string | null | undefined
      ids?: string[] | null | undefined
      bound?: string[] | null | undefined
      more?: boolean | null | undefined
    }) => {
      if (told.pool === pool) handler(told.ids ?? [], told.bound ?? [], told.more === true)
    }
  const unsubscribe = [
    news.on(
      'instances',
      mine((ids, bound, more) => {
        for (const id of bound) queue.add(`instance/${id}`, 'deliveries')
        for (const id of ids) if (!bound.includes(id)) queue.add(`instance/${id}`, 'urgent')
        if (more) queue.add('sweep', 'planning')
        queue.add('plan', 'planning')
      }),
    ),
    news.on(
      'claims',
      mine((ids, _, more) => {
        for (const id of ids) queue.add(`instance/${id}`, 'urgent')
        if (more) queue.add('sweep', 'planning')
        queue.add('claims', 'planning')
      }),
    ),
    news.on(
      'waiting',
      mine(() => {
        queue.add('claims', 'planning')
        queue.add('plan', 'planning')
      }),
    ),
    news.on(
      'operation',
      mine((ids) => {
        for (const id of ids) queue.add(`operation/${id}`, 'operations')
      }),
    ),
    news.on(
      'pool',
      mine(() => {
        void refresh().catch(() => {})
        queue.add('plan', 'planning')
      }),
    ),
    news.onGap(lookAtAll),
  ]
  queue.add('housekeeping', 'planning')
  lookAtAll()

  const beats = heartbeat(
    {
      sql,
      clock,
      random,
      gateway: deps.gateway,
      pool,
      every: () => ({
        intervalMs: (facts?.spec.heal.intervalSeconds ?? 20) * 1000,
        strikes: facts?.spec.heal.strikes ?? 3,
        paused: facts?.spec.paused.heal ?? false,
      }),
      look,
      swept(asked, ill) {
        massIll = ill > Math.max(FEW_ILL, asked / 2)
      },
      onError: (error) => log.warn({ pool, error: messageOf(error) }, 'a heartbeat failed'),
    },
    lead.signal,
  )
  const ticks = tick(deps, lead, lookRound)

  await Promise.all([beats, ticks])
  for (const end of unsubscribe) end()
  const left = await queue.drain()
  if (left.length > 0) log.error({ pool, keys: left }, 'what was under way did not end and is left alone')
  stopWatching()
  deps.metrics.leading(pool, null)
  log.info({ pool, epoch: lead.fence.epoch }, 'no longer leading')
}

/** Every tick, and more often while nobody would tell us. */
async function tick({ clock, news, config }: ControllerDeps, lead: Lead, run: () => void): Promise<void> {
  while (!lead.signal.aborted) {
    await sleep(
      clock,
      news.listening() ? config.tickMs : Math.min(POLL_MS, config.tickMs),
      lead.signal,
    ).catch(() => {})
    if (!lead.signal.aborted) run()
  }
}

const factsOf = (pool: Pool, spec: PoolSpec | null): PoolFacts | null =>
  spec && { name: pool.name, uid: pool.uid, revision: pool.revision, spec }

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

function limitCondition(limited: boolean): ConditionNow {
  return limited
    ? {
        type: 'CreationLimited',
        status: 'True',
        reason: 'RateLimited',
        message:
          'Creates wait: limits.createsPerMinute or the provider allows no more now. It goes on by itself.',
      }
    : { type: 'CreationLimited', status: 'False', reason: 'Free', message: 'Creates are not held back.' }
}

function processConditions({ news, config }: ControllerDeps): ConditionNow[] {
  return [
    news.listening()
      ? {
          type: 'DatabaseListening',
          status: 'True',
          reason: 'Echoes',
          message: 'News of the database arrive.',
        }
      : {
          type: 'DatabaseListening',
          status: 'False',
          reason: 'NoEcho',
          message:
            'LISTEN brings nothing (a pooler?): it polls each 2 s. Set DATABASE_URL_DIRECT to a direct connection.',
        },
    { type: 'LeaderElected', status: 'True', reason: 'Leads', message: 'A controller leads this pool.' },
    config.anthropicApiKey
      ? { type: 'AnthropicKeySet', status: 'True', reason: 'Set', message: 'Agents can think.' }
      : {
          type: 'AnthropicKeySet',
          status: 'False',
          reason: 'Missing',
          message: 'INSTANCE_ANTHROPIC_API_KEY is not set: agents are built and joined, but cannot think.',
        },
  ]
}
