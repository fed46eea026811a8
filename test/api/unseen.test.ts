/** Callers that go away before their answer was written: seen by their socket, never guessed from silence. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, expect, it, onTestFinished } from 'vitest'
import { type RunningApi, startApi } from '../../api/main.ts'
import { systemClock } from '../../specs/clock.ts'
import { nextClaimDeadline, releaseUnseen } from '../../specs/db/claims.ts'
import { systemRandom } from '../../specs/random.ts'
import { fakeNews } from './fakes.ts'
import { CONFIG, KEY, startWorld, type World } from './support.ts'

/** On a machine that is busy with other tests. */
const SOON = { timeout: 10_000 }

const CLAIM = { agentName: 'Ada', instructions: 'Help.' }

let world: World
let api: RunningApi
beforeAll(async () => {
  world = await startWorld()
  api = await startApi(
    {
      sql: world.apiSql,
      clock: systemClock,
      random: systemRandom,
      news: { ...fakeNews(), listening: () => false }, // so that it looks for itself
      config: CONFIG,
      registry: new Registry(),
      log: false,
    },
    { host: '127.0.0.1', port: 0, serves: 'all' },
  )
})
afterEach(() => world.stage.clear())
afterAll(async () => {
  await api?.close()
  await world?.close()
})

/** Sends a claim and holds the line. */
function call(claim: object, headers: Record<string, string> = {}): Socket {
  const socket = connect(Number(new URL(api.url).port), '127.0.0.1')
  const body = JSON.stringify(claim)
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(
    `POST /api/pool/claim HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${KEY}\r\n${lines.join('')}content-length: ${body.length}\r\n\r\n${body}`,
  )
  return socket
}

async function hangUp(socket: Socket): Promise<void> {
  socket.destroy()
  await once(socket, 'close')
}

const theClaim = async () => {
  const [row] = await world.sql`
    select id, phase, callers, unseen_at is not null as unseen, cancelled_at is not null as cancelled,
           released_at is not null as released from claims`
  return row
}
const WAIT = { prefer: 'wait=60' }

it('a waiting caller without a key gives up its place at once, and nothing is bound to it', async () => {
  const socket = call(CLAIM, WAIT)
  await expect.poll(theClaim, SOON).toMatchObject({ phase: 'Waiting' })
  await hangUp(socket)
  await expect.poll(theClaim, SOON).toMatchObject({ unseen: true, cancelled: true })
  const [id] = await world.stage.shelve(1)
  await world.stage.endUnbegun()
  expect(await theClaim()).toMatchObject({ phase: 'Cancelled' })
  expect(await world.sql`select id from instances where shelf`).toEqual([{ id }])
})

it('a waiting caller with a key keeps its place, and finds it when it comes back', async () => {
  const headers = { ...WAIT, 'idempotency-key': 'comes-back' }
  await hangUp(await calledUntilWaiting(headers))
  await expect.poll(theClaim, SOON).toMatchObject({ phase: 'Waiting', unseen: true, cancelled: false })
  await releaseUnseen(world.sql, world.stage.fence, 60)
  expect(await theClaim()).toMatchObject({ cancelled: false })

  const again = world.ask('POST', '/api/pool/claim', { payload: CLAIM, headers })
  await expect.poll(theClaim, SOON).toMatchObject({ unseen: false })
  await world.stage.shelve(1)
  await world.stage.deliver()
  expect(await again).toMatchObject({ status: 200, body: { claimId: (await theClaim())?.id } })
})

it('a place that nobody comes back for ends after 15 s', async () => {
  await hangUp(await calledUntilWaiting({ ...WAIT, 'idempotency-key': 'stays-away' }))
  await expect.poll(theClaim, SOON).toMatchObject({ unseen: true })
  await world.sql`update claims set unseen_at = unseen_at - interval '15 seconds'`
  expect(await releaseUnseen(world.sql, world.stage.fence, 60)).toBe(1)
  expect(await theClaim()).toMatchObject({ cancelled: true })
})

it('a bound one whose caller left is let go after unseenSeconds, and says why', async () => {
  await world.stage.shelve(1)
  const socket = call(CLAIM)
  await expect.poll(theClaim, SOON).toMatchObject({ phase: 'Bound', callers: 1 })
  await hangUp(socket)
  await expect.poll(theClaim, SOON).toMatchObject({ callers: 0, unseen: true, cancelled: false })
  await world.stage.deliver()
  expect(await releaseUnseen(world.sql, world.stage.fence, 60)).toBe(0)
  const next = await nextClaimDeadline(world.sql, 'default', 60)
  expect(next).toBeGreaterThan(50)
  expect(next).toBeLessThanOrEqual(60)
  await world.sql`update claims set unseen_at = unseen_at - interval '60 seconds'`
  expect(await releaseUnseen(world.sql, world.stage.fence, 60)).toBe(1)
  expect(await theClaim()).toMatchObject({ phase: 'Ready', released: true })
  const { body } = await world.ask('GET', '/api/pool/events')
  expect(body.items).toContainEqual(
    expect.objectContaining({ reason: 'ClaimUnseen', claimId: (await theClaim())?.id }),
  )
})

it('a bound one with a key stays, however long ago its key was forgotten', async () => {
  await world.stage.shelve(1)
  const socket = call(CLAIM, { 'idempotency-key': 'has-a-key' })
  await expect.poll(theClaim, SOON).toMatchObject({ phase: 'Bound' })
  await hangUp(socket)
  await expect.poll(theClaim, SOON).toMatchObject({ unseen: true })
  await world.stage.deliver()
  await world.sql`delete from claim_keys`
  await world.sql`update claims set unseen_at = unseen_at - interval '2 days'`
  expect(await releaseUnseen(world.sql, world.stage.fence, 60)).toBe(0)
})

it('one that leaves before anything was taken takes nothing', async () => {
  await world.stage.shelve(1)
  const isLocked = Promise.withResolvers<void>()
  const over = Promise.withResolvers<void>()
  const locked = world.sql.begin(async (tx) => {
    await tx`lock table pools in access exclusive mode`
    isLocked.resolve()
    await over.promise
  })
  onTestFinished(() => over.resolve())
  await isLocked.promise // before the call: it has to wait where it reads the spec, with nothing sent yet
  const socket = call(CLAIM)
  const waits = () =>
    world.sql`select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`
  await expect.poll(waits, SOON).toHaveLength(1)
  await hangUp(socket)
  // Each answer is a turn of the server's loop: it has seen the end of the connection before it by then.
  for (let turn = 0; turn < 20; turn++) await fetch(`${api.url}/healthz`)
  over.resolve()
  await locked
  await world.ask('GET', '/api/pool/spec') // queued behind it for the same lock
  await expect.poll(waits, SOON).toHaveLength(0)
  expect(await theClaim()).toBeUndefined()
  expect(await world.sql`select from instances where shelf`).toHaveLength(1)
})

it('of two taps on one link the one that leaves takes nothing from the other', async () => {
  await world.stage.shelve(1)
  const tap = { ...CLAIM, joinUrl: 'a-slug' }
  const first = call(tap)
  await expect.poll(theClaim, SOON).toMatchObject({ phase: 'Bound' })
  const second = call(tap)
  await expect.poll(theClaim, SOON).toMatchObject({ callers: 2 })
  await hangUp(first)
  await expect.poll(theClaim, SOON).toMatchObject({ callers: 1, unseen: false })
  await hangUp(second)
  await expect.poll(theClaim, SOON).toMatchObject({ callers: 0, unseen: true })
})

it('a caller that has its answer is no lost one, whenever it hangs up', async () => {
  await world.stage.shelve(1)
  const socket = call(CLAIM)
  const answered = once(socket, 'data')
  await world.stage.deliver()
  expect(String(await answered)).toMatch(/^HTTP\/1.1 200/)
  await hangUp(socket)
  const health = await fetch(`${api.url}/healthz`) // the server has seen the end of the one before by then
  expect(health.ok).toBe(true)
  expect(await theClaim()).toMatchObject({ callers: 1, unseen: false })
})

async function calledUntilWaiting(headers: Record<string, string>): Promise<Socket> {
  const socket = call(CLAIM, headers)
  await expect.poll(theClaim, SOON).toMatchObject({ phase: 'Waiting' })
  return socket
}
