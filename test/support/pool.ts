/**
 * A whole pool within the test's own process: both halves on a database of the run's server, and the emulator with real
 * processes in a temporary folder. Its clock may jump: deadlines of minutes pass at once.
 */
import { readConfig } from '../../deploy/config.ts'
import { createLog } from '../../deploy/log.ts'
import { type Role, runPool } from '../../deploy/run.ts'
import { type Clock, systemClock } from '../../specs/clock.ts'
import { type TestDatabase, testDatabase } from './database.ts'
import { emulatedSprites } from './emulated-sprites.ts'
import { poolClient } from './pool-client.ts'
import { QUICK, removeDataDir, temporaryFolder } from './pool-process.ts'
import { until } from './until.ts'

export const KEY = 'the-key-of-this-test-0123456789'

export interface PoolOptions {
  env?: Record<string, string>
  role?: Role
  /** Another process of the same pool: its database, which it does not drop. */
  database?: TestDatabase
  dataDir?: string
}

export type TestPool = Awaited<ReturnType<typeof startPool>>

export async function startPool({ env = {}, role = 'all', ...given }: PoolOptions = {}) {
  const database = given.database ?? (await testDatabase())
  const dataDir = given.dataDir ?? temporaryFolder()
  const variables = {
    ...QUICK,
    HOST: '127.0.0.1',
    POOL_API_KEY: KEY,
    POOL_MIN_IDLE: '1',
    POOL_MAX_TOTAL: '6',
    ...env,
    DATABASE_URL: urlOf(database),
    POOL_DATA_DIR: dataDir,
  }
  const config = readConfig(variables)
  const logs: string[] = []
  const clock = jumpingClock()
  const pool = await runPool(
    config,
    variables,
    role,
    createLog(config, { write: (line) => logs.push(line) }),
    clock,
  )
  let running = true
  const stop = async () => {
    if (running) await pool.stop()
    running = false
  }
  return {
    ...poolClient(pool.url, KEY),
    /** As somebody without a key. */
    openly: poolClient(pool.url, null),
    dataDir,
    database,
    sql: database.sql,
    sprites: emulatedSprites(pool.world.sprites.baseUrl, pool.world.sprites.token),
    logs: () => logs.join(''),
    stop,
    /**
     * So much time is over at once, for the pool and its database: a wall clock that jumps. Timers go on as they were, a
     * tick looks at all that is due; the lease goes with it, so that nothing changes hands.
     */
    async pass(ms: number) {
      clock.jump(ms)
      await database.sql.begin(async (tx) => {
        await tx`update leases set expires_at = expires_at + make_interval(secs => ${ms / 1000})`
        await tx.unsafe(
          `create or replace function pool_now() returns timestamptz language sql volatile as
           $$ select clock_timestamp() + interval '${clock.ahead()} milliseconds' $$`,
        )
      })
    },
    /** Resolves when the pool was planned and its keys were looked at so many times more. */
    async looks(times: number) {
      const planned = async () => {
        const text = (await poolClient(pool.url, null).ask('GET', '/metrics')).text
        return (['plan', 'sweep', 'listing'] as const).map((controller) => {
          const counted = new RegExp(`^reconcile_total\\{.*controller="${controller}".*\\} (\\d+)`, 'gm')
          return [...text.matchAll(counted)].reduce((sum, [, n]) => sum + Number(n), 0)
        })
      }
      const before = await planned()
      await until(async () => (await planned()).every((n, i) => n >= (before[i] ?? 0) + times), {
        what: `looked at ${times} times`,
      })
    },
    /** Stops it and removes what it was made of. */
    async remove() {
      await stop()
      await removeDataDir(dataDir)
      if (!given.database) await database.drop()
    },
  }
}

/** In libpq's spelling of a socket. */
export function urlOf({ place }: TestDatabase): string {
  if (!('socket' in place)) return place.url
  const { host, database, username } = place.socket
  return `postgres:///${database}?${new URLSearchParams({ host, user: username })}`
}

export interface JumpingClock extends Clock {
  jump(ms: number): void
  /** ms that it is ahead of the system's. */
  ahead(): number
}

export function jumpingClock(): JumpingClock {
  let ahead = 0
  return {
    now: () => systemClock.now() + ahead,
    monotonic: systemClock.monotonic,
    after: systemClock.after,
    jump(ms) {
      ahead += ms
    },
    ahead: () => ahead,
  }
}
