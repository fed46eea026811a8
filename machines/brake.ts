/**
 * The brake on mass action: when many of a pool's Sprites would be declared absent at once, none is. Providers have lost
 * whole lists for minutes and found them again; a pool that believes the first one deletes everybody's work.
 */

/** As many as that may go at once whatever the pool's size. */
const FEW = 3
/** Of all that should be there. */
const SHARE = 0.5
/** Complete lists that must agree, and over how long, ms, before it is believed after all. */
const LISTS = 3
const AGREE_MS = 900_000
/** ms. Losses that belong together. */
export const LOSS_WINDOW_MS = 600_000

export interface Losses {
  /** Sprites that rows know and nobody is deleting. */
  expected: number
  /** Those of them that the newest complete list lacks. */
  missing: number
  /** Declared absent within the last `LOSS_WINDOW_MS`. */
  lost: number
  /** When a complete list first showed so many missing, ms since the epoch; null: the newest is the first. */
  since: number | null
  /** Complete lists from then on. */
  lists: number
}

/** Would more be declared absent than may be believed at once? An empty list though rows have Sprites always is too much. */
export function isMassLoss({ expected, missing, lost }: Losses): boolean {
  if (expected > 1 && missing === expected) return true
  return missing + lost > Math.max(FEW, Math.floor(expected * SHARE)) && missing > 0
}

/** Is the brake on? It ends by itself when enough complete lists over long enough say the same. */
export function isBraked(losses: Losses, now: number): boolean {
  if (!isMassLoss(losses)) return false
  return losses.lists < LISTS || losses.since === null || now - losses.since < AGREE_MS
}
