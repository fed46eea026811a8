import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startWorld, type World } from './support.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.close())

describe('health', () => {
  it('is alive without a key', async () => {
    expect(await world.askOpenly('GET', '/healthz')).toMatchObject({ status: 200, body: { ok: true } })
  })

  it('is ready when its database answers, and says whether anybody leads', async () => {
    expect(await world.askOpenly('GET', '/readyz')).toMatchObject({
      status: 200,
      body: { ok: true, database: true, leader: true },
    })
  })
})
