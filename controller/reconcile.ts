import type { Lane } from './workqueue.ts'

/** When to look again. `{}`: settled, only news can matter. */
export interface Result {
  requeueAfterMs?: number
  /** The lane of that next look; left out: the same. */
  lane?: Lane
}

/** Level-triggered: a key says "look at this", never what happened. Right when called twice, late, or for no reason. */
export type Reconcile = (id: string, lane: Lane, signal: AbortSignal) => Promise<Result>
