import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import {
  type PoolProcess,
  removeDataDir,
  startPoolProcess,
  temporaryFolder,
} from '../support/pool-process.ts'
import { until } from '../support/until.ts'

/** With nothing set but where it keeps its files and which port it takes. */
const BARE = {
  HEARTBEAT_INTERVAL_MS: '',
  TICK_INTERVAL_MS: '',
  POOL_RECONCILE_INTERVAL_MS: '',
  LOG_LEVEL: '',
}

const membersOf = async (pool: PoolProcess) =>
  (await pool.instances()).map(({ id, status, spriteId, checkpointId, readyAt }) => {
    return { id, status, spriteId, checkpointId, readyAt }
  })

describe.concurrent('npm start', () => {
  it('has an idle Claw within a minute, ends whole at Ctrl-C, and is the same pool at the next start', async ({
    onTestFinished,
  }) => {
    const dataDir = temporaryFolder()
    onTestFinished(() => removeDataDir(dataDir))
    const startedAt = performance.now()
    const pool = await startPoolProcess({ dataDir, npm: true, env: BARE })
    // Both may become idle between two looks.
    await until(async () => (await pool.counts()).idle > 0, { what: 'an idle Claw', deadlineMs: 60_000 })
    expect(performance.now() - startedAt).toBeLessThan(60_000)
    await pool.settle({ idle: 2, provisioning: 0 })
    const members = await membersOf(pool)

    // Itself, npm, Postgres and its workers, a gateway in each Sprite: all of it ends.
    expect(pool.processes().length).toBeGreaterThan(5)
    await pool.stop() // the exit code is npm's own here
    expect(pool.processes()).toEqual([])
    expect(pool.output()).toContain('no longer leading')

    const again = await startPoolProcess({ dataDir })
    await again.settle({ idle: 2, provisioning: 0 })
    expect(await membersOf(again)).toEqual(members)
    expect(await again.sprites.names()).toHaveLength(2)
    expect(again.key).toBe(pool.key)
    expect(await again.stop()).toMatchObject({ code: 0 })
    expect(again.processes()).toEqual([])
  })

  it('says what is embedded, where it is and how to claim, by lines that work as they stand', async ({
    onTestFinished,
  }) => {
    const pool = await startPoolProcess()
    onTestFinished(pool.remove)
    const output = pool.output()
    expect(output).toContain(`embedded: Postgres in ${pool.dataDir}/pg`)
    expect(output).toContain(`embedded: Sprites emulator at ${pool.sprites.base}`)
    expect(output).toContain(`${pool.url}/#key=${pool.key}`)
    const [curl = ''] = /curl -s -X POST [\s\S]*?'\{.*?\}'/.exec(output) ?? []
    const run = promisify(execFile)
    const refused = JSON.parse((await run('bash', ['-c', curl])).stdout) // before anything is idle
    expect(refused.error).toBe('No idle instances available. Try again in a few minutes.')
    await pool.settle({ idle: 2 })
    const served = JSON.parse((await run('bash', ['-c', curl])).stdout)
    expect(served.inviteUrl).toMatch(/^https:\/\/dev\.convos\.org\/v2\?i=/)
  })
})
