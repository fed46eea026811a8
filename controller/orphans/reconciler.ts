/**
 * Rows against the provider's list, both ways. A row whose Sprite the list lacks is looked at by GET; a Sprite that no row
 * knows is reported, and counts where its label says that it is ours. Nothing is deleted on the word of a list.
 */

import type { Clock } from '../../specs/clock.ts'
import type { ConditionNow } from '../../specs/condition.ts'
import type { Sql } from '../../specs/db/connect.ts'
import { knownSprites } from '../../specs/db/instances.ts'
import { ownerLabel } from '../instance/run.ts'
import type { Lead } from '../lease.ts'
import type { Result } from '../reconcile.ts'
import type { SpritesClient } from '../sprites/client.ts'
import type { ListingCache } from './listing.ts'

export interface OrphansDeps {
  sql: Sql
  clock: Clock
  lead: Lead
  sprites: SpritesClient
  pool: string
  uid(): string
  namePrefix: string
  listing: ListingCache
  everyMs: number
  look(instanceId: string): void
  changed(): void
}

export interface Orphans {
  reconcile(): Promise<Result>
  /** Sprites with our label and no row, and those of which we cannot tell; null: no complete list yet. */
  count(): number | null
  /** When the newest complete list was begun, ms since the epoch; null: none yet. */
  listStartedAt(): number | null
  conditions(): ConditionNow[]
  /** Instances whose Sprite the newest of them lacks. */
  missing(): ReadonlySet<string>
  /** A person says that what is missing now is gone. */
  confirmLost(): void
}

/** Unknown names looked up in one pass; the rest is looked at in the next. */
const LOOKUPS = 50
const SHOWN = 5

export function orphansReconciler(deps: OrphansDeps): Orphans {
  const { sql, clock, sprites, listing } = deps
  /** Whose an unknown Sprite is, by name: asked once, since labels do not change hands. */
  const owners = new Map<string, 'ours' | 'foreign'>()
  let ours: string[] = []
  let foreign: string[] = []
  let listStartedAt: number | null = null
  let missing: ReadonlySet<string> = new Set()
  let reachable: ConditionNow | null = null

  async function reconcile(): Promise<Result> {
    if (!deps.lead.mayCall()) return { requeueAfterMs: 1_000 }
    // Read before the list: what is created while it is read is not missing from it.
    const before = await knownSprites(sql, deps.pool)
    const startedAt = clock.now()
    let names: Map<string, string | null>
    try {
      const list = await sprites.list(`${deps.namePrefix}-`)
      names = new Map(list.sprites.map(({ name, id }) => [name, id]))
    } catch (error) {
      listing.failed()
      reachable = {
        type: 'ProviderReachable',
        status: 'False',
        reason: 'ListFails',
        message: `The list of Sprites cannot be read (${error instanceof Error ? error.message : 'no answer'}): nothing is declared absent meanwhile.`,
      }
      deps.changed()
      throw error
    }
    reachable = {
      type: 'ProviderReachable',
      status: 'True',
      reason: 'Answers',
      message: 'The list of Sprites can be read.',
    }
    const expected = new Set(
      before
        .filter(({ spriteId, phase }) => spriteId !== null && phase !== 'deleting')
        .map(({ spriteName }) => spriteName),
    )
    listing.set({ startedAt, names, expected })

    const gone = before.filter(
      ({ spriteName, spriteId }) =>
        spriteId !== null && (!names.has(spriteName) || (names.get(spriteName) ?? spriteId) !== spriteId),
    )
    missing = new Set(gone.map(({ id }) => id))
    for (const { id } of gone) deps.look(id)

    const after = await knownSprites(sql, deps.pool)
    const known = new Set([...before, ...after].map(({ spriteName }) => spriteName))
    const unknown = [...names.keys()].filter((name) => !known.has(name))
    const vanished = await learnOwners(unknown)
    ours = unknown.filter((name) => owners.get(name) !== 'foreign' && !vanished.has(name))
    listStartedAt = startedAt
    foreign = unknown.filter((name) => owners.get(name) === 'foreign')
    for (const name of owners.keys()) if (!names.has(name) || known.has(name)) owners.delete(name)
    deps.changed()
    return { requeueAfterMs: deps.everyMs }
  }

  /**
   * By GET: a list entry may lack the labels. What gives no answer, or one without labels, is not known to be anybody's:
   * it counts as ours and is asked again. Returns those that are gone by now.
   */
  async function learnOwners(unknown: readonly string[]): Promise<ReadonlySet<string>> {
    const label = ownerLabel(deps.uid())
    const gone = new Set<string>()
    for (const name of unknown.filter((name) => !owners.has(name)).slice(0, LOOKUPS)) {
      const sprite = await sprites.get(name).catch(() => 'unknown' as const)
      if (sprite === null) gone.add(name)
      else if (sprite !== 'unknown' && sprite.labels)
        owners.set(name, sprite.labels.includes(label) ? 'ours' : 'foreign')
    }
    return gone
  }

  const shown = (names: readonly string[]) =>
    `${names.slice(0, SHOWN).join(', ')}${names.length > SHOWN ? ` and ${names.length - SHOWN} more` : ''}`

  return {
    reconcile,
    count: () => (listStartedAt === null ? null : ours.length),
    listStartedAt: () => listStartedAt,
    missing: () => missing,
    confirmLost: listing.confirmLost,
    conditions() {
      const found: ConditionNow =
        ours.length + foreign.length === 0
          ? {
              type: 'OrphansFound',
              status: 'False',
              reason: 'AllKnown',
              message: 'Every Sprite with our prefix has a row.',
            }
          : {
              type: 'OrphansFound',
              status: 'True',
              reason: ours.length > 0 ? 'SpritesWithoutRow' : 'ForeignSprites',
              message: [
                ours.length > 0 ? `without a row, but with our label: ${shown(ours)}` : '',
                foreign.length > 0 ? `with our prefix, but not ours (left alone): ${shown(foreign)}` : '',
              ]
                .filter(Boolean)
                .join('; '),
            }
      const blocked = listing.blocked(clock.now())
      const brake: ConditionNow =
        blocked === null
          ? {
              type: 'MassActionBlocked',
              status: 'False',
              reason: 'FewMissing',
              message: 'No more are missing than may be believed at once.',
            }
          : {
              type: 'MassActionBlocked',
              status: 'True',
              reason: 'ManyMissing',
              message: `${blocked.length} Sprites are missing from the list at once (${shown(blocked)}): none is given up until three lists over 15 minutes agree. If they are gone indeed: POST /api/pool/reconcile {"confirmLost": true}.`,
            }
      return reachable ? [reachable, found, brake] : [found, brake]
    },
  }
}
