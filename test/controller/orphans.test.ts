import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { createListingCache, type ListingCache } from '../../controller/orphans/listing.ts'
import { type Orphans, orphansReconciler } from '../../controller/orphans/reconciler.ts'
import type { Sprite, SpritesClient } from '../../controller/sprites/client.ts'
import { SpritesUnavailable } from '../../controller/sprites/errors.ts'
import type { Fence } from '../../specs/db/pools.ts'
import { aPool, members, put, snapshot } from '../support/builders.ts'
import { testDatabase } from '../support/database.ts'
import { type VirtualClock, virtualClock } from '../support/virtual-clock.ts'

const MINUTE = 60_000
const { sql, drop } = await testDatabase()
afterAll(drop)

let fence: Fence
let clock: VirtualClock
let listing: ListingCache
let orphans: Orphans
/** The provider: names, ids and labels, or null while it does not answer. */
let sprites: Map<string, { id: string; labels: string[] | null }> | null
let looked: string[]
beforeEach(async () => {
  fence = await aPool(sql, { maxTotal: 50 })
  clock = virtualClock()
  sprites = new Map()
  looked = []
  listing = createListingCache(() => {})
  const client: Pick<SpritesClient, 'list' | 'get'> = {
    async list(prefix) {
      if (!sprites) throw new SpritesUnavailable('list', prefix, 503)
      return {
        sprites: [...sprites].map(([name, { id }]) => ({
          name,
          id,
          status: 'running',
          url: null,
          labels: null,
        })),
      }
    },
    async get(name) {
      const found = sprites?.get(name)
      if (!found) return null
      return {
        name,
        ...found,
        url: 'http://127.0.0.1:9',
        urlAuth: 'public',
        status: 'running',
        createdAt: null,
      } satisfies Sprite
    },
  }
  orphans = orphansReconciler({
    sql,
    clock,
    lead: {
      fence,
      signal: new AbortController().signal,
      mayCall: () => true,
      foreignUntil: null,
      underway: () => () => {},
    },
    sprites: client as SpritesClient,
    pool: fence.pool,
    uid: () => 'uid1',
    namePrefix: 'claw-dev',
    listing,
    everyMs: 300_000,
    look: (id) => looked.push(id),
    changed: () => {},
  })
})

/** Rows whose Sprites the provider has. */
async function living(count: number): Promise<{ id: string; name: string }[]> {
  const made = []
  for (const id of await members(sql, fence, count)) {
    await put(sql, fence, id, { machine: snapshot('starting'), sprite_id: `sprite-${id}` })
    sprites?.set(`claw-dev-${id}`, { id: `sprite-${id}`, labels: ['clawpool-uid1'] })
    made.push({ id, name: `claw-dev-${id}` })
  }
  return made
}

const condition = (type: string) => orphans.conditions().find((found) => found.type === type)
async function readList() {
  await clock.advance(1)
  await orphans.reconcile()
}
/** Missed one millisecond before the newest list. */
const lacks = (name: string) => listing.lacks(name, clock.now() - 1, 'expected', clock.now())

describe('rows against the list', () => {
  it('a Sprite that the list lacks is looked at, and is absent only for a list begun after it was missed', async () => {
    const [a, b] = await living(2)
    if (!a || !b) throw new Error('not made')
    sprites?.delete(a.name)
    await readList()
    expect(looked).toEqual([a.id])
    expect(lacks(a.name)).toBe(true)
    expect(listing.lacks(a.name, clock.now(), 'expected', clock.now())).toBe(false)
    expect(lacks(b.name)).toBe(false)
  })

  it('another Sprite under the same name is looked at too', async () => {
    const [a] = await living(2)
    if (!a) throw new Error('not made')
    sprites?.set(a.name, { id: 'sprite-of-somebody', labels: [] })
    await readList()
    expect(looked).toEqual([a.id])
    expect(listing.misses(a.name, `sprite-${a.id}`, clock.now() - 1)).toBe(true)
    expect(listing.misses(a.name, 'sprite-of-somebody', clock.now() - 1)).toBe(false)
  })

  it('a list that fails changes nothing and says so', async () => {
    const [a] = await living(2)
    await readList()
    sprites = null
    await expect(readList()).rejects.toThrow('503')
    expect(condition('ProviderReachable')).toMatchObject({ status: 'False', reason: 'ListFails' })
    expect(listing.answeredSince(0)).toBe(false)
    expect(looked).toEqual([])
    expect(lacks(a?.name ?? '')).toBe(false)
  })
})

describe('the brake on mass action', () => {
  it('an empty list though rows have Sprites is not believed until three over fifteen minutes agree', async () => {
    const all = await living(4)
    sprites?.clear()
    await readList()
    expect(condition('MassActionBlocked')).toMatchObject({ status: 'True' })
    expect(all.map(({ name }) => lacks(name))).toEqual([false, false, false, false])
    await clock.advance(15 * MINUTE)
    await readList()
    expect(lacks(all[0]?.name ?? '')).toBe(false)
    await readList()
    expect(all.map(({ name }) => lacks(name))).toEqual([true, true, true, true])
    expect(condition('MassActionBlocked')).toMatchObject({ status: 'False' })
  })

  it('ends at once when the Sprites are there again, and begins anew', async () => {
    const all = await living(8)
    const kept = new Map(sprites)
    sprites = new Map([...kept].slice(0, 2))
    await readList()
    expect(condition('MassActionBlocked')).toMatchObject({ status: 'True' })
    sprites = kept
    await clock.advance(16 * MINUTE)
    await readList()
    expect(condition('MassActionBlocked')).toMatchObject({ status: 'False' })
    sprites = new Map([...kept].slice(0, 2))
    await readList()
    await readList()
    await readList()
    expect(all.filter(({ name }) => lacks(name))).toEqual([])
  })

  it('half of the pool may go at once, as after hours without a controller', async () => {
    const all = await living(8)
    for (const { name } of all.slice(0, 4)) sprites?.delete(name)
    await readList()
    expect(condition('MassActionBlocked')).toMatchObject({ status: 'False' })
    expect(all.filter(({ name }) => lacks(name))).toHaveLength(4)
  })

  it('a trickle of losses is one loss', async () => {
    const all = await living(8)
    for (let n = 0; n < 4; n++) listing.lost(clock.now())
    sprites?.delete(all[0]?.name ?? '')
    await readList()
    expect(lacks(all[0]?.name ?? '')).toBe(false)
    await clock.advance(10 * MINUTE)
    await readList()
    expect(lacks(all[0]?.name ?? '')).toBe(true)
  })

  it('a person may say that they are gone indeed: of what is missing now, and of nothing else', async () => {
    const all = await living(6)
    const kept = new Map(sprites)
    sprites?.clear()
    await readList()
    orphans.confirmLost()
    expect(condition('MassActionBlocked')).toMatchObject({ status: 'False' })
    expect(all.filter(({ name }) => lacks(name))).toHaveLength(6)
    sprites = kept
    await readList()
    sprites = new Map()
    await readList()
    expect(all.filter(({ name }) => lacks(name))).toEqual([])
  })

  it('does not hold back what we deleted ourselves', async () => {
    const all = await living(8)
    const gone = all.slice(0, 7)
    for (const { name } of gone) sprites?.delete(name)
    await readList()
    expect(condition('MassActionBlocked')).toMatchObject({ status: 'True' })
    expect(listing.lacks(gone[0]?.name ?? '', clock.now() - 1, 'deleted', clock.now())).toBe(true)
  })

  it('does not believe even a delete of ours by an empty list, while others should be there', async () => {
    const [a] = await living(3)
    sprites?.clear()
    await readList()
    expect(listing.lacks(a?.name ?? '', clock.now() - 1, 'deleted', clock.now())).toBe(false)
  })

  it('the only Sprite of a pool is absent after five minutes', async () => {
    const [lone] = await living(1)
    if (!lone) throw new Error('not made')
    sprites?.clear()
    const since = clock.now()
    await readList()
    expect(listing.lacks(lone.name, since, 'expected', clock.now())).toBe(false)
    await clock.advance(5 * MINUTE)
    expect(listing.lacks(lone.name, since, 'expected', clock.now())).toBe(true)
  })
})

describe('Sprites without a row', () => {
  it('are not known before a complete list was read', () => {
    expect(orphans.count()).toBeNull()
  })

  it('are counted when they carry our label, and only named when they do not', async () => {
    await living(1)
    sprites?.set('claw-dev-lostlostlost', { id: 'x', labels: ['clawpool-uid1'] })
    sprites?.set('claw-dev-strangerxxxx', { id: 'y', labels: ['clawpool-other'] })
    await readList()
    expect(orphans.count()).toBe(1)
    sprites?.set('claw-dev-withoutlabel', { id: 'z', labels: null })
    await readList()
    expect(orphans.count()).toBe(2) // nobody knows whose: it may be ours
    sprites?.delete('claw-dev-withoutlabel')
    await readList()
    expect(condition('OrphansFound')).toMatchObject({ status: 'True', reason: 'SpritesWithoutRow' })
    expect(condition('OrphansFound')?.message).toContain('claw-dev-strangerxxxx')
    sprites?.delete('claw-dev-lostlostlost')
    sprites?.delete('claw-dev-strangerxxxx')
    await readList()
    expect(orphans.count()).toBe(0)
    expect(condition('OrphansFound')).toMatchObject({ status: 'False' })
  })
})
