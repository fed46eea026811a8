/** Events as a stream: in order, resumable, and with an end. */
import { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createFeed } from '../../api/feed.ts'
import { type RunningApi, startApi } from '../../api/main.ts'
import { systemClock } from '../../specs/clock.ts'
import { recordEvent } from '../../specs/db/events.ts'
import { systemRandom } from '../../specs/random.ts'
import { openEventStream } from '../support/event-stream.ts'
import { virtualClock } from '../support/virtual-clock.ts'
import { fakeNews } from './fakes.ts'
import { CONFIG, KEY, startWorld, type World } from './support.ts'

/** On a machine that is busy with other tests. */
const SOON = { timeout: 10_000 }

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterEach(() => world.stage.clear())
afterAll(() => world?.close())

const news = fakeNews()
const serve = (): Promise<RunningApi> =>
  startApi(
    {
      sql: world.apiSql,
      clock: systemClock,
      random: systemRandom,
      news,
      config: CONFIG,
      registry: new Registry(),
      log: false,
    },
    { host: '127.0.0.1', port: 0, serves: 'all' },
  )
const event = (reason: string, more: object = {}) =>
  recordEvent(world.sql, { pool: 'default', type: 'Normal', reason, message: '', actor: 'test', ...more })

describe('a claim’s stream', () => {
  it('tells each step, and goes on behind the last one that was seen', async () => {
    const api = await serve()
    const { body } = await world.ask('POST', '/api/pool/claim', {
      payload: { agentName: 'Ada', instructions: 'Help.' },
      headers: { prefer: 'wait=0' },
    })
    const url = `${api.url}/api/pool/claims/${body.claimId}/events`
    const stream = await openEventStream(url, KEY)
    expect(stream.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    const waiting = await stream.next()
    expect(waiting.data).toMatchObject({ id: waiting.id, reason: 'ClaimWaiting', claimId: body.claimId })
    await event('Another', { claimId: 'another' })
    const [instanceId] = await world.stage.shelve(1)
    expect((await stream.next()).data).toMatchObject({ reason: 'ClaimBound', instanceId })
    stream.leave()

    const again = await openEventStream(url, KEY, waiting.id)
    expect((await again.next()).data).toMatchObject({ reason: 'ClaimBound' })
    await world.ask('DELETE', `/api/pool/claims/${body.claimId}`)
    expect((await again.next()).data).toMatchObject({ reason: 'ClaimCancelled', actor: 'admin' })
    await world.stage.endUnbegun()
    expect((await again.next()).data).toMatchObject({
      reason: 'ClaimEnded',
      message: 'Cancelled: Cancelled before an instance was touched.',
    })
    again.leave()
    await api.close()
  })

  it('of no claim is 404, and behind no event 422', async () => {
    expect((await world.ask('GET', '/api/pool/claims/nobodys/events')).status).toBe(404)
    const headers = { 'last-event-id': 'the last one' }
    expect((await world.ask('GET', '/api/pool/events/stream', { headers })).status).toBe(422)
    expect((await world.askOpenly('GET', '/api/pool/events/stream')).status).toBe(401)
  })
})

describe('the pool’s stream', () => {
  it('tells what comes from now on, what was asked for alone, and ends when the server closes', async () => {
    await event('Before')
    const api = await serve()
    const all = await openEventStream(`${api.url}/api/pool/events/stream`, KEY)
    const warnings = await openEventStream(`${api.url}/api/pool/events/stream?type=Warning`, KEY)
    await expect
      .poll(() => world.sql`select from pg_stat_activity where query like '%pg_snapshot_xmin%'`)
      .not.toEqual([])
    await event('First')
    await event('Second', { type: 'Warning' })
    news.tell('events', { pool: 'default' })
    expect([(await all.next()).data.reason, (await all.next()).data.reason]).toEqual(['First', 'Second'])
    expect((await warnings.next()).data.reason).toBe('Second')
    await api.close()
    await all.over()
    await warnings.over()
  })

  it('leaves out nothing that is committed late by a transaction that began early', async () => {
    const api = await serve()
    let commit = () => {}
    const early = world.sql.begin(async (tx) => {
      await tx`select record_event('default', 'Normal', 'Early', '', 'test', null, null, null)`
      await new Promise<void>((resolve) => {
        commit = resolve
      })
    })
    await expect
      .poll(() => world.sql`select from pg_stat_activity where state = 'idle in transaction'`)
      .toHaveLength(1)
    const stream = await openEventStream(`${api.url}/api/pool/events/stream`, KEY, '0-0')
    await event('Late')
    news.tell('events', { pool: 'default' })
    const first = stream.next()
    const early200 = await Promise.race([
      first,
      new Promise((resolve) => setTimeout(resolve, 200, 'nothing')),
    ])
    expect(early200).toBe('nothing')
    commit()
    await early
    news.tell('events', { pool: 'default' })
    expect([(await first).data.reason, (await stream.next()).data.reason]).toEqual(['Early', 'Late'])
    stream.leave()
    await api.close()
  })
})

describe('a reader', () => {
  const readAll = (clock = virtualClock()) => {
    const feed = createFeed({ sql: world.sql, clock, news: fakeNews() })
    const leave = new AbortController()
    const chunks = feed.read({ pool: 'default', from: 'start' }, leave.signal)
    return { chunks, clock, leave, feed }
  }

  it('hears each 15 s that it is still connected, while nothing happens', async () => {
    const { chunks, clock, leave } = readAll()
    expect((await chunks.next()).value).toBe('retry: 2000\n\n')
    let spoken: string | undefined
    void chunks.next().then(({ value }) => {
      spoken = value ?? undefined
    })
    for (let seconds = 0; seconds < 14; seconds += 2) {
      await expect.poll(() => clock.waiting(), SOON).toBe(1)
      await clock.advance(2_000)
    }
    expect(spoken).toBeUndefined()
    await expect.poll(() => clock.waiting(), SOON).toBe(1)
    await clock.advance(2_000)
    await expect.poll(() => spoken, SOON).toBe(': still here\n\n')
    leave.abort()
  })

  it('gets a long history page by page, whole and once', async () => {
    await world.sql`
      insert into events (pool, type, reason, message, actor) select 'default', 'Normal', 'R' || n, '', 'test' from generate_series(1, 250) n`
    const { chunks, leave } = readAll()
    await chunks.next()
    const reasons = []
    for (let n = 0; n < 250; n++)
      reasons.push(/"reason":"(R\d+)"/.exec((await chunks.next()).value ?? '')?.[1])
    expect(reasons).toEqual(Array.from({ length: 250 }, (_, n) => `R${n + 1}`))
    leave.abort()
  })

  it('that leaves, or whose server closes, ends at once, even between two looks', async () => {
    for (const end of ['leave', 'close'] as const) {
      const { chunks, clock, leave, feed } = readAll()
      await chunks.next()
      const last = chunks.next()
      await expect.poll(() => clock.waiting(), SOON).toBe(1)
      if (end === 'leave') leave.abort()
      else feed.close()
      expect(await last).toEqual({ done: true, value: undefined })
      expect(clock.waiting()).toBe(0)
    }
  })
})
