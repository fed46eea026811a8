/** What a pool stands on, made ready in order: a database that is migrated and ours, and Sprites, real or emulated. */
import { join } from 'node:path'
import type { Logger } from 'pino'
import { systemClock } from '../specs/clock.ts'
import { connect, type Place, type Sql } from '../specs/db/connect.ts'
import { migrate } from '../specs/db/migrate.ts'
import { createNewsHub, type NewsHub } from '../specs/db/news-hub.ts'
import { claimDatabase, ensurePool } from '../specs/db/pools.ts'
import { defaultSpec, type PoolSpec } from '../specs/pool.ts'
import { systemRandom } from '../specs/random.ts'
import type { Config } from './config.ts'
import { keptKeys } from './keys.ts'
import { startEmbeddedPostgres } from './local/embedded-postgres.ts'
import { DataDirInUse } from './local/emulator/data-dir.ts'
import { checkTools, startEmulator } from './local/emulator/start.ts'
import { ensureStandinRepo } from './local/standin-repo.ts'

export interface World {
  sql: Sql
  news: NewsHub
  sprites: { baseUrl: string; token: string }
  apiKey: string
  /** The key was made up here and must be shown to whoever starts it. */
  keyWasMade: boolean
  specDefaults: PoolSpec
  /** One line for each part that is embedded. */
  embedded: string[]
  close(): Promise<void>
}

/** Something that only a person can put right; the message says how. */
export class CannotStart extends Error {
  override readonly name = 'CannotStart'
}

/** Somebody asked for its end while it was starting. */
export class Stopped extends Error {
  override readonly name = 'Stopped'
}

/** The emulator has no limit of its own: a laptop fills its pool as fast as it can. */
const EMULATED_CREATES_PER_MINUTE = 600
const REAL_CREATES_PER_MINUTE = 10
export const DEFAULT_POOL = 'default'

/**
 * @param specVariables what of the environment the first boot's spec is made of.
 * @param withSprites false: the API alone, which never calls a Sprite.
 * @param signal looked at between two parts.
 * @throws CannotStart, ConfigError, the signal's reason
 */
export async function openWorld(
  config: Config,
  options: {
    log: Logger
    specVariables: Record<string, string>
    withSprites: boolean
    signal?: AbortSignal | undefined
  },
): Promise<World> {
  const { log, signal } = options
  const closers: (() => Promise<void>)[] = []
  const close = async () => {
    for (const end of closers.reverse())
      await end().catch((error: unknown) => log.warn({ error: String(error) }, 'an orderly end failed'))
  }
  try {
    const embedded: string[] = []
    const needsKeys = config.apiKey === null || config.sprites.kind === 'emulator'
    const keys = needsKeys ? await keptKeys(config.dataDir, systemRandom) : null
    const apiKey = config.apiKey ?? keys?.apiKey
    if (!apiKey) throw new CannotStart('POOL_API_KEY is missing')

    const { place, listenPlace } = await openDatabase(config, closers, embedded, log)
    signal?.throwIfAborted()
    // On a connection of its own: the timeouts that it gives our role hold for later connections only.
    const migrator = connect(place, { applicationName: 'clawpool migrate', max: 1 })
    const { applied } = await migrate(migrator).finally(() => migrator.end({ timeout: 5 }))
    if (applied.length > 0) log.info({ applied }, 'the database was migrated')
    const sql = connect(place, { applicationName: 'clawpool', max: 10 })
    closers.push(() => sql.end({ timeout: 5 }))
    signal?.throwIfAborted()

    const spritesApi = config.sprites.kind === 'api' ? config.sprites.baseUrl : 'emulator'
    const owner = await claimDatabase(sql, { environment: config.environment, spritesApi })
    if (owner)
      throw new CannotStart(
        `This database belongs to the pool of ${owner.environment} (Sprites of ${owner.spritesApi}), but this process is ` +
          `${config.environment} (Sprites of ${spritesApi}). Point DATABASE_URL at a database of its own, or correct ` +
          'POOL_ENVIRONMENT and SPRITES_API_URL.',
      )

    const sprites = await openSprites(config, keys?.emulatorToken ?? '', options, closers, embedded)
    signal?.throwIfAborted()
    const specDefaults = defaultSpec({
      minIdle: config.minIdle.value,
      maxTotal: config.maxTotal.value,
      template: {
        openclawRef: config.openclaw.ref,
        openclawRepo: config.openclaw.repo ?? sprites.standinRepo ?? '',
        xmtpEnv: config.xmtpEnv,
      },
      healIntervalSeconds: Math.max(1, Math.round(config.heartbeatMs / 1000)),
      createsPerMinute: config.sprites.kind === 'api' ? REAL_CREATES_PER_MINUTE : EMULATED_CREATES_PER_MINUTE,
    })
    await ensurePool(sql, {
      name: DEFAULT_POOL,
      uid: systemRandom.word(16),
      spec: specDefaults,
      appliedEnvironment: options.specVariables,
    })

    const news = createNewsHub({
      sql,
      connect: (hooks) => connect(listenPlace, { applicationName: 'clawpool listen', max: 1, ...hooks }),
      clock: systemClock,
      random: systemRandom,
    })
    closers.push(() => news.close())
    return { sql, news, sprites, apiKey, keyWasMade: config.apiKey === null, specDefaults, embedded, close }
  } catch (error) {
    await close()
    throw error
  }
}

async function openDatabase(
  config: Config,
  closers: (() => Promise<void>)[],
  embedded: string[],
  log: Logger,
): Promise<{ place: Place; listenPlace: Place }> {
  if (config.database.kind === 'url') {
    const { url, directUrl } = config.database
    return { place: { url }, listenPlace: { url: directUrl ?? url } }
  }
  const postgres = await startEmbeddedPostgres({
    dataDir: config.dataDir,
    log: (line) => log.debug({ line }, 'postgres'),
  })
  closers.push(() => postgres.stop())
  embedded.push(`Postgres in ${join(config.dataDir, 'pg')}`)
  const place = { socket: postgres.connection }
  return { place, listenPlace: place }
}

async function openSprites(
  config: Config,
  token: string,
  options: { log: Logger; withSprites: boolean },
  closers: (() => Promise<void>)[],
  embedded: string[],
): Promise<{ baseUrl: string; token: string; standinRepo: string | null }> {
  if (config.sprites.kind === 'api')
    return { baseUrl: config.sprites.baseUrl, token: config.sprites.token, standinRepo: null }
  const standinDir = join(config.dataDir, 'openclaw-standin.git')
  const missing = await checkTools()
  if (missing) throw new CannotStart(missing)
  const standin = await ensureStandinRepo({ dir: standinDir }).catch((error: unknown) => {
    throw new CannotStart(error instanceof Error ? error.message : String(error))
  })
  if (!options.withSprites) return { baseUrl: '', token, standinRepo: standin.url }
  const emulator = await startEmulator({ dataDir: join(config.dataDir, 'sprites'), token }).catch(
    (error: unknown) => {
      throw error instanceof DataDirInUse ? new CannotStart(error.message) : error
    },
  )
  closers.push(() => emulator.close())
  embedded.push(`Sprites emulator at ${emulator.url}, in ${join(config.dataDir, 'sprites')}`)
  embedded.push(`OpenClaw stand-in: ${standin.url} (a new commit there is a new version)`)
  return { baseUrl: emulator.url, token, standinRepo: standin.url }
}
