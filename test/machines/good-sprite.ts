/**
 * A world that behaves: one row, and one Sprite that does what it is asked, in the time that real ones take. Small on
 * purpose; how the provider fails is another matter, here only what it comes to when it stops failing.
 */
import type { Effect, Intent } from '../../machines/life.ts'
import { NOTHING_SEEN, type Observed } from '../../machines/observed.ts'
import { type Snapshot, step } from '../../machines/step.ts'
import { instants } from './explore.ts'

const SETUP_MS = 270_000
const BEAT_MS = 10_000
const BOOT_MS = 40_000

/** What is found when the world begins to behave. */
export interface Found {
  exists: boolean
  /** Built, its gateway up, a checkpoint of its own. */
  built: boolean
  /** Somebody's conversation is on it. */
  used: boolean
  /** The service cannot be restarted. */
  unrestartable?: boolean
  /** The inviter approves a join at this try; null: never. */
  approvedAtTry?: number | null
}

/** The row's part: the claim that holds it, and the once-call under way. */
export interface Row {
  wanted: boolean
  claim: Observed['claim']
  joins: boolean
  attempt: { by: 'us' | 'another'; until: number } | null
}

export interface End {
  snapshot: Snapshot
  row: Row
  at: number
  /** Every state that it went through, in order. */
  through: string[]
  asked: Intent[]
  effects: Effect[]
}

/** Follows one instance until nothing can move it any more. @throws Error when it is not settled after `maxPasses`. */
export function settle(from: Snapshot, at: number, found: Found, row: Row, maxPasses = 600): End {
  const world = createWorld(found, { ...row }, at)
  const end: End = { snapshot: from, row: world.row, at, through: [from.value], asked: [], effects: [] }
  for (let passes = 0; passes < maxPasses; passes++) {
    const observed = world.observe(end.at)
    const next = step(end.snapshot, observed)
    if (next.moved) {
      world.write(
        next.effects.map(({ type }) => type),
        end.at,
      )
      end.effects.push(...next.effects.map(({ type }) => type))
      if (next.snapshot.value !== end.snapshot.value) end.through.push(next.snapshot.value)
      end.snapshot = next.snapshot
      if (end.snapshot.value === 'gone') return end
      continue
    }
    if (next.intent !== null && world.act(next.intent, end.at)) {
      end.asked.push(next.intent)
      continue
    }
    const later = [...instants(end.snapshot), ...world.changes(end.at)].filter((instant) => instant > end.at)
    if (isSettled(end.snapshot, observed)) return end
    end.at = Math.min(...later, end.at + 60_000) // a refused intent is asked again within the queue's backoff
  }
  throw new Error(
    `not settled after ${maxPasses} passes: ${end.through.join(' → ')} ${JSON.stringify(end.snapshot)}`,
  )
}

/** Only news can matter from here on. */
const isSettled = ({ value }: Snapshot, { sprite, health }: Observed) =>
  sprite === 'present' &&
  (value === 'quarantined' || (['idle', 'claimed'].includes(value) && health === 'healthy'))

function createWorld(found: Found, row: Row, began: number) {
  let exists = found.exists
  let setupBegan = found.built ? Number.NEGATIVE_INFINITY : null
  let bootBegan = found.built ? Number.NEGATIVE_INFINITY : null
  let files = found.built
  let checkpoint = found.built
  let used = found.used
  let canary = false
  let joinTries = 0
  // What this run heard of its own calls, until the row has it.
  let outcome: Observed['outcome'] = 'none'
  let deleteAcknowledged = false
  let restarted = false

  const isUp = (now: number) => bootBegan !== null && now - bootBegan >= BOOT_MS
  const isDone = (now: number) => setupBegan !== null && now - setupBegan >= SETUP_MS

  return {
    row,

    observe(now: number): Observed {
      const attempt =
        row.attempt === null
          ? 'none'
          : row.attempt.by === 'us'
            ? 'mine'
            : now < row.attempt.until
              ? 'unknown'
              : 'overdue'
      const bound = used && isUp(now)
      const well = isUp(now) && used === (row.claim === 'live')
      const seen: Partial<Observed> = exists
        ? {
            sprite: 'present',
            setup: setupBegan === null ? 'none' : isDone(now) ? 'done' : 'running',
            beat: setupBegan === null || isDone(now) ? null : Math.floor((now - setupBegan) / BEAT_MS),
            files: files ? 'written' : 'unwritten',
            service: bootBegan === null ? 'absent' : 'present',
            gateway: bound ? 'bound' : isUp(now) && files ? 'ready' : 'down',
            disk: canary ? 'pending' : used ? 'dirty' : 'clean',
            sealed: bootBegan === null && !files ? 'sealed' : 'open',
            checkpoint: checkpoint ? 'made' : 'none',
            mark: canary ? 'marked' : 'unmarked',
            health: well ? 'healthy' : 'unhealthy',
            joinLoop: 'unneeded',
          }
        : { sprite: 'missing', listLacks: true }
      return {
        ...NOTHING_SEEN,
        now,
        wanted: row.wanted,
        claim: row.claim,
        joins: row.joins,
        recyclable: checkpoint,
        attempt,
        outcome,
        deleteAcknowledged,
        restarted,
        ...seen,
      }
    },

    /** false: refused, nothing changed. */
    act(intent: Intent, now: number): boolean {
      if (intent !== 'createSprite' && !exists) {
        if (intent === 'deliver') outcome = 'failed'
        if (intent === 'restore') outcome = 'error'
        return intent === 'deliver' || intent === 'restore'
      }
      switch (intent) {
        case 'createSprite':
          exists = true
          return true
        case 'startSetup':
          setupBegan = now
          return true
        case 'writeConfig':
          files = true
          return true
        case 'putService':
          bootBegan = now
          return true
        case 'seal':
          bootBegan = null
          files = false
          return true
        case 'createCheckpoint':
          checkpoint = true
          return true
        case 'deliver':
          joinTries += 1
          if (row.joins && joinTries !== (found.approvedAtTry ?? null)) outcome = 'waiting'
          else {
            outcome = used || !isUp(now) ? 'failed' : 'delivered'
            used = true
          }
          return true
        case 'mark':
          canary = true
          return true
        case 'restore':
          canary = false
          used = false
          files = false
          bootBegan = null
          outcome = checkpoint ? 'complete' : 'error'
          return true
        case 'restartGateway':
          if (found.unrestartable || bootBegan === null) return false
          bootBegan = now
          restarted = true
          return true
        case 'deleteSprite':
          exists = false
          deleteAcknowledged = true
          return true
        case 'startJoinLoop':
          return true
        default: {
          const never: never = intent
          throw new Error(`no such intent: ${never}`)
        }
      }
    },

    /** What a move means for the rows, as the statement that stores it does it. */
    write(effects: readonly Effect[], now: number): void {
      restarted = false
      for (const effect of effects)
        switch (effect) {
          case 'newKeys':
            files = false
            break
          case 'beginDelivery':
          case 'beginRestore':
            row.attempt = { by: 'us', until: now + 95_000 }
            outcome = 'none'
            break
          case 'endAttempt':
            row.attempt = null
            outcome = 'none'
            break
          case 'claimBackToLine':
          case 'claimFailed':
          case 'claimEnded':
            row.claim = 'none'
            row.joins = false
            break
          default:
            break
        }
    },

    /** When the Sprite, left alone, is next another than now. */
    changes(now: number): number[] {
      const beats = setupBegan === null || isDone(now) ? [] : [now + BEAT_MS, setupBegan + SETUP_MS]
      const boots = bootBegan === null || isUp(now) ? [] : [bootBegan + BOOT_MS]
      const ends = row.attempt === null ? [] : [row.attempt.until]
      return [...beats, ...boots, ...ends].filter((instant) => instant > began)
    },
  }
}
