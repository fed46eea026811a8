import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { inspector } from '../../controller/operations/inspect.ts'
import {
  type OperationsDeps,
  type OperationsReconciler,
  operationsReconciler,
} from '../../controller/operations/reconciler.ts'
import { createWorkQueue, type WorkQueue } from '../../controller/workqueue.ts'
import { systemClock } from '../../specs/clock.ts'
import {
  createOperation,
  getOperation,
  type NewOperation,
  writeOperation,
} from '../../specs/db/operations.ts'
import type { Fence } from '../../specs/db/pools.ts'
import { systemRandom } from '../../specs/random.ts'
import { aPool, idle, members, put, snapshot } from '../support/builders.ts'
import { testDatabase } from '../support/database.ts'
import { until } from '../support/until.ts'
import { type VirtualClock, virtualClock } from '../support/virtual-clock.ts'

const { sql, drop } = await testDatabase()
afterAll(drop)

let fence: Fence
let clock: VirtualClock
let listStartedAt: number | null
let listsAsked: number
let mayCall: boolean
let operations: OperationsReconciler
let queue: WorkQueue
const never = new AbortController().signal

beforeEach(async () => {
  fence = await aPool(sql, { maxTotal: 50 })
  clock = virtualClock(systemClock.now())
  listStartedAt = null
  listsAsked = 0
  mayCall = true
  start()
})

/** The reconciler and its keys, as the runner of a pool has them. */
function start(more: Partial<OperationsDeps> = {}) {
  const lead = {
    fence,
    signal: never,
    mayCall: () => mayCall,
    foreignUntil: null,
    underway: () => () => {},
  }
  operations = operationsReconciler({
    sql,
    clock,
    random: systemRandom,
    lead,
    pool: fence.pool,
    namePrefix: 'claw-dev',
    orphans: {
      count: () => 0,
      listStartedAt: () => listStartedAt,
      missing: () => new Set<string>(),
      confirmLost: () => {},
    },
    inspect: async () => ({ seen: true }),
    changed: () => {},
    look: () => {},
    lookAtAll: () => {},
    requestList: () => listsAsked++,
    wake: (id, overdue) => queue[overdue ? 'add' : 'nudge'](id, 'operations'),
    ...more,
  })
  queue = createWorkQueue({
    clock,
    random: systemRandom,
    reconcile: (key, _, signal) => (key === 'list' ? operations.list() : operations.advance(key, signal)),
  })
}

async function ask(kind: NewOperation['kind'], more: Partial<NewOperation> = {}): Promise<string> {
  const { id } = await createOperation(sql, {
    id: systemRandom.word(12),
    pool: fence.pool,
    kind,
    actor: 'test',
    deadlineSeconds: 3_600,
    ...more,
  })
  return id
}

/** The database answers in real time, whatever the clock says. */
const settled = () =>
  until(() => Object.values(queue.depth()).every(({ waiting, running }) => waiting + running === 0), {
    what: 'everything has been looked at',
    everyMs: 0,
  })
const found = (id: string) => getOperation(sql, fence.pool, id)
const phase = async (id: string) => (await found(id)).phase

describe('operations', () => {
  it('wait for none of the others: one whose Sprite hangs ends by its own limit, the next is done meanwhile', async () => {
    start({
      inspect: ({ selector }) =>
        selector.instance === 'hangs' ? new Promise(() => {}) : Promise.resolve({ seen: true }),
    })
    const hangs = await ask('probe', { selector: { instance: 'hangs' } })
    const next = await ask('probe', { selector: { instance: 'answers' } })
    queue.add('list', 'planning')
    await until(async () => (await phase(next)) === 'Succeeded', { what: 'the next one' })
    expect(await phase(hangs)).toBe('Pending')
    await clock.advance(30_000)
    await until(async () => (await phase(hangs)) === 'Failed', { what: 'the end of the one that hangs' })
    expect((await found(hangs)).message).toContain('no answer within 30000 ms')
  })

  it('fail alone: one that throws comes back ever later, says why, and is ended by its own deadline', async () => {
    let tries = 0
    const fails = () => {
      tries++
      throw new Error('nothing can be looked at')
    }
    start({ lookAtAll: fails, requestList: fails })
    const broken = await ask('reconcile', { deadlineSeconds: 60 })
    const fine = await ask('probe', { selector: { instance: 'answers' } })
    // As the tick does it, every two seconds while nobody tells us anything.
    for (let passed = 0; passed < 50_000; passed += 2_000) {
      queue.nudge('list', 'planning')
      await settled()
      await clock.advance(2_000)
    }
    await settled()
    expect(await phase(fine)).toBe('Succeeded')
    expect(await found(broken)).toMatchObject({ finishedAt: null, message: 'nothing can be looked at' })
    expect(tries).toBeLessThan(10)
    await clock.advance(20_000)
    queue.nudge('list', 'planning')
    await until(async () => (await phase(broken)) === 'Expired', { what: 'its deadline' })
  })

  it('come back when the lease was about to end and was renewed after all', async () => {
    const id = await ask('probe', { selector: { instance: 'answers' } })
    mayCall = false
    expect(await operations.list()).toEqual({ requeueAfterMs: 1_000 })
    expect(await operations.advance(id, never)).toEqual({ requeueAfterMs: 1_000 })
    expect(await phase(id)).toBe('Pending')
  })
})

describe('a replenish', () => {
  async function asked(wanted: number) {
    const id = await ask('replenish', { wanted })
    await operations.advance(id, never)
    const made = await sql<{ id: string }[]>`select id from instances where made_by = ${id} order by id`
    expect(made).toHaveLength(wanted)
    return { id, made: made.map((row) => row.id) }
  }
  const destroyed = (instance: string) => sql`delete from instances where id = ${instance}`

  it('counts one that was ready once as built, though it was destroyed before anybody looked', async () => {
    const { id, made } = await asked(2)
    const [first = '', second = ''] = made
    await put(sql, fence, first, idle())
    await destroyed(first)
    await operations.advance(id, never)
    expect(await found(id)).toMatchObject({ phase: 'Running', done: 1, failed: 0 })
    await put(sql, fence, second, idle())
    await put(sql, fence, second, { machine: snapshot('deleting') })
    await operations.advance(id, never)
    expect(await found(id)).toMatchObject({ phase: 'Succeeded', done: 2, failed: 0 })
  })

  it('counts one that never got ready as failed', async () => {
    const { id, made } = await asked(2)
    const [first = '', second = ''] = made
    await put(sql, fence, first, { machine: snapshot('deleting') })
    await operations.advance(id, never)
    expect(await found(id)).toMatchObject({ phase: 'Running', done: 0, failed: 1 })
    await put(sql, fence, second, idle())
    await operations.advance(id, never)
    expect(await found(id)).toMatchObject({ phase: 'Failed', done: 1, failed: 1 })
  })

  it('never takes back what was done', async () => {
    const { id, made } = await asked(1)
    await put(sql, fence, made[0] ?? '', idle())
    await writeOperation(sql, fence, id, { phase: 'Running', done: 0 }) // read before it was ready, written after
    expect(await found(id)).toMatchObject({ done: 1 })
  })
})

describe('a reconcile', () => {
  it('needs a list that was begun after it was asked for, not one that ended then', async () => {
    listStartedAt = clock.now() - 10_000
    const id = await ask('reconcile')
    await operations.advance(id, never)
    listStartedAt = clock.now() - 1 // under way at that moment
    await clock.advance(500)
    await operations.advance(id, never)
    expect(await phase(id)).toBe('Running')
    expect(listsAsked).toBe(1)
    listStartedAt = clock.now()
    await operations.advance(id, never)
    expect(await phase(id)).toBe('Succeeded')
  })

  it('that was cancelled is forgotten: asked again under its id, it needs a list of its own', async () => {
    const id = await ask('reconcile')
    await operations.advance(id, never)
    await sql`update operations set cancelled_at = pool_now() where id = ${id}`
    await operations.advance(id, never)
    expect(await phase(id)).toBe('Cancelled')
    await clock.advance(500)
    listStartedAt = clock.now() - 1
    await sql`update operations set cancelled_at = null, phase = 'Pending', finished_at = null where id = ${id}`
    await operations.advance(id, never)
    expect(await phase(id)).toBe('Running')
  })
})

describe('a look inside', () => {
  it('says what it could see within its time, and null for what gave no answer', async () => {
    const [instance = ''] = await members(sql, fence, 1)
    await put(sql, fence, instance, idle())
    const id = await ask('probe', { selector: { instance } })
    const hang = () => new Promise<never>(() => {})
    const inspect = inspector({
      sql,
      clock,
      sprites: {
        get: async () => ({ id: 'sprite-1', status: 'running' }),
        exec: hang,
        listFiles: hang,
        serviceLogs: hang,
      },
      gateway: { status: async () => ({ kind: 'up', conversationId: null, streaming: null }) },
      files: { paths: { openclawDir: '/home/sprite/.openclaw' } },
    } as unknown as Parameters<typeof inspector>[0])
    let over = false
    const answer = inspect(await found(id), never).finally(() => {
      over = true
    })
    await until(
      async () => {
        await clock.advance(20_000)
        return over
      },
      { what: 'the answer' },
    )
    expect(await answer).toMatchObject({
      sprite: { id: 'sprite-1', status: 'running' },
      apiStatus: 200,
      processes: null,
      listening: null,
      envExists: null,
      logTail: [],
    })
  })
})
