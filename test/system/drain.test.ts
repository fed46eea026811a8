import { afterAll, beforeAll, expect, it } from 'vitest'
import { sleep, systemClock } from '../../specs/clock.ts'
import { startPool, type TestPool } from '../support/pool.ts'
import { commit } from '../support/standin.ts'

const MAX_TOTAL = 5

let pool: TestPool
beforeAll(async () => {
  pool = await startPool({ env: { POOL_MIN_IDLE: '4', POOL_MAX_TOTAL: String(MAX_TOTAL) } })
  await pool.settle({ idle: 4 })
})
afterAll(() => pool.remove())

/** The most that were alive at one time, by the rows and by the provider, looked at without a pause. */
function watch(): { stop(): Promise<{ rows: number; sprites: number }> } {
  const end = new AbortController()
  const most = { rows: 0, sprites: 0 }
  const watching = (async () => {
    while (!end.signal.aborted) {
      const [row] = await pool.sql<{ n: number }[]>`select count(*)::int as n from instances`
      most.rows = Math.max(most.rows, row?.n ?? 0)
      most.sprites = Math.max(most.sprites, (await pool.sprites.names()).length)
      await sleep(systemClock, 25, end.signal).catch(() => {})
    }
  })()
  return {
    async stop() {
      end.abort()
      await watching
      return most
    },
  }
}

it('replaces the two oldest of four by builds of the newest commit, and never has more alive than maxTotal', async () => {
  const before = await pool.instances() // newest first
  const [oldCommit] = new Set(before.map((instance) => instance.commit))
  const newCommit = await commit(pool, { 'NEWS.md': 'A new version.' })
  const watching = watch()
  const { status, body } = await pool.ask('POST', '/api/pool/drain', { count: 2 })
  expect({ status, drained: body.drained }).toEqual({ status: 200, drained: 2 })
  await pool.settle({ idle: 4, provisioning: 0, deleting: 0 })
  const most = await watching.stop()
  expect(most.rows).toBeLessThanOrEqual(MAX_TOTAL)
  expect(most.sprites).toBeLessThanOrEqual(MAX_TOTAL)

  const after = await pool.instances()
  const commits = after.map((instance) => instance.commit).sort()
  expect(commits).toEqual([newCommit, newCommit, oldCommit, oldCommit].sort())
  const byReady = before.toSorted((a, b) => (a.readyAt < b.readyAt ? -1 : 1)).map(({ id }) => id)
  const kept = after.map(({ id }) => id).filter((id) => byReady.includes(id))
  expect(kept.sort()).toEqual(byReady.slice(2).sort())
})

it('never drains one that is claimed or protected, however many it is asked for', async () => {
  await pool.settle({ idle: 4, provisioning: 0, deleting: 0 })
  await pool.get('PATCH', '/api/pool/spec', { minIdle: 0 })
  const claimed = (await pool.claim({})).body.instanceId
  const [idle] = (await pool.instances()).filter((instance) => instance.status === 'idle')
  await pool.get('PATCH', `/api/pool/instances/${idle.id}`, { protected: true })
  const { body } = await pool.ask('POST', '/api/pool/drain', { all: true })
  expect(body.drained).toBe(2)
  await pool.settle({ idle: 1, claimed: 1, deleting: 0 })
  expect((await pool.instances()).map(({ id }) => id).sort()).toEqual([claimed, idle.id].sort())
})
