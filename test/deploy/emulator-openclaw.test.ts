import { join } from 'node:path'
import { expect, it } from 'vitest'
import { createSpritesClient } from '../../controller/sprites/client.ts'
import { ensureStandinRepo } from '../../deploy/local/standin-repo.ts'
import {
  GATEWAY_PORT,
  openclawJson,
  readSpriteFile,
  SCRIPT_MODE,
  SECRET_MODE,
  SETUP_ARGV,
  SPRITE_PATHS,
  setupEnv,
  setupStatusSchema,
} from '../../deploy/sprite/templates.ts'
import { systemClock } from '../../specs/clock.ts'
import { isRunning, startWorld, TOKEN, temporaryFolder, until } from './emulator-world.ts'

it('builds OpenClaw, seals it, serves a conversation and is as new after a restore', async () => {
  const world = await startWorld()
  const repo = await ensureStandinRepo({ dir: join(await temporaryFolder(), 'openclaw') })
  const sprites = createSpritesClient({ baseUrl: world.base, token: TOKEN, clock: systemClock })
  const { url } = await sprites.create({ name: 'claw', labels: ['pool'] })

  // Built by the very script that a real Sprite gets.
  await sprites.writeFile('claw', SPRITE_PATHS.setupScript, readSpriteFile('setup.sh'), { mode: SCRIPT_MODE })
  await sprites.writeFile('claw', SPRITE_PATHS.gatewayScript, readSpriteFile('gateway.sh'), {
    mode: SCRIPT_MODE,
  })
  const request = { attempt: 'try-1', repo: repo.url, ref: 'staging', commit: null }
  await sprites.writeFile('claw', SPRITE_PATHS.setupEnv, setupEnv(request), { mode: '0644' })
  expect(await sprites.exec('claw', SETUP_ARGV)).toMatchObject({ exitCode: 0 })
  const built = await until(async () => {
    const bytes = await sprites.readFile('claw', SPRITE_PATHS.setupStatus)
    const status = setupStatusSchema.parse(JSON.parse(Buffer.from(bytes ?? []).toString()))
    expect(status).not.toMatchObject({ exit: null })
    return status
  })
  expect(built).toMatchObject({ attempt: 'try-1', exit: 0, error: null, commit: expect.any(String) })

  const made = await sprites.createCheckpoint('claw', 'try-1')
  expect(made.outcome).toBe('complete')
  const [checkpoint] = await sprites.listCheckpoints('claw')
  expect(checkpoint).toMatchObject({ id: 'v1', comment: 'try-1' })

  async function serve(gatewayKey: string): Promise<(path: string, body?: object) => Promise<Response>> {
    const config = openclawJson({ xmtpEnv: 'dev', gatewayKey, gatewayToken: 'token' })
    await sprites.writeFile('claw', SPRITE_PATHS.openclawJson, config, { mode: SECRET_MODE })
    await sprites.writeFile('claw', SPRITE_PATHS.dotEnv, '', { mode: SECRET_MODE })
    const cmd = SPRITE_PATHS.gatewayScript
    await world.lines('PUT', '/sprites/claw/services/gateway?duration=1ms', { cmd, http_port: GATEWAY_PORT })
    const call = (path: string, body?: object, patienceMs = 10_000) =>
      fetch(url + path, {
        headers: { authorization: `Bearer ${gatewayKey}` },
        signal: AbortSignal.timeout(patienceMs),
        ...(body ? { method: 'POST', body: JSON.stringify(body) } : {}),
      })
    // A request that came before the gateway listened hangs for ever: ask again, soon.
    await until(async () => expect((await call('/convos/status', undefined, 300)).status).toBe(200))
    return call
  }

  const call = await serve('first-key-of-this-sprite')
  const answer = await call('/convos/conversation', { name: 'A', instructions: 'be kind', env: 'dev' })
  expect([answer.status, await answer.json()]).toEqual([
    200,
    expect.objectContaining({ inviteUrl: expect.any(String) }),
  ])
  expect(await (await call('/convos/status')).json()).toMatchObject({
    conversation: { id: expect.any(String) },
  })
  const gateway = (await world.json('GET', '/sprites/claw/services/gateway')).body.state.pid

  const restored = await sprites.restoreCheckpoint('claw', 'v1')
  expect(restored.outcome).toBe('complete')
  expect(await isRunning(gateway)).toBe(false)
  expect(await sprites.listServices('claw')).toEqual([])
  for (const path of [SPRITE_PATHS.convos, SPRITE_PATHS.openclawJson, SPRITE_PATHS.instructions]) {
    expect(await sprites.readFile('claw', path)).toBe(null)
  }

  const again = await serve('second-key-of-this-sprite')
  expect(await (await again('/convos/status')).json()).toMatchObject({ ready: true, conversation: null })
  await world.close()
}, 60_000)
