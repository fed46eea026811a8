/** OpenClaw inside a Sprite of either engine: built and served by our own scripts, through our own clients. */
import { join } from 'node:path'
import { expect } from 'vitest'
import { createGatewayClient } from '../../../controller/gateway/client.ts'
import { createSpritesClient } from '../../../controller/sprites/client.ts'
import { controlEmulator } from '../../../deploy/local/emulator/control.ts'
import type { EmulatorConfig } from '../../../deploy/local/emulator/start.ts'
import { commitStandin, ensureStandinRepo } from '../../../deploy/local/standin-repo.ts'
import {
  GATEWAY_PORT,
  openclawJson,
  readSpriteFile,
  SETUP_ARGV,
  SPRITE_PATHS,
  setupEnv,
  setupStatusSchema,
} from '../../../deploy/sprite/templates.ts'
import { systemClock } from '../../../specs/clock.ts'
import { startWorld, TOKEN, temporaryFolder, until } from '../emulator-world.ts'

export type EngineName = 'process' | 'memory'
export type OpenclawWorld = Awaited<ReturnType<typeof startOpenclawWorld>>

/** An emulator with a repository to build from, which pushes of new versions go to. */
export async function startOpenclawWorld(engine: EngineName, config: Partial<EmulatorConfig> = {}) {
  const world = await startWorld({ ...config, engine })
  const sprites = createSpritesClient({ baseUrl: world.base, token: TOKEN, clock: systemClock })
  const gateway = createGatewayClient({ clock: systemClock })
  const control = controlEmulator({ url: world.base, token: TOKEN })
  const dir = join(await temporaryFolder(), 'openclaw')
  const repo = engine === 'process' ? (await ensureStandinRepo({ dir })).url : 'https://example.com/openclaw'

  /** A commit on `staging` that behaves so. */
  async function push(behaviour: Record<string, unknown>): Promise<string> {
    if (engine === 'process') {
      const usual = {
        bootMs: 0,
        buildMs: 0,
        failBuild: false,
        neverReady: false,
        failClaims: false,
        extraField: false,
      }
      const files = { 'standin.json': JSON.stringify({ ...usual, ...behaviour }) }
      return commitStandin({ dir, branch: 'staging', files, message: 'another version' })
    }
    return control.push('staging', behaviour)
  }

  async function build(name: string, attempt = 'try-1', ref = 'staging') {
    await sprites.writeFile(name, SPRITE_PATHS.setupScript, readSpriteFile('setup.sh'), { mode: '0755' })
    await sprites.writeFile(name, SPRITE_PATHS.gatewayScript, readSpriteFile('gateway.sh'), { mode: '0755' })
    await sprites.writeFile(name, SPRITE_PATHS.joinsScript, readSpriteFile('joins.sh'), { mode: '0755' })
    await sprites.writeFile(name, SPRITE_PATHS.setupEnv, setupEnv({ attempt, repo, ref, commit: null }), {
      mode: '0644',
    })
    expect(await sprites.exec(name, SETUP_ARGV)).toMatchObject({ exitCode: 0 })
    return until(async () => {
      const bytes = await sprites.readFile(name, SPRITE_PATHS.setupStatus)
      const status = setupStatusSchema.parse(JSON.parse(Buffer.from(bytes ?? []).toString()))
      expect(status).toMatchObject({ attempt, exit: expect.any(Number) })
      return status
    })
  }

  /** Starts the gateway with this key. Resolves when it listens, unless it is one that never does. */
  async function serve(name: string, url: string, key: string, listens = true): Promise<void> {
    const config = openclawJson({ xmtpEnv: 'dev', gatewayKey: key, gatewayToken: 'token' })
    await sprites.writeFile(name, SPRITE_PATHS.openclawJson, config, { mode: '0600' })
    await sprites.writeFile(name, SPRITE_PATHS.dotEnv, '', { mode: '0600' })
    const cmd = SPRITE_PATHS.gatewayScript
    await world.lines('PUT', `/sprites/${name}/services/gateway?duration=1ms`, {
      cmd,
      http_port: GATEWAY_PORT,
    })
    // A request that came before the gateway listened hangs for ever: ask again, soon.
    if (listens)
      await until(async () =>
        expect(await gateway.status(url, key, { timeoutMs: 300 })).toMatchObject({ kind: 'up' }),
      )
  }

  /** A Sprite with a gateway that listens. */
  async function claw(name: string, key = 'a-key-of-this-life') {
    const { url } = await sprites.create({ name, labels: [] })
    expect(await build(name)).toMatchObject({ exit: 0 })
    await serve(name, url, key)
    return { name, url, key }
  }

  return { ...world, control, sprites, gateway, repo, push, build, serve, claw }
}
