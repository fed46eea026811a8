/**
 * The provider's list as last read, whole, and the brake on what it lacks. A cache that only ever makes things faster:
 * without it nothing is declared absent, and everything else goes on.
 */
import { isBraked, isMassLoss, LOSS_WINDOW_MS, type Losses } from '../../machines/brake.ts'

export interface Listing {
  /** Does a complete list, begun after `since`, lack `spriteName` while the provider answers sensibly? */
  lacks(spriteName: string, since: number, ours: 'deleted' | 'expected', now: number): boolean
  /** The newest complete list lacks it: reason enough for a GET. */
  misses(spriteName: string, notBefore: number): boolean
  /** Somebody needs a newer one. */
  request(): void
  /** The last list that was asked for came: the provider answers, so what does not answer is a matter of one Sprite. */
  answering(): boolean
  /** One was declared absent that nobody had asked to delete. */
  lost(now: number): void
}

export interface ListingCache extends Listing {
  /** `expected`: names that rows know and nobody is deleting. */
  set(list: { startedAt: number; names: ReadonlySet<string>; expected: ReadonlySet<string> }): void
  failed(): void
  /** Names that are missed and not believed to be; null: the brake is off. */
  blocked(now: number): string[] | null
  /** A person says that they are gone: the brake is off for what is missing now. */
  confirmLost(): void
}

/** ms. When the missing one is the only one that should be there, an empty list may as well be the provider's trouble. */
const LONE_MS = 300_000

export function createListingCache(onRequest: () => void): ListingCache {
  let last: { startedAt: number; names: ReadonlySet<string>; expected: ReadonlySet<string> } | null = null
  let answering = false
  /** The spell of lists that lack too many; null: the newest does not. */
  let spell: { since: number; lists: number } | null = null
  let losses: number[] = []
  let confirmed: ReadonlySet<string> = new Set()

  const missing = () =>
    [...(last?.expected ?? [])].filter((name) => !last?.names.has(name) && !confirmed.has(name))
  const state = (now: number): Losses => ({
    expected: last?.expected.size ?? 0,
    missing: missing().length,
    lost: losses.filter((at) => now - at < LOSS_WINDOW_MS).length,
    since: spell?.since ?? null,
    lists: spell?.lists ?? 0,
  })

  return {
    set(list) {
      last = list
      answering = true
      confirmed = new Set([...confirmed].filter((name) => list.expected.has(name) && !list.names.has(name)))
      if (!isMassLoss(state(list.startedAt))) spell = null
      else spell = { since: spell?.since ?? list.startedAt, lists: (spell?.lists ?? 0) + 1 }
    },
    failed() {
      answering = false
    },
    answering: () => answering,
    request: onRequest,
    lost(now) {
      losses = [...losses.filter((at) => now - at < LOSS_WINDOW_MS), now]
    },
    blocked: (now) => (isBraked(state(now), now) ? missing() : null),
    confirmLost() {
      confirmed = new Set(missing())
    },
    misses: (spriteName, notBefore) =>
      last !== null && last.startedAt > notBefore && last.names.size > 0 && !last.names.has(spriteName),
    lacks(spriteName, since, ours, now) {
      if (last === null || last.startedAt <= since || last.names.has(spriteName)) return false
      if (ours === 'deleted' || confirmed.has(spriteName)) return true
      if (isBraked(state(now), now)) return false
      return last.expected.size > 1 || now - since >= LONE_MS
    },
  }
}
