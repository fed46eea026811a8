import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest'
import { type Clock, systemClock } from '../../specs/clock.ts'
import { type ConnectOptions, connect, type Sql } from '../../specs/db/connect.ts'
import { CHANNEL, createListener, type Listener, type News, tell } from '../../specs/db/notify.ts'
import { systemRandom } from '../../specs/random.ts'
import { type TestDatabase, testDatabase } from '../support/database.ts'

let database: TestDatabase
let elsewhere: TestDatabase
const listeners: Listener[] = []

beforeAll(async () => {
  ;[database, elsewhere] = await Promise.all([testDatabase(), testDatabase({ empty: true })])
})
afterEach(() => Promise.all(listeners.splice(0).map((listener) => listener.close())))
afterAll(() => Promise.all([database.drop(), elsewhere.drop()]))

type Open = (options: ConnectOptions) => Sql

function listen({ clock = systemClock, open = (options: ConnectOptions) => database.connect(options) } = {}) {
  const news: News[] = []
  const onGap = vi.fn()
  const clients: Sql[] = []
  const listener = createListener({
    sql: database.sql,
    clock,
    random: systemRandom,
    connect(hooks) {
      const client = open({ max: 1, applicationName: 'listener', ...hooks })
      clients.push(client)
      return client
    },
    onNews: (item) => news.push(item),
    onGap,
  })
  listeners.push(listener)
  return { listener, news, onGap, clients }
}

const until = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 10_000, interval: 5 })
const trusted = (listener: Listener) => until(() => expect(listener.listening()).toBe(true))

/** Wall time stands; what was asked for by `after` runs when `advance` has passed it. */
function handClock(): Clock & { advance(ms: number): void; pending(): number[] } {
  let now = 0
  const timers = new Set<{ at: number; run: () => void }>()
  return {
    now: () => now,
    monotonic: () => now,
    after(ms, run) {
      const timer = { at: now + ms, run }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    pending: () => [...timers].map(({ at }) => at - now),
    advance(ms) {
      now += ms
      for (const timer of [...timers].filter(({ at }) => at <= now)) if (timers.delete(timer)) timer.run()
    },
  }
}

it('hears itself, asks for a look at everything once, and then hears what others say', async () => {
  const { listener, news, onGap } = listen()
  expect(listener.listening()).toBe(false)
  await trusted(listener)
  expect(onGap).toHaveBeenCalledTimes(1)
  await tell(database.sql, { kind: 'instances', pool: 'default', ids: ['a1'] })
  await until(() => expect(news).toEqual([{ kind: 'instances', pool: 'default', ids: ['a1'] }]))
})

it('understands what the triggers say', async () => {
  const { listener, news } = listen()
  await trusted(listener)
  const spec = { minIdle: 1, maxTotal: 2, template: {} }
  await database.sql`insert into pools (name, uid, spec) values ('heard', 'u1', ${database.sql.json(spec)})`
  await until(() => expect(news).toEqual([{ kind: 'pool', pool: 'heard' }]))
})

it('comes back after its connection was cut, and asks for a look at what it missed', async () => {
  const { listener, news, onGap } = listen()
  await trusted(listener)
  const cut = () => database.sql`select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'listener' and datname = current_database()`
  await cut()
  await until(() => expect(onGap).toHaveBeenCalledTimes(2))
  await trusted(listener)
  await tell(database.sql, { kind: 'again' })
  await until(() => expect(news).toContainEqual({ kind: 'again' }))
})

it('keeps trying, ever more slowly, while there is no database', async () => {
  const clock = handClock()
  const nowhere: Open = (options) =>
    connect({ socket: { host: '/nonexistent', database: 'none', username: 'postgres' } }, options)
  const { listener, clients, onGap } = listen({ clock, open: nowhere })
  for (const [tries, ms] of [
    [2, 250],
    [3, 500],
    [4, 1_000],
    [5, 2_000],
  ] as const) {
    await until(() =>
      expect(clock.pending()).toEqual([expect.toSatisfy((left) => left > ms / 3 && left <= ms)]),
    )
    clock.advance(ms)
    expect(clients).toHaveLength(tries)
  }
  expect([listener.listening(), onGap.mock.calls]).toEqual([false, []])
})

it('does not believe a LISTEN that brings nothing, tries again each minute, and believes it once it does', async () => {
  const clock = handClock()
  let where = elsewhere // as behind a transaction pooler: LISTEN succeeds, and what is said never arrives
  const { listener, onGap, clients } = listen({ clock, open: (options) => where.connect(options) })
  await until(() => expect(onGap).toHaveBeenCalledTimes(1))
  clock.advance(2_000)
  expect(listener.listening()).toBe(false)
  where = database
  clock.advance(57_000)
  expect(clients).toHaveLength(1)
  clock.advance(1_000)
  await trusted(listener)
  expect(clients).toHaveLength(2)
})

it('stops believing a connection that went deaf within a minute, and makes a new one a minute later', async () => {
  const clock = handClock()
  const { listener, clients } = listen({ clock })
  await trusted(listener)
  await clients[0]?.unsafe(`unlisten ${CHANNEL}`)
  clock.advance(60_000)
  clock.advance(2_000)
  expect(listener.listening()).toBe(false)
  clock.advance(58_000)
  await trusted(listener)
  expect(clients).toHaveLength(2)
})

it.each(['not json', '{"kind":7}', '[]', ''])('takes %j for a gap', async (payload) => {
  const { listener, onGap, news } = listen()
  await trusted(listener)
  await database.sql`select pg_notify(${CHANNEL}, ${payload})`
  await until(() => expect(onGap).toHaveBeenCalledTimes(2))
  expect([news, listener.listening()]).toEqual([[], true])
})

it('ignores the echoes of other processes', async () => {
  const [one, two] = [listen(), listen()]
  await Promise.all([trusted(one.listener), trusted(two.listener)])
  expect([one.news, two.news]).toEqual([[], []])
})

it('says nothing after it was closed', async () => {
  const { listener, news } = listen()
  await trusted(listener)
  await listener.close()
  await tell(database.sql, { kind: 'late' })
  expect([listener.listening(), news]).toEqual([false, []])
})
