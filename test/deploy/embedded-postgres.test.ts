import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../deploy/local/embedded-postgres.ts'
import { connect, type Sql } from '../../specs/db/connect.ts'

let home: string
let dataDir: string
const servers: EmbeddedPostgres[] = []
const pools: Sql[] = []
const children: ChildProcess[] = []

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'embedded-')) // 0700: as root, nobody else may enter it
  dataDir = join(home, 'data')
})

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await Promise.all(pools.splice(0).map((sql) => sql.end({ timeout: 1 })))
  await Promise.all(servers.splice(0).map((server) => server.stop()))
  await until(async () => expect(await postmaster()).toBeNull()) // a child's server ends with it
  await rm(home, { recursive: true })
})

const until = (check: () => Promise<void>) => vi.waitFor(check, { timeout: 20_000, interval: 10 })

async function start(
  options: { dataDir?: string; log?: (line: string) => void } = {},
): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ dataDir, fsync: false, ...options })
  servers.push(server)
  return server
}

function open({ connection }: Pick<EmbeddedPostgres, 'connection'>): Sql {
  const sql = connect({ socket: connection }, { applicationName: 'test', max: 2 })
  pools.push(sql)
  return sql
}

/** The server's pid while it runs, by its own file. */
async function postmaster(): Promise<number | null> {
  const pid = await readFile(join(dataDir, 'pg/postmaster.pid'), 'utf8').catch(() => '')
  return pid ? Number.parseInt(pid, 10) : null
}

async function startElsewhere(env: Record<string, string> = {}) {
  const script = join(import.meta.dirname, '../support/start-postgres.ts')
  const child = spawn(process.execPath, [script, dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  })
  children.push(child)
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  return { child, ...(JSON.parse(line) as Pick<EmbeddedPostgres, 'adopted' | 'connection'>) }
}

describe('the embedded Postgres', () => {
  it('keeps what it was told in its folder, and nothing beside it', async () => {
    const first = await start()
    await open(first)`create table kept as select 42 as answer`
    await first.stop()
    expect(await postmaster()).toBeNull()
    const again = await start()
    expect(await open(again)`select answer from kept`).toEqual([{ answer: 42 }])
    expect([again.adopted, await readdir(home), await readdir(dataDir)]).toEqual([false, ['data'], ['pg']])
  })

  it('works below folders that only their owner may enter', async () => {
    await mkdir(dataDir)
    await chmod(dataDir, 0o700)
    expect(await open(await start())`select 1 as one`).toEqual([{ one: 1 }])
  })

  it('works where the path is longer than a socket may have, and cleans up the shorter one', async () => {
    dataDir = join(home, 'a'.repeat(100), 'b'.repeat(100))
    const server = await start()
    expect(await open(server)`select 1 as one`).toEqual([{ one: 1 }])
    await server.stop()
    await expect(readdir(server.connection.host)).rejects.toThrow('ENOENT')
  })

  it('is one server when three ask for it at once in a new folder', async () => {
    const all = await Promise.all([start(), start(), start()])
    expect(all.map(({ adopted }) => adopted).sort()).toEqual([false, true, true])
    const [one, two] = all.map(open)
    await one?.unsafe('create table shared (id int)')
    expect(await two?.unsafe('select count(*) from shared')).toEqual([{ count: 0 }])
  })

  it('is not ended by whoever found it running', async () => {
    const owner = await start()
    const guest = await start()
    await guest.stop()
    expect([guest.adopted, await open(owner)`select 1 as one`]).toEqual([true, [{ one: 1 }]])
  })

  it('recovers what was committed before its own kill -9', async () => {
    const sql = open(await start())
    await sql`create table kept as select 1 as id`
    const pid = (await postmaster()) ?? 0
    process.kill(pid, 'SIGKILL')
    await until(async () => expect(() => process.kill(pid, 0)).toThrow('ESRCH'))
    const again = await start()
    expect(await open(again)`select id from kept`).toEqual([{ id: 1 }])
  })

  it('starts beside a lock file whose number belongs to another program by now', async () => {
    await (await start()).stop()
    const stale = [process.pid, '/proc/self/cwd', 1, 5432, '.', '', '', 'ready'].join('\n')
    await writeFile(join(dataDir, 'pg/postmaster.pid'), stale)
    await writeFile(join(dataDir, 'pg/.s.PGSQL.5432.lock'), stale)
    const server = await start()
    expect([server.adopted, await open(server)`select 1 as one`]).toEqual([false, [{ one: 1 }]])
  })

  it('leaves users’ words out of its log', async () => {
    const lines: string[] = []
    const sql = open(await start({ log: (line) => lines.push(line) }))
    await sql`create table words (word text unique)`
    await sql`insert into words values ('hush')`
    await expect(sql`insert into words values (${'hush'})`).rejects.toThrow('duplicate key')
    await expect(sql.unsafe(`select 'hush'::int`)).rejects.toThrow('hush')
    await servers[0]?.stop()
    expect(lines.join('\n')).toContain('ready to accept connections')
    expect(lines.join('\n')).not.toContain('hush')
  })

  it('says what to do where its folder is of another version', async () => {
    await mkdir(join(dataDir, 'pg'), { recursive: true })
    await writeFile(join(dataDir, 'pg/PG_VERSION'), '9\n')
    await expect(start()).rejects.toThrow(/is version \d+, the data 9.*Set DATABASE_URL/s)
  })

  it('touches nothing where its folder holds something else', async () => {
    await mkdir(join(dataDir, 'pg'), { recursive: true })
    await writeFile(join(dataDir, 'pg/diary.txt'), 'mine')
    await expect(start()).rejects.toThrow(/no database could be made in .*pg/)
    expect(await readdir(dataDir)).toEqual(['pg'])
    expect(await readdir(join(dataDir, 'pg'))).toEqual(['diary.txt'])
  })
})

describe.runIf(process.platform === 'linux')('the embedded Postgres of another process', () => {
  it('is adopted while that process lives, ends when it is killed, and starts again with all it had', async () => {
    const { child, connection, adopted } = await startElsewhere()
    expect(adopted).toBe(false)
    await open({ connection })`create table kept as select 7 as id`
    expect((await start()).adopted).toBe(true)
    child.kill('SIGKILL')
    await until(async () => expect(await postmaster()).toBeNull())
    const again = await start()
    expect([again.adopted, await open(again)`select id from kept`]).toEqual([false, [{ id: 7 }]])
  })

  it('is waited for while it goes down', async () => {
    const { child } = await startElsewhere()
    child.kill('SIGKILL')
    await once(child, 'exit')
    const server = await start() // at once: the old one is stopping, or has not noticed yet
    if (server.adopted) await until(async () => expect(await postmaster()).toBeNull())
    expect(await open(await start())`select 1 as one`).toEqual([{ one: 1 }])
  })

  it('gets nothing of the environment of whoever starts it', async () => {
    await startElsewhere({ SPRITE_TOKEN: 'tell-nobody', PGPORT: '1' })
    const environment = await readFile(`/proc/${await postmaster()}/environ`, 'utf8')
    expect(environment).toContain('LC_ALL=C')
    expect(environment).not.toContain('tell-nobody')
  })
})
