/**
 * The provider's list as last read, whole, and the brake on what it lacks. A cache that only ever makes things faster:
 * without it nothing is declared absent, and everything else goes on.
 */

import { isBraked, isMassLoss, LOSS_WINDOW_MS, type Losses } from '../../machines/brake.ts'
import { EXCUSE_MS } from '../../machines/limits.ts'

export interface Listing {
  /** Does a complete list, begun after `since`, lack `spriteName` while the provider answers sensibly? */
  lacks(spriteName: string, since: number, ours: 'deleted' | 'expected', now: number): boolean
  /** The newest complete list lacks it: reason enough for a GET. */
  misses(spriteName: string, spriteId: string | null, notBefore: number): boolean
  /** Somebody needs a newer one. */
  request(): void
  /** A complete list was begun after `since`: the provider answers, so what does not is a matter of one Sprite. */
  answeredSince(since: number): boolean
  /** ms since the epoch: no deadline acts before it, since the provider answered nobody shortly ago. */
  excusedUntil(): number
  /** One was declared absent that nobody had asked to delete. */
  lost(now: number): void
}

export interface Listed {
  /** ms since the epoch, before the first page was asked for. */
  startedAt: number
  /** Name and id; null: the entry had none. */
  names: ReadonlyMap<string, string | null>
  /** Names that rows know and nobody is deleting. */
  expected: ReadonlySet<string>
}

export interface ListingCache extends Listing {
  set(list: Listed): void
  failed(): void
  /** Names that are missed and not believed to be; null: the brake is off. */
  blocked(now: number): string[] | null
  /** A person says that they are gone: the brake is off for what is missing now. */
  confirmLost(): void
}

/** ms. When the missing one is the only one that should be there, an empty list may as well be the provider's trouble. */
const LONE_MS = 300_000

export function createListingCache(onRequest: () => void): ListingCache {
  let last: Listed | null = null
  let failing = false
  let excusedUntil = 0
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
      if (failing) excusedUntil = list.startedAt + EXCUSE_MS
      failing = false
      last = list
      confirmed = new Set([...confirmed].filter((name) => list.expected.has(name) && !list.names.has(name)))
      if (!isMassLoss(state(list.startedAt))) spell = null
      else spell = { since: spell?.since ?? list.startedAt, lists: (spell?.lists ?? 0) + 1 }
    },
    failed() {
      failing = true
    },
    answeredSince: (since) => !failing && last !== null && last.startedAt > since,
    excusedUntil: () => (failing ? Number.MAX_SAFE_INTEGER : excusedUntil),
    request: onRequest,
    lost(now) {
      losses = [...losses.filter((at) => now - at < LOSS_WINDOW_MS), now]
    },
    blocked: (now) => (isBraked(state(now), now) ? missing() : null),
    confirmLost() {
      confirmed = new Set(missing())
    },
    misses(spriteName, spriteId, notBefore) {
      if (last === null || last.startedAt <= notBefore || last.names.size === 0) return false
      return !last.names.has(spriteName) || (last.names.get(spriteName) ?? spriteId) !== spriteId
    },
    lacks(spriteName, since, ours, now) {
      if (last === null || last.startedAt <= since || last.names.has(spriteName)) return false
      if (confirmed.has(spriteName)) return true
      // An empty list though rows have Sprites proves nothing, not even that a delete of ours was carried out.
      const sane = last.expected.size === 0 || [...last.expected].some((name) => last?.names.has(name))
      if (ours === 'deleted') return sane
      if (isBraked(state(now), now)) return false
      return last.expected.size > 1 || now - since >= LONE_MS
    },
  }
}
