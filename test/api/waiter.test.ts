import { expect, it } from 'vitest'
import { createWaiter } from '../../api/waiter.ts'
import { virtualClock } from '../support/virtual-clock.ts'
import { fakeNews } from './fakes.ts'

interface Thing {
  id: string
  done: boolean
}
const isDone = (thing: Thing) => thing.done

function setUp(read: (ids: readonly string[]) => Promise<Thing[]>) {
  const clock = virtualClock()
  const news = fakeNews()
  const reads: string[][] = []
  const waiter = createWaiter<Thing>({
    news,
    clock,
    kind: 'done',
    read: (ids) => {
      reads.push([...ids])
      return read(ids)
    },
  })
  return { clock, news, reads, waiter }
}

const allDone = async (ids: readonly string[]) => ids.map((id) => ({ id, done: true }))
const noneDone = async (ids: readonly string[]) => ids.map((id) => ({ id, done: false }))

it('reads what the news name, and nothing before', async () => {
  const { news, reads, waiter } = setUp(allDone)
  const ended = waiter.wait('a', isDone, { timeoutMs: 1000 })
  expect(reads).toEqual([])
  news.tell('done', { ids: ['somebody else’s'] })
  news.tell('another kind', { ids: ['a'] })
  expect(reads).toEqual([])
  news.tell('done', { ids: ['a', 'somebody else’s'] })
  expect(await ended).toEqual({ id: 'a', done: true })
  expect(reads).toEqual([['a']])
})

it('answers a thousand waits with one statement while another runs', async () => {
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const { news, reads, waiter } = setUp(async (ids) => {
    await held
    return allDone(ids)
  })
  const names = Array.from({ length: 1000 }, (_, n) => `w${n}`)
  const all = names.map((name) => waiter.wait(name, isDone, { timeoutMs: 1000 }))
  for (const name of names) news.tell('done', { ids: [name] })
  release()
  await Promise.all(all)
  expect(reads.map((ids) => ids.length)).toEqual([1, 999])
})

it.each([
  ['each 5 s while news reach us', true, 5000],
  ['each 250 ms while they do not', false, 250],
])('looks by itself %s', async (_, hears, ms) => {
  const { clock, news, reads, waiter } = setUp(noneDone)
  news.hears = hears
  const ended = waiter.wait('a', isDone, { timeoutMs: 60_000 })
  await clock.advance(ms - 1)
  expect(reads).toHaveLength(0)
  await clock.advance(1)
  expect(reads).toHaveLength(1)
  await clock.advance(ms)
  expect(reads).toHaveLength(2)
  waiter.close()
  expect(await ended).toBeNull()
})

it('looks at everything after a gap', async () => {
  const { news, waiter } = setUp(allDone)
  const ended = ['a', 'b'].map((id) => waiter.wait(id, isDone, { timeoutMs: 1000 }))
  news.gap()
  expect(await Promise.all(ended)).toHaveLength(2)
})

it('ends at its deadline, when the caller leaves, and when the server closes', async () => {
  const { clock, waiter } = setUp(noneDone)
  const caller = new AbortController()
  const late = waiter.wait('a', isDone, { timeoutMs: 100 })
  const left = waiter.wait('a', isDone, { timeoutMs: 1000, signal: caller.signal })
  const closed = waiter.wait('a', isDone, { timeoutMs: 1000 })
  await clock.advance(100)
  caller.abort()
  waiter.close()
  expect(await Promise.all([late, left, closed])).toEqual([null, null, null])
  expect(clock.waiting()).toBe(0)
})

it('takes a read that fails for no answer, and reads again', async () => {
  let calls = 0
  const { clock, news, waiter } = setUp(async (ids) => {
    calls += 1
    if (calls === 1) throw new Error('the database is away')
    return allDone(ids)
  })
  const ended = waiter.wait('a', isDone, { timeoutMs: 60_000 })
  news.tell('done', { ids: ['a'] })
  await clock.advance(5000)
  expect(await ended).toEqual({ id: 'a', done: true })
})
