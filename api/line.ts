/** Where a claim stands in the line, and how long that may take: what its caller is told. */

import type { ClaimView } from '../specs/db/claims.ts'
import type { Sql } from '../specs/db/connect.ts'
import { linePositions, type Outlook, readOutlook } from '../specs/db/line.ts'
import { getPool } from '../specs/db/pools.ts'
import type { PoolSpec } from '../specs/pool.ts'
import { specInForce } from './shapes/pool.ts'

export interface Place {
  /** From 1; null: it does not wait. */
  position: number | null
  /** s. null: nothing that is known says when. */
  estimateSeconds: number | null
}

const NOWHERE: Place = { position: null, estimateSeconds: null }
/** s. A restore of about 15 s, its proof, a gateway's start. */
const RECYCLE_SECONDS = 30

/** One look at the line for all of these claims; none at all where nobody of them waits. */
export async function placesOf(
  { sql, defaults }: { sql: Sql; defaults: PoolSpec },
  pool: string,
  claims: readonly ClaimView[],
): Promise<(claim: ClaimView) => Place> {
  const waiting = claims.flatMap(({ id, phase }) => (phase === 'Waiting' ? [id] : []))
  if (waiting.length === 0) return () => NOWHERE
  const [positions, outlook, row] = await Promise.all([
    linePositions(sql, pool, waiting),
    readOutlook(sql, pool),
    getPool(sql, pool),
  ])
  const spec = specInForce(row, defaults)
  return ({ id }) => {
    const position = positions.get(id)
    return position === undefined
      ? NOWHERE
      : { position, estimateSeconds: estimateSeconds(position, outlook, spec) }
  }
}

/**
 * When the n-th of the line is served, if all goes as it went lately: each of those ahead takes one of what is on its way,
 * soonest first; then builds that `maxTotal` leaves room for, so many at a time. What only a release can bring is not guessed.
 */
export function estimateSeconds(
  position: number,
  { buildSeconds, building, recycling, alive }: Outlook,
  { maxTotal, limits }: Pick<PoolSpec, 'maxTotal' | 'limits'>,
): number | null {
  const recycled = Array.from({ length: recycling }, () => RECYCLE_SECONDS)
  const built =
    buildSeconds === null ? [] : building.map(({ ageSeconds }) => Math.max(1, buildSeconds - ageSeconds))
  const arrivals = [...recycled, ...built].sort((a, b) => a - b)
  const arrival = arrivals[position - 1]
  if (arrival !== undefined) return Math.ceil(arrival)
  const more = position - arrivals.length
  if (buildSeconds === null || more > maxTotal - alive) return null
  return Math.ceil(buildSeconds * Math.ceil(more / limits.createConcurrency))
}
