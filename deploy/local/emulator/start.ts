import { once } from 'node:events'
import { resolve } from 'node:path'
import { type Clock, systemClock } from '../../../specs/clock.ts'
import { holdDataDir, readPort, writePort } from './data-dir.ts'
import { type Engine, type Log, silentLog } from './engine.ts'
import { createAftermath } from './faults/aftermath.ts'
import { createFaults, type Faults } from './faults/faults.ts'
import type { Interference } from './faults/interfere.ts'
import { seededRandom } from './faults/seeded-random.ts'
import type { SurfaceOptions } from './http/router.ts'
import { createSurface } from './http/server.ts'
import { openMemoryEngine } from './memory-engine/open.ts'
import { createRepository, type Repository } from './memory-engine/repository.ts'
import type { Operation } from './operations.ts'
import { ownRoutes } from './own-routes.ts'
import { listenOnLoopback } from './ports.ts'
import type { SleepTimes } from './power.ts'
import { openProcessEngine } from './process-engine/open.ts'

export { checkTools } from './process-engine/tools.ts'

export interface EmulatorConfig extends Partial<SurfaceOptions> {
  /** `process`: folders and real processes. `memory`: modelled, gone with this process. */
  engine?: 'process' | 'memory'
  /** Where the Sprites of the process engine live. Made when absent; one emulator at a time. */
  dataDir: string
  /** What callers send as Bearer. */
  token: string
  /** 0: the port of the last run in this data directory, when it is free, else any. */
  port?: number
  clock?: Clock
  log?: Log
  /** Of chance: which requests meet a fault that meets some, and what the memory engine makes up. */
  seed?: string
  /** ms that an answer takes, by operation; by default as fast as it can. */
  latencyMs?: Partial<Record<Operation, number>>
  /** When Sprites fall asleep; null: never by themselves. */
  sleepTimes?: SleepTimes | null
  /** ms that a build takes in the memory engine. */
  setupMs?: number
}

export interface Emulator {
  /** `http://127.0.0.1:<port>`: the base URL of the Sprites API, before `/v1`. */
  url: string
  token: string
  engine: Engine
  faults: Faults
  /** What the memory engine builds from; null: the process engine takes whatever repository it is told to. */
  repository: Repository | null
  /** Ends every process of every Sprite and every connection, and gives the data directory up. */
  close(): Promise<void>
}

/**
 * Sprites on this machine: the Sprites API on a loopback port. `http/` is the wire, `engine.ts` what it stands on,
 * `process-engine/` and `memory-engine/` are the two there are, `faults/` what can go wrong. Throws `DataDirInUse`.
 */
export async function startEmulator(config: EmulatorConfig): Promise<Emulator> {
  const { token, port = 0, clock = systemClock, log = silentLog, sleepTimes = null, setupMs = 0 } = config
  if (token === '') throw new Error('the local Sprites need a token')
  const random = seededRandom(config.seed ?? 'clawpool')
  const faults = createFaults(random)
  const latencyMs = config.latencyMs ?? {}
  const interference: Interference = { faults, aftermath: createAftermath(clock), clock, latencyMs }
  const repository = config.engine === 'memory' ? createRepository() : null
  const held = repository ? null : await holdDataDir(resolve(config.dataDir))
  try {
    const shared = { token, log, interference, sleepTimes }
    const engine = repository
      ? await openMemoryEngine({ ...shared, random, repository, setupMs })
      : await openProcessEngine({ ...shared, dataDir: held?.path ?? '' })
    const { server, closeSockets } = createSurface({
      engine,
      token,
      interference,
      log,
      options: {
        createsPerMinute: config.createsPerMinute ?? null,
        execLingerMs: config.execLingerMs ?? 0,
        runningLimit: config.runningLimit ?? null,
        lacks: config.lacks ?? [],
      },
      ownRoutes: ownRoutes({ engine, faults, repository }),
    })
    const end = async () => {
      const closed = server.listening ? once(server, 'close') : null
      server.close()
      await engine.close() // first: whoever watches a command sees it end
      closeSockets()
      await closed
      await held?.release()
    }
    try {
      const preferred = port === 0 && held ? await readPort(held.path) : port || null
      const listening = await listenOnLoopback(server, preferred)
      if (port !== 0 && listening !== port) throw new Error(`port ${port} is taken`)
      if (held) await writePort(held.path, listening)
      let ended: Promise<void> | null = null
      const close = () => {
        ended ??= end()
        return ended
      }
      return { url: `http://127.0.0.1:${listening}`, token, engine, faults, repository, close }
    } catch (error) {
      await end()
      throw error
    }
  } catch (error) {
    await held?.release()
    throw error
  }
}
