/** The waiting line as its members see it. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { estimateSeconds } from '../../api/line.ts'
import { hasRole } from '../../api/plugins/auth.ts'
import type { Outlook } from '../../specs/db/line.ts'
import { startWorld, type World } from './support.ts'

describe('an estimate', () => {
  const outlook = (more: Partial<Outlook>): Outlook => ({
    buildSeconds: 300,
    building: [],
    recycling: 0,
    alive: 0,
    ...more,
  })
  const limits = { createConcurrency: 2, createsPerMinute: 10 }

  it.each([
    [
      'says nothing while no build has ended yet',
      1,
      { buildSeconds: null, building: [{ ageSeconds: 9 }] },
      null,
    ],
    [
      'is the rest of the build that is nearest to its end',
      1,
      { building: [{ ageSeconds: 10 }, { ageSeconds: 200 }] },
      100,
    ],
    ['counts those ahead', 2, { building: [{ ageSeconds: 10 }, { ageSeconds: 200 }] }, 290],
    ['takes a recycling one first', 1, { building: [{ ageSeconds: 10 }], recycling: 1 }, 30],
    ['knows of a recycling one even before any build', 1, { buildSeconds: null, recycling: 1 }, 30],
    ['is never in the past for a build that takes longer', 1, { building: [{ ageSeconds: 900 }] }, 1],
    ['is a build for what is not begun', 1, {}, 300],
    ['is two rounds where two are built at a time', 3, {}, 600],
    ['says nothing where only a release can help', 1, { alive: 10 }, null],
  ] as const)('%s', (_, position, more, seconds) => {
    expect(estimateSeconds(position, outlook(more as Partial<Outlook>), { maxTotal: 10, limits })).toBe(
      seconds,
    )
  })
})

it.each([
  ['viewer', false],
  ['claimer', false],
  ['operator', true],
  ['admin', true],
] as const)('a %s may jump the queue: %s', (role, may) => {
  expect(hasRole({ name: 'x', role }, 'operator')).toBe(may)
})

describe('over HTTP', () => {
  let world: World
  beforeAll(async () => {
    world = await startWorld()
  })
  afterEach(() => world.stage.clear())
  afterAll(() => world?.close())

  const wait = (agentName: string, more: object = {}) =>
    world.ask('POST', '/api/pool/claim', {
      payload: { agentName, instructions: 'Help.', ...more },
      headers: { prefer: 'wait=0' },
    })

  it('each is told its place and when, in the 202, by GET and in the list', async () => {
    const built = await world.stage.shelve(1)
    await world.sql`update instances set created_at = first_ready_at - interval '200 seconds', wanted = 'absent' where id = ${built[0] ?? ''}`
    await world.stage.build(1)
    await world.sql`update instances set created_at = created_at - interval '50 seconds' where phase = 'installing'`
    const first = await wait('first')
    const second = await wait('second')
    expect(first).toMatchObject({ status: 202, body: { position: 1 } })
    expect(first.body.estimateSeconds).toBeGreaterThan(140)
    expect(first.body.estimateSeconds).toBeLessThanOrEqual(150)
    expect(second.body).toMatchObject({ position: 2, estimateSeconds: 200 }) // built when its turn comes
    const urgent = await wait('urgent', { priority: 3 })
    expect(urgent.body).toMatchObject({ position: 1 })
    const { body } = await world.ask('GET', `/api/pool/claims/${second.body.claimId}`)
    expect(body).toMatchObject({ phase: 'Waiting', position: 3, estimateSeconds: 200 })
    const { items } = (await world.ask('GET', '/api/pool/claims')).body
    expect(items.map(({ position }: { position: number }) => position)).toEqual([1, 3, 2])
  })

  it('one that is cancelled leaves the line at once, and those behind it move up', async () => {
    const first = await wait('first')
    const second = await wait('second')
    await world.ask('DELETE', `/api/pool/claims/${first.body.claimId}`)
    const { body } = await world.ask('GET', `/api/pool/claims/${second.body.claimId}`)
    expect(body).toMatchObject({ position: 1, estimateSeconds: null })
    await world.stage.endUnbegun()
    expect((await world.ask('GET', `/api/pool/claims/${first.body.claimId}`)).body).toMatchObject({
      phase: 'Cancelled',
      position: null,
    })
  })

  it('one that waits past its deadline is Expired with the reason', async () => {
    const { body } = await wait('late')
    await world.sql`update claims set deadline_at = now()`
    await world.stage.endUnbegun()
    expect((await world.ask('GET', `/api/pool/claims/${body.claimId}`)).body).toMatchObject({
      phase: 'Expired',
      reason: 'DeadlineExceeded',
    })
  })
})
