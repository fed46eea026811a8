/** The controlling half: for each pool it stands by for the lease, and leads while it has it. */
import { sleep } from '../specs/clock.ts'
import { listPoolNames } from '../specs/db/pools.ts'
import { holdLease } from './lease.ts'
import { limited } from './limited.ts'
import { type ControllerDeps, messageOf, runPool } from './pool-runner.ts'

/** ms. How soon a pool that was made elsewhere finds its controller, should its news be lost. */
const POOLS_MS = 5_000

export interface RunningController {
  /** Begins nothing new, releases every lease at once, and resolves when what was under way is recorded. */
  stop(): Promise<void>
}

export function startController(deps: ControllerDeps): RunningController {
  const stop = new AbortController()
  const running = new Map<string, Promise<void>>()
  const holder = `${deps.random.word(8)}`

  /** A database that is away says the same each second: once is enough. */
  function complain(pool: string) {
    let said = ''
    return (error: unknown) => {
      const message = messageOf(error)
      deps.log[message === said ? 'debug' : 'warn']({ pool, error: message }, 'the lease could not be held')
      said = message
    }
  }

  async function watchPools(): Promise<void> {
    while (!stop.signal.aborted) {
      const names = await limited(deps.clock, 'list the pools', listPoolNames(deps.sql)).catch(
        (error: unknown) => {
          deps.log.warn({ error: messageOf(error) }, 'the pools cannot be read')
          return []
        },
      )
      for (const pool of names) {
        if (running.has(pool) || stop.signal.aborted) continue
        const held = holdLease(
          {
            sql: deps.sql,
            clock: deps.clock,
            pool,
            holder,
            onLead: (lead) => runPool(deps, lead),
            onError: complain(pool),
            onRelease: (wake) => deps.news.on('lease', (told) => told.pool === pool && wake()),
          },
          stop.signal,
        )
        running.set(pool, held)
      }
      await sleep(deps.clock, POOLS_MS, stop.signal).catch(() => {})
    }
  }

  const watching = watchPools()
  return {
    async stop() {
      stop.abort(new Error('the controller stops'))
      await watching
      await Promise.all(running.values())
    },
  }
}
