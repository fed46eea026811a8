/**
 * The provider's list as last read, whole. A cache that only ever makes things faster: without it nothing is declared
 * absent, and everything else goes on.
 */
export interface Listing {
  /** Does a complete list, begun after `since`, lack `spriteName` while the provider answers sensibly? */
  lacks(spriteName: string, since: number, ours: 'deleted' | 'expected', now: number): boolean
  /** The newest complete list lacks it: reason enough for a GET. */
  misses(spriteName: string, notBefore: number): boolean
  /** Somebody needs a newer one. */
  request(): void
  /** The last list that was asked for came: the provider answers, so what does not answer is a matter of one Sprite. */
  answering(): boolean
}

export interface ListingCache extends Listing {
  set(list: { startedAt: number; names: ReadonlySet<string>; expected: ReadonlySet<string> }): void
  failed(): void
}

/** ms. When the missing one is the only one that should be there, an empty list may as well be the provider's trouble. */
const LONE_MS = 300_000

export function createListingCache(onRequest: () => void): ListingCache {
  let last: { startedAt: number; names: ReadonlySet<string>; expected: ReadonlySet<string> } | null = null
  let answering = false
  return {
    set(list) {
      last = list
      answering = true
    },
    failed() {
      answering = false
    },
    answering: () => answering,
    request: onRequest,
    misses: (spriteName, notBefore) =>
      last !== null && last.startedAt > notBefore && last.names.size > 0 && !last.names.has(spriteName),
    lacks(spriteName, since, ours, now) {
      if (last === null || last.startedAt <= since || last.names.has(spriteName)) return false
      if (ours === 'deleted') return true
      const others = [...last.expected].filter((name) => name !== spriteName)
      // An empty list though rows have Sprites proves nothing at all.
      if (others.length > 0) return others.some((name) => last?.names.has(name))
      return now - since >= LONE_MS
    },
  }
}
