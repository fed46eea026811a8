import { afterAll, beforeAll, expect, it } from 'vitest'
import { controlEmulator } from '../../deploy/local/emulator/control.ts'
import { type Emulator, startEmulator } from '../../deploy/local/emulator/start.ts'
import { startPool, type TestPool } from '../support/pool.ts'
import { until } from '../support/until.ts'

/** A whole pool on modelled Sprites: what the real controller makes of the model. */
const TOKEN = 'a/token/of-this/test'
const IDLE = 20
let emulator: Emulator
let pool: TestPool
beforeAll(async () => {
  emulator = await startEmulator({ engine: 'memory', dataDir: '', token: TOKEN })
  pool = await startPool({
    env: {
      SPRITES_API_URL: emulator.url,
      SPRITE_TOKEN: TOKEN,
      OPENCLAW_REPO_URL: 'https://example.com/openclaw',
      POOL_MIN_IDLE: String(IDLE),
      POOL_MAX_TOTAL: '100',
    },
  })
  await pool.get('PATCH', '/api/pool/spec', { limits: { createsPerMinute: 1_000 } })
})
afterAll(async () => {
  await pool.remove()
  await emulator.close()
})

it('fills, serves a claim and recycles on the memory engine', async () => {
  await pool.settle({ idle: IDLE, provisioning: 0 })
  expect(emulator.engine.list()).toHaveLength(IDLE)

  const { status, body } = await pool.claim({ agentName: 'Ada', instructions: 'Be kind.' })
  expect(status).toBe(200)
  expect(body.inviteUrl).toMatch(/^https:\/\/dev\.convos\.org\/v2\?i=/)
  const { spriteName } = await pool.get('GET', `/api/pool/instances/${body.instanceId}`)
  const files = emulator.engine.files(spriteName)
  expect((await files.read('/home/sprite/.openclaw/workspace/INSTRUCTIONS.md')).toString()).toBe('Be kind.')

  await pool.get('DELETE', `/api/pool/instances/${body.instanceId}`)
  await until(
    async () => (await pool.get('GET', `/api/pool/instances/${body.instanceId}`)).status === 'idle',
    { what: 'recycled', deadlineMs: 60_000 },
  )
  await expect(files.read('/home/sprite/.openclaw/workspace/INSTRUCTIONS.md')).rejects.toMatchObject({
    status: 404,
  })
})

it('serves a claim by another Sprite when the first says 500 although it made the conversation', async () => {
  await pool.settle({ provisioning: 0 })
  const control = controlEmulator(emulator)
  await control.inject({ kind: 'lie', status: 500, on: 'gateway.conversation' })
  const { status, body } = await pool.claim({ agentName: 'Bo', instructions: 'Be brave.' })
  expect(status).toBe(200)
  expect(body.inviteUrl).toMatch(/^https:/)
  await control.expectMet()
})

it('builds a ref that is not there once, says so at once, and goes on when the spec names one that is', async () => {
  await pool.settle({ provisioning: 0, recycling: 0, deleting: 0 })
  const { idle } = await pool.counts()
  const breaker = async () => {
    const { conditions } = await pool.get('GET', '/api/pool/status')
    return (conditions as { type: string }[]).find(({ type }) => type === 'BreakerOpen')
  }
  const { template } = (await pool.get('GET', '/api/pool/spec')).spec
  await pool.get('PATCH', '/api/pool/spec', {
    template: { openclawRef: 'no-such-branch' },
    minIdle: idle + 1,
    limits: { createConcurrency: 1 }, // one at a time: what opens it was the first
  })
  await expect
    .poll(breaker, { timeout: 60_000 })
    .toMatchObject({ status: 'True', message: expect.stringContaining('no-such-branch') })
  const { items } = await pool.get('GET', '/api/pool/events?limit=200')
  expect(items.filter(({ reason }: { reason: string }) => reason === 'TemplateRefused')).toHaveLength(1)

  await pool.get('PATCH', '/api/pool/spec', { template: { openclawRef: template.openclawRef } })
  await pool.settle({ idle: idle + 1, provisioning: 0, deleting: 0 })
  expect(await breaker()).toMatchObject({ status: 'False' })
})
