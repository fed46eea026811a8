/** The two halves on one world. What `npm start` runs, and what a test runs without a process of its own. */
import type { Logger } from 'pino'
import { collectDefaultMetrics, Registry } from 'prom-client'
import { startApi } from '../api/main.ts'
import { specVariables } from '../controller/environment.ts'
import { createGatewayClient } from '../controller/gateway/client.ts'
import { startController } from '../controller/main.ts'
import { controllerMetrics } from '../controller/metrics.ts'
import { createSpritesClient } from '../controller/sprites/client.ts'
import { type Clock, systemClock } from '../specs/clock.ts'
import { systemRandom } from '../specs/random.ts'
import type { Config, Env } from './config.ts'
import { spriteFiles } from './sprite/templates.ts'
import { readVersion } from './version.ts'
import { openWorld, type World } from './world.ts'

export type Role = 'all' | 'api' | 'controller'

export interface RunningPool {
  /** Where the API answers; for the controller alone, its health and metrics. */
  url: string
  world: World
  /** In order: intake, the lease and what is under way, the emulator, the database. */
  stop(): Promise<void>
}

/**
 * @param clock whose time both halves live in; a test may let it jump.
 * @param signal ends a start between two of its parts; what had begun is ended in order, then its reason is thrown.
 */
export async function runPool(
  config: Config,
  env: Env,
  role: Role,
  log: Logger,
  clock: Clock = systemClock,
  signal?: AbortSignal,
): Promise<RunningPool> {
  const world = await openWorld(config, {
    log,
    signal,
    specVariables: specVariables(env),
    withSprites: role !== 'api',
  })
  try {
    const registry = new Registry()
    collectDefaultMetrics({ register: registry })
    const controller = role === 'api' ? null : startControllerOn(config, env, world, registry, log, clock)
    const api = await startApi(
      {
        sql: world.sql,
        clock,
        random: systemRandom,
        news: world.news,
        registry,
        log,
        config: {
          environment: config.environment,
          badge: config.badge,
          apiKey: world.apiKey,
          metricsToken: config.metricsToken,
          trustProxy: config.trustProxy,
          specDefaults: world.specDefaults,
          xmtpEnv: config.xmtpEnv,
          version: { ...readVersion(env), startedAt: new Date(clock.now()) },
          closeWithinMs: 5_000,
        },
      },
      { host: config.host, port: config.port, serves: role === 'controller' ? 'health' : 'all' },
    ).catch(async (error: unknown) => {
      await controller?.stop()
      throw error
    })
    return {
      url: api.url,
      world,
      async stop() {
        await Promise.all([api.close(), controller?.stop()])
        await world.close()
      },
    }
  } catch (error) {
    await world.close()
    throw error
  }
}

function startControllerOn(
  config: Config,
  env: Env,
  world: World,
  registry: Registry,
  log: Logger,
  clock: Clock,
) {
  const metrics = controllerMetrics(registry)
  const observe =
    (outside: 'sprites' | 'gateway') => (call: { operation: string; status: number | 'error'; ms: number }) =>
      metrics.called(outside, call.operation, classOf(call.status), call.ms / 1000)
  return startController({
    sql: world.sql,
    clock,
    random: systemRandom,
    sprites: createSpritesClient({ ...world.sprites, clock, observeCall: observe('sprites') }),
    gateway: createGatewayClient({ clock, observeCall: observe('gateway') }),
    files: spriteFiles,
    news: world.news,
    log,
    metrics,
    config: {
      namePrefix: `${config.namePrefix}-${config.environment}`,
      account: world.sprites.baseUrl,
      anthropicApiKey: config.anthropicApiKey,
      tickMs: config.tickMs,
      reconcileMs: config.reconcileMs,
      eventsDays: config.eventsDays,
      specVariables: specVariables(env),
    },
  })
}

const classOf = (status: number | 'error') => (status === 'error' ? 'error' : `${Math.floor(status / 100)}xx`)
