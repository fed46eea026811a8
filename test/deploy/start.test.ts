import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { QUICK, removeDataDir, temporaryFolder } from '../support/pool-process.ts'
import { processesOf } from '../support/processes.ts'
import { ROOT } from '../support/sources.ts'
import { until } from '../support/until.ts'

let dataDir: string
let child: ChildProcess
let output: string
let ended: Promise<[number | null, NodeJS.Signals | null]>
beforeEach(() => {
  dataDir = temporaryFolder()
})
afterEach(async () => {
  child.kill('SIGKILL')
  await ended
  await removeDataDir(dataDir)
})

function start(env: Record<string, string>) {
  output = ''
  child = spawn(process.execPath, [join(ROOT, 'deploy/start.ts')], {
    cwd: tmpdir(), // no `.env` there
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      ...QUICK,
      HOST: '127.0.0.1',
      POOL_DATA_DIR: dataDir,
      ...env,
    },
  })
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
    })
  ended = once(child, 'close') as typeof ended
}

describe('Ctrl-C while it is still starting', () => {
  it('ends in order what had begun: no process and no lock of its database is left', async () => {
    start({})
    const lock = join(dataDir, 'pg/postmaster.pid')
    await until(() => existsSync(lock), { what: 'its Postgres is starting', deadlineMs: 60_000, everyMs: 5 })
    child.kill('SIGINT')
    expect(await ended).toEqual([0, null])
    expect(output).not.toContain('Claw Pool (')
    expect(output).toContain('stopping')
    expect(existsSync(lock)).toBe(false)
    expect(processesOf(dataDir)).toEqual([])
  })
})

describe('a second Ctrl-C', () => {
  let silent: Server
  afterEach(() => void silent.close())

  it('ends it at once, with 130, though what it waits for never comes', async () => {
    let connected = false
    silent = createServer((socket) => {
      connected = true
      socket.on('error', () => {})
    }).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const address = silent.address()
    const port = typeof address === 'object' && address ? address.port : 0
    start({
      DATABASE_URL: `postgres://me@127.0.0.1:${port}/none`,
      POOL_API_KEY: 'a-key-of-this-test-0123456789',
    })
    await until(() => connected, { what: 'it waits for its database', deadlineMs: 30_000 })
    child.kill('SIGINT')
    child.kill('SIGINT') // as npm passes it on: one press, twice
    await until(() => output.includes('stopping'), { what: 'the first is heard' })
    expect(child.exitCode).toBeNull()
    const again = setInterval(() => child.kill('SIGINT'), 200) // a person who loses patience
    expect(await ended.finally(() => clearInterval(again))).toEqual([130, null])
  })
})
