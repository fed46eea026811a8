import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import type { GatewayClient } from '../../controller/gateway/client.ts'
import { createBeatWatch } from '../../controller/instance/join-loop.ts'
import { instanceReconciler } from '../../controller/instance/reconciler.ts'
import type { InstanceDeps } from '../../controller/instance/run.ts'
import { createListingCache, type ListingCache } from '../../controller/orphans/listing.ts'
import type { SpritesClient } from '../../controller/sprites/client.ts'
import { SpriteMissing, SpritesUnavailable } from '../../controller/sprites/errors.ts'
import { SETUP_REFUSED, spriteFiles } from '../../deploy/sprite/templates.ts'
import { ABSENT_AFTER_MS } from '../../machines/limits.ts'
import { loadInstances } from '../../specs/db/instances.ts'
import type { Fence } from '../../specs/db/pools.ts'
import { systemRandom } from '../../specs/random.ts'
import { aPool, members, put, SPEC, snapshot } from '../support/builders.ts'
import { testDatabase } from '../support/database.ts'
import { type VirtualClock, virtualClock } from '../support/virtual-clock.ts'

const { sql, drop } = await testDatabase()
afterAll(drop)

let fence: Fence
let clock: VirtualClock
let listing: ListingCache
beforeEach(async () => {
  fence = await aPool(sql)
  clock = virtualClock()
  listing = createListingCache(() => {})
})

/** Every call of it ends as if nobody had answered. */
const silent = new Proxy({} as SpritesClient, {
  get: (_, call) => () => Promise.reject(new SpritesUnavailable(String(call), 'claw', null)),
})

/** There is no such Sprite, says every call. */
const vanished = new Proxy({} as SpritesClient, {
  get: (_, call) =>
    call === 'get'
      ? async () => null
      : () => Promise.reject(new SpriteMissing(String(call), 'claw', 404, 'sprite')),
})

function reconciler(sprites = silent) {
  const deps: InstanceDeps = {
    sql,
    clock,
    random: systemRandom,
    sprites,
    gateway: { status: async () => ({ kind: 'down', why: 'no answer' }) } as unknown as GatewayClient,
    files: spriteFiles,
    lead: {
      fence,
      signal: new AbortController().signal,
      mayCall: () => true,
      foreignUntil: null,
      underway: () => () => {},
    },
    listing,
    pool: async () => ({ name: fence.pool, uid: 'uid', revision: 1, spec: SPEC }),
    moved: () => {},
    claimsDue: () => {},
    limited: () => {},
    massIll: () => false,
    joinBeats: createBeatWatch(clock),
    anthropicApiKey: null,
    account: 'test',
  }
  return instanceReconciler(deps)
}

async function building(deadline: number, tries = 2): Promise<string> {
  const [id = ''] = await members(sql, fence, 1)
  await put(sql, fence, id, {
    machine: snapshot('installing', { deadline, tries, seen: true }),
    sprite_id: 'sprite-1',
  })
  return id
}

const phaseOf = async (id: string) => (await loadInstances(sql, [id]))[0]?.instance.phase
const list = (names: string[]) =>
  listing.set({
    startedAt: clock.now(),
    names: new Map(names.map((name) => [name, null])),
    expected: new Set(names),
  })

describe('a Sprite that gives no answer past its deadline', () => {
  it('is given up while the provider answers others, and the breaker hears of it', async () => {
    const id = await building(clock.now() + 1_000)
    const reconcile = reconciler()
    await expect(reconcile(id, 'builds', new AbortController().signal)).rejects.toThrow('no answer')
    expect(await phaseOf(id)).toBe('installing')
    await clock.advance(1_001)
    await expect(reconcile(id, 'builds', new AbortController().signal)).rejects.toThrow('no answer')
    list(['another']) // begun after the trouble
    await reconcile(id, 'builds', new AbortController().signal)
    expect(await phaseOf(id)).toBe('deleting')
    const [revision] = await sql`select failures from pool_revisions where pool = ${fence.pool}`
    expect(revision).toMatchObject({ failures: 1 })
  })

  it.each([
    ['its list fails too', () => listing.failed()],
    ['no list was read yet', () => {}],
    ['the list is of before', () => list(['another'])],
    [
      'it answered nobody a minute ago',
      async () => {
        listing.failed()
        list(['another'])
        await clock.advance(60_000)
        list(['another'])
      },
    ],
  ])('is kept while the provider itself is in trouble: %s', async (_, trouble) => {
    const id = await building(clock.now() - 1)
    await trouble()
    await expect(reconciler()(id, 'builds', new AbortController().signal)).rejects.toThrow('no answer')
    expect(await phaseOf(id)).toBe('installing')
    expect((await loadInstances(sql, [id]))[0]?.instance.error).toContain('no answer')
  })
})

describe('a Sprite that vanishes while it is built', () => {
  it('is a build that failed: its row goes, and the breaker hears of it', async () => {
    const id = await building(clock.now() + 600_000)
    const reconcile = reconciler(vanished)
    await reconcile(id, 'builds', new AbortController().signal)
    expect(await phaseOf(id)).toBe('installing') // one look is none
    await clock.advance(ABSENT_AFTER_MS + 1_000)
    list(['another', 'a-third'])
    await clock.advance(1_000)
    await reconcile(id, 'builds', new AbortController().signal)
    expect(await phaseOf(id)).toBeUndefined()
    const [revision] = await sql`select failures, last_error from pool_revisions where pool = ${fence.pool}`
    expect(revision).toEqual({ failures: 1, last_error: 'SpriteLost' })
  })
})

describe('a setup that failed', () => {
  const RESULT = {
    beat: 3,
    percent: 15,
    commit: null,
    home: '/home/sprite',
    error: 'why',
    takes: [],
    updatedAt: '2026-01-01T00:00:00Z',
  }
  /** There is a result of the first try, and no other answer. */
  const ended = (id: string, phase: string, exit: number) =>
    new Proxy(silent, {
      get: (target, call: keyof SpritesClient) =>
        call !== 'readFile'
          ? target[call]
          : async (_: string, path: string) =>
              path === spriteFiles.paths.setupStatus
                ? Buffer.from(JSON.stringify({ ...RESULT, attempt: `${id}-1`, phase, exit }))
                : null,
    })
  it.each([
    ['is tried again', 'clone', 128, 'installing', 2, 0],
    ['is tried again where a build chose the same number', 'build', SETUP_REFUSED, 'installing', 2, 0],
    ['is given up where no try can help, and opens the breaker', 'clone', SETUP_REFUSED, 'deleting', 0, 3],
  ])('%s', async (_, phase, exit, expected, tries, failures) => {
    const id = await building(clock.now() + 600_000, 1)
    const reconcile = reconciler(ended(id, phase, exit))
    await reconcile(id, 'builds', new AbortController().signal).catch(() => {}) // what it begins next gets no answer
    const [loaded] = await loadInstances(sql, [id])
    expect(loaded?.instance).toMatchObject({ phase: expected, machine: { context: { tries } } })
    const [revision] = await sql`select failures from pool_revisions where pool = ${fence.pool}`
    expect(revision).toEqual({ failures })
  })
})
