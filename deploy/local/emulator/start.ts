import { once } from 'node:events'
import { resolve } from 'node:path'
import { type Clock, systemClock } from '../../../specs/clock.ts'
import { holdDataDir, readPort, writePort } from './data-dir.ts'
import { type Log, silentLog } from './engine.ts'
import type { SurfaceOptions } from './http/router.ts'
import { createSurface } from './http/server.ts'
import { listenOnLoopback } from './ports.ts'
import { openProcessEngine } from './process-engine/open.ts'

export { checkTools } from './process-engine/tools.ts'

export interface EmulatorConfig extends Partial<SurfaceOptions> {
  /** Where the Sprites live. Made when absent; one emulator at a time. */
  dataDir: string
  /** What callers send as Bearer. */
  token: string
  /** 0: the port of the last run in this data directory, when it is free, else any. */
  port?: number
  clock?: Clock
  log?: Log
}

export interface Emulator {
  /** `http://127.0.0.1:<port>`: the base URL of the Sprites API, before `/v1`. */
  url: string
  token: string
  /** Ends every process of every Sprite and every connection, and gives the data directory up. */
  close(): Promise<void>
}

/**
 * Sprites on this machine: the Sprites API on a loopback port, in front of real processes. `http/` is the wire,
 * `engine.ts` what it stands on, `process-engine/` the one engine there is. Throws `DataDirInUse`.
 */
export async function startEmulator(config: EmulatorConfig): Promise<Emulator> {
  const { token, port = 0, clock = systemClock, log = silentLog } = config
  const options = {
    createsPerMinute: config.createsPerMinute ?? null,
    execLingerMs: config.execLingerMs ?? 0,
  }
  if (token === '') throw new Error('the local Sprites need a token')
  const held = await holdDataDir(resolve(config.dataDir))
  try {
    const engine = await openProcessEngine({ dataDir: held.path, token, clock, log })
    const { server, closeSockets } = createSurface({ engine, token, clock, log, options })
    const end = async () => {
      const closed = server.listening ? once(server, 'close') : null
      server.close()
      await engine.close() // first: whoever watches a command sees it end
      closeSockets()
      await closed
      await held.release()
    }
    try {
      const listening = await listenOnLoopback(server, port === 0 ? await readPort(held.path) : port)
      if (port !== 0 && listening !== port) throw new Error(`port ${port} is taken`)
      await writePort(held.path, listening)
      let ended: Promise<void> | null = null
      const close = () => {
        ended ??= end()
        return ended
      }
      return { url: `http://127.0.0.1:${listening}`, token, close }
    } catch (error) {
      await end()
      throw error
    }
  } catch (error) {
    await held.release()
    throw error
  }
}
