import type { Counts } from '../../specs/instance.ts'
import type { PoolSpec } from '../../specs/pool.ts'

/**
 * What an edit would come to, in sentences: by counts alone, before the controller has planned it. Its own plan, which
 * knows of orphans, the breaker and who is being taken at this moment, replaces this as soon as it has seen the edit.
 */
export function previewPlan(spec: PoolSpec, counts: Counts, waiting: number): string[] {
  const alive = Object.values(counts).reduce((sum, count) => sum + count, 0)
  const target = spec.minIdle + waiting
  const coming = counts.provisioning + counts.recycling
  const missing = Math.max(0, target - counts.idle - coming)
  const room = Math.max(0, spec.maxTotal - alive)
  const keep = spec.maxIdle === null ? counts.idle : Math.max(spec.maxIdle, target)
  const tooMany = Math.min(
    counts.idle,
    Math.max(0, counts.idle - keep, alive - counts.deleting - spec.maxTotal),
  )

  const sentences: string[] = []
  if (spec.paused.create && missing > 0) sentences.push(`${missing} wait: creation is paused`)
  else if (missing > 0) {
    const create = Math.min(missing, room)
    if (create > 0) sentences.push(`create ${create}`)
    if (create < missing)
      sentences.push(`${missing - create} stay unbuilt: maxTotal ${spec.maxTotal}, ${alive} are alive`)
  }
  if (tooMany > 0) sentences.push(`remove ${tooMany} idle`)
  else if (counts.idle > target)
    sentences.push(
      spec.maxIdle === null
        ? `${counts.idle - target} idle stay: maxIdle is not set`
        : `${counts.idle - target} idle stay: maxIdle is ${spec.maxIdle}`,
    )
  return sentences.length > 0 ? sentences : ['nothing to do']
}
