import type { Clock } from '../clock.ts'
import type { Sql } from './connect.ts'
import { tell } from './notify.ts'

/** ms. Nobody who watches a page sees the difference. */
const GATHER_MS = 100

/**
 * Tells who watches that there are new events: at most once each 100 ms and in a statement of its own, since a transaction
 * that notifies makes all others that do wait for its commit. Lost ones only make a stream slower: it looks by itself too.
 */
export function createEventBell({ sql, clock }: { sql: Sql; clock: Clock }): (pool: string) => void {
  const soon = new Set<string>()
  return (pool) => {
    if (soon.has(pool)) return
    soon.add(pool)
    clock.after(GATHER_MS, () => {
      soon.delete(pool)
      void tell(sql, { kind: 'events', pool }).catch(() => {})
    })
  }
}
