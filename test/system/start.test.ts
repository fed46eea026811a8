import { statSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { testDatabase } from '../support/database.ts'
import { startOutside } from '../support/emulator.ts'
import { KEY, urlOf } from '../support/pool.ts'
import { removeDataDir, runToEnd, startPoolProcess, temporaryFolder } from '../support/pool-process.ts'
import { processesOf } from '../support/processes.ts'

describe.concurrent('a start', () => {
  it('works in a data folder of mode 0700 with a path that is longer than a socket may have', async ({
    onTestFinished,
  }) => {
    const folder = temporaryFolder()
    onTestFinished(() => removeDataDir(folder))
    const dataDir = join(folder, 'long'.repeat(30))
    await mkdir(dataDir, { mode: 0o700 })
    const pool = await startPoolProcess({ dataDir, env: { POOL_MIN_IDLE: '1' } })
    await pool.settle({ idle: 1 })
    expect(statSync(dataDir).mode & 0o777).toBe(0o700)
    if (process.getuid?.() === 0) expect(statSync(join(dataDir, 'pg')).uid).not.toBe(0) // Postgres does not run as root
    expect(await pool.stop('SIGTERM')).toMatchObject({ code: 0 })
    expect(pool.processes()).toEqual([])
  })

  it('with a token and no DATABASE_URL embeds the database alone, and says so', async ({
    onTestFinished,
  }) => {
    const outside = await startOutside()
    onTestFinished(outside.remove)
    const pool = await startPoolProcess({ env: { ...outside.env, POOL_API_KEY: KEY, POOL_MIN_IDLE: '1' } })
    onTestFinished(pool.remove)
    expect(pool.output()).toContain(`embedded: Postgres in ${pool.dataDir}/pg`)
    expect(pool.output()).not.toContain('embedded: Sprites emulator')
    expect(pool.output()).not.toContain(KEY)
    await pool.settle({ idle: 1 })
    expect(await outside.sprites.names()).toHaveLength(1)
    expect(await pool.stop()).toMatchObject({ code: 0 })
  })

  it('that is interrupted ends in order, and leaves nothing running', async ({ onTestFinished }) => {
    const dataDir = temporaryFolder()
    onTestFinished(() => removeDataDir(dataDir))
    const { code, output } = await runToEnd({ dataDir }, '"message":"starting"')
    expect({ code, left: processesOf(dataDir), output }).toMatchObject({ code: 0, left: [] })
  })

  it.each(['staging', 'production'])(
    'in %s is refused with every missing variable by its name',
    async (environment) => {
      const { code, output } = await runToEnd({ env: { POOL_ENVIRONMENT: environment } })
      expect(code).toBe(1)
      for (const name of ['DATABASE_URL', 'SPRITE_TOKEN', 'POOL_API_KEY'])
        expect(output).toContain(`${name} is missing`)
      expect(output).not.toMatch(/at \S+\.ts:\d+/) // a remedy, not a stack
    },
    60_000,
  )

  it('on the database of another environment is refused, with both names and what to do', async ({
    onTestFinished,
  }) => {
    const database = await testDatabase()
    onTestFinished(() => database.drop())
    const env = { DATABASE_URL: urlOf(database), HOST: '127.0.0.1', POOL_MIN_IDLE: '0', POOL_API_KEY: KEY }
    const dev = await startPoolProcess({ env })
    onTestFinished(dev.remove)
    expect(await dev.stop()).toMatchObject({ code: 0 })
    const outside = { SPRITE_TOKEN: 'org/1/2/token', SPRITES_API_URL: 'http://127.0.0.1:9' }
    const { code, output } = await runToEnd({ env: { ...env, ...outside, POOL_ENVIRONMENT: 'staging' } })
    expect(code).toBe(1)
    expect(output).toMatch(/belongs to the pool of dev .* but this process is staging/)
    expect(output).toContain('DATABASE_URL')
    expect(output).not.toContain('org/1/2/token')
  })

  it('on a port that is taken says so and leaves nothing running', async ({ onTestFinished }) => {
    const taken = createServer().listen(0, '127.0.0.1')
    onTestFinished(() => void taken.close())
    await new Promise((resolve) => taken.once('listening', resolve))
    const dataDir = temporaryFolder()
    onTestFinished(() => removeDataDir(dataDir))
    const { port } = taken.address() as AddressInfo // it listens on TCP
    const { code, output } = await runToEnd({ dataDir, env: { PORT: String(port) } })
    expect(code).toBe(1)
    expect(output).toContain(`${port}`)
    expect(processesOf(dataDir)).toEqual([])
  })
})
