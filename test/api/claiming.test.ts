/** What happens around a claim: lines, callers that leave, a database that goes away. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { bodyHash, preferredWait } from '../../api/claiming.ts'
import { startApi } from '../../api/main.ts'
import { systemClock } from '../../specs/clock.ts'
import { connect as connectSql } from '../../specs/db/connect.ts'
import { systemRandom } from '../../specs/random.ts'
import { fakeNews } from './fakes.ts'
import { CONFIG, KEY, startWorld, type World } from './support.ts'

const CLAIM = { agentName: 'Ada', instructions: 'Help.' }

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterEach(() => world.stage.clear())
afterAll(() => world?.close())

describe('a caller that sent Prefer', () => {
  it('waits in line and is served by what becomes idle', async () => {
    const asked = world.ask('POST', '/api/pool/claim', { payload: CLAIM, headers: { prefer: 'wait=20' } })
    await expect.poll(async () => (await world.sql`select 1 from claims`).length).toBe(1)
    const [id] = await world.stage.shelve(1)
    await world.stage.deliver()
    expect(await asked).toMatchObject({ status: 200, body: { instanceId: id } })
  })

  it('keeps its place after a 202, and finds its claim where it was told', async () => {
    const first = await world.ask('POST', '/api/pool/claim', {
      payload: CLAIM,
      headers: { prefer: 'respond-async' },
    })
    const second = await world.ask('POST', '/api/pool/claim', {
      payload: CLAIM,
      headers: { prefer: 'wait=0' },
    })
    expect([first.body.position, second.body.position]).toEqual([1, 2])
    await world.stage.shelve(1)
    await world.stage.deliver()
    expect((await world.ask('GET', String(first.headers.location))).body).toMatchObject({ phase: 'Ready' })
    expect((await world.ask('GET', String(second.headers.location))).body).toMatchObject({
      phase: 'Waiting',
      position: 1,
    })
  })

  it('is told when somebody cancels its claim', async () => {
    const headers = { prefer: 'wait=20' }
    const asked = world.ask('POST', '/api/pool/claim', { payload: CLAIM, headers })
    await expect.poll(async () => (await world.sql`select 1 from claims`).length).toBe(1)
    const [row] = await world.sql`select id from claims`
    await world.ask('DELETE', `/api/pool/claims/${row?.id}`)
    await world.stage.endUnbegun()
    expect(await asked).toMatchObject({ status: 409, body: { code: 'Cancelled', claimId: row?.id } })
  })
})

it('a pool that lets claims wait lets those wait too that did not say so', async () => {
  await world.ask('PATCH', '/api/pool/spec', { payload: { claim: { onEmpty: 'wait' } } })
  const asked = world.ask('POST', '/api/pool/claim', { payload: CLAIM })
  await expect.poll(async () => (await world.sql`select 1 from claims`).length).toBe(1)
  await world.stage.shelve(1)
  await world.stage.deliver()
  expect((await asked).status).toBe(200)
  await world.ask('PATCH', '/api/pool/spec', { payload: { claim: { onEmpty: 'reject' } } })
})

it('twins with one key are one claim', async () => {
  await world.stage.shelve(2)
  const ask = () =>
    world.ask('POST', '/api/pool/claim', { payload: CLAIM, headers: { 'idempotency-key': 'twins' } })
  const [one, other] = await Promise.all([ask(), ask(), world.stage.deliver()])
  expect([one.status, other.status]).toEqual([200, 200])
  expect(one.body).toEqual(other.body)
  expect((await world.sql`select 1 from claims`).length).toBe(1)
})

it('a key whose claim was released says so, and starts no other', async () => {
  await world.stage.shelve(1)
  const ask = () =>
    world.ask('POST', '/api/pool/claim', { payload: CLAIM, headers: { 'idempotency-key': 'gone' } })
  const [first] = await Promise.all([ask(), world.stage.deliver()])
  await world.sql`update claims set phase = 'Released', ended_at = now() where id = ${first.body.claimId}`
  expect(await ask()).toMatchObject({ status: 409, body: { code: 'Released', claimId: first.body.claimId } })
})

describe('over a real socket', () => {
  async function serve(sql = world.apiSql) {
    const news = fakeNews()
    const api = await startApi(
      {
        sql,
        clock: systemClock,
        random: systemRandom,
        news,
        config: CONFIG,
        registry: new Registry(),
        log: false,
      },
      { host: '127.0.0.1', port: 0, serves: 'all' },
    )
    return { api, news }
  }

  it('a wait that is under way when the server closes is answered', async () => {
    const { api } = await serve()
    const asked = fetch(`${api.url}/api/pool/claim`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}`, prefer: 'wait=60' },
      body: JSON.stringify(CLAIM),
    })
    await expect.poll(async () => (await world.sql`select 1 from claims`).length).toBe(1)
    const closed = api.close()
    expect((await asked).status).toBe(202)
    await closed
  })

  it('a caller that leaves ends its wait: the server closes at once', async () => {
    const { api } = await serve()
    const socket = connect(Number(new URL(api.url).port), '127.0.0.1')
    const body = JSON.stringify(CLAIM)
    socket.write(
      `POST /api/pool/claim HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${KEY}\r\nprefer: wait=60\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    await expect.poll(async () => (await world.sql`select 1 from claims`).length).toBe(1)
    socket.destroy()
    await once(socket, 'close')
    const begun = performance.now()
    await api.close()
    expect(performance.now() - begun).toBeLessThan(CONFIG.closeWithinMs)
  })

  it('a database that is away is 503 with Retry-After; alive, not ready', async () => {
    const nowhere = connectSql(
      { socket: { host: '/nowhere', database: 'x', username: 'x' } },
      { applicationName: 'test' },
    )
    const { api } = await serve(nowhere)
    try {
      const claimed = await fetch(`${api.url}/api/pool/claim`, {
        method: 'POST',
        headers: { authorization: `Bearer ${KEY}` },
        body: JSON.stringify(CLAIM),
      })
      expect(claimed.status).toBe(503)
      expect(claimed.headers.get('retry-after')).toMatch(/^\d+$/)
      expect((await fetch(`${api.url}/api/pool/counts`)).status).toBe(503)
      expect((await fetch(`${api.url}/healthz`)).status).toBe(200)
      const ready = await fetch(`${api.url}/readyz`)
      expect([ready.status, await ready.json()]).toEqual([
        503,
        { ok: false, database: false, listening: true, leader: false },
      ])
    } finally {
      await api.close()
      await nowhere.end({ timeout: 1 })
    }
  })
})

it.each([
  [undefined, null],
  ['wait=10', 10],
  ['respond-async, wait=5', 5],
  ['respond-async', 0],
  ['Wait = "7"', 7],
  ['wait=5000', 300],
  ['return=minimal', null],
  ['wait=soon', null],
  ['await=3', null],
])('Prefer: %s waits %s s', (header, seconds) => {
  expect(preferredWait(header)).toBe(seconds)
})

it('a body is the same whatever the order of its fields, and another when a word differs', () => {
  expect(bodyHash({ a: 1, b: { c: [1, 2], d: null } })).toBe(bodyHash({ b: { d: null, c: [1, 2] }, a: 1 }))
  expect(bodyHash({ a: [1, 2] })).not.toBe(bodyHash({ a: [2, 1] }))
  expect(bodyHash({ a: '1' })).not.toBe(bodyHash({ a: 1 }))
})
