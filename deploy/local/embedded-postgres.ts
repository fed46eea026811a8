import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chown,
  lchown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
} from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import {
  EmbeddedPostgresUnavailable,
  findPostgres,
  type PostgresProgram,
  postgresEnvironment,
} from './postgres-program.ts'
import { dataPath, launchPostgres } from './postgres-server.ts'

const execute = promisify(execFile)

export { EmbeddedPostgresUnavailable }

export interface EmbeddedPostgres {
  connection: { host: string; database: string; username: string }
  /** It was running already; whoever started it ends it, never we. */
  adopted: boolean
  stop(): Promise<void>
}

export interface EmbeddedPostgresOptions {
  /** The database lives in `pg` below it, and nowhere else. */
  dataDir: string
  /** Gets each line of the server's own log. */
  log?: (line: string) => void
  /** false: tests. A crash of the machine then loses the database. */
  fsync?: boolean
}

/** ms. How long to wait for a server that is starting or stopping under another process. */
const SETTLE_LIMIT_MS = 60_000
const SOCKET = '.s.PGSQL.5432'
/** Bytes. A socket's path has 104 on macOS, 108 on Linux, the closing zero included. */
const SOCKET_PATH_LIMIT = 103

/**
 * A real Postgres in a folder, for whoever has set no `DATABASE_URL`.
 *
 * Any number of processes may call this on one folder at once; one server results. No lock of ours is needed for that:
 * each makes a cluster beside the folder and the rename of the second fails, and Postgres' own `postmaster.pid`
 * turns the second server away, which then finds the first. Whoever finds one adopts it.
 * On Linux the server ends with the process that started it, however that ended (`setpriv --pdeathsig`).
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { dataDir, log = () => {}, fsync = true } = options
  if (process.platform === 'win32')
    throw new EmbeddedPostgresUnavailable('Windows has no socket that only we may enter.')
  await mkdir(resolve(dataDir), { recursive: true })
  const folder = join(await realpath(dataDir), 'pg')
  const until = Date.now() + SETTLE_LIMIT_MS
  let program: PostgresProgram | undefined

  for (;;) {
    const found = await lookForServer(folder)
    if (found.host) return embedded(found.host, true, async () => {})
    if (!found.alive) {
      program ??= await findPostgres(await majorOf(folder))
      await makeCluster(program, folder, fsync)
      const sockets = await socketDirectory(program, folder)
      const server = await launchPostgres({ program, folder, socketDirectory: sockets.setting, fsync, log })
      if (server) {
        return embedded(sockets.host, false, async () => {
          await server.stop()
          if (sockets.host !== folder) await rm(sockets.host, { recursive: true, force: true })
        })
      }
    }
    if (Date.now() > until)
      throw new EmbeddedPostgresUnavailable(
        `another process holds ${folder}, and its Postgres does not answer.`,
      )
    await sleep(50)
  }
}

function embedded(host: string, adopted: boolean, stop: () => Promise<void>): EmbeddedPostgres {
  return { connection: { host, database: 'postgres', username: 'postgres' }, adopted, stop }
}

/** `host`: where a server of this folder accepts connections; `alive`: there is one, though it may not accept any (yet). */
async function lookForServer(folder: string): Promise<{ host?: string; alive: boolean }> {
  const lines = (await readFile(join(folder, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
  const [pid, , , , sockets, , , state] = lines
  if (!pid) return { alive: false }
  const host = resolve(folder, sockets ?? '.')
  if (state?.trim() === 'ready' && (await accepts(join(host, SOCKET)))) return { host, alive: true }
  const holder = await whatIs(Number(pid), folder)
  if (holder === 'stranger') {
    // The machine or the container was restarted and the number belongs to somebody else; Postgres would give way to it.
    await rm(join(folder, 'postmaster.pid'), { force: true })
    await rm(join(host, `${SOCKET}.lock`), { force: true })
  }
  return { alive: holder === 'server' }
}

async function whatIs(pid: number, folder: string): Promise<'server' | 'stranger' | 'nobody'> {
  if (!(pid > 0)) return 'nobody'
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return 'nobody'
  }
  if (process.platform === 'linux')
    return (await readlink(`/proc/${pid}/cwd`).catch(() => '')) === folder ? 'server' : 'stranger'
  const { stdout } = await execute('ps', ['-o', 'comm=', '-p', `${pid}`], { timeout: 5_000 }).catch(() => ({
    stdout: '',
  }))
  return stdout.includes('postgres') ? 'server' : 'stranger'
}

function accepts(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path)
    const answer = (yes: boolean) => {
      socket.destroy()
      done(yes)
    }
    socket
      .once('connect', () => answer(true))
      .once('error', () => answer(false))
      .setTimeout(2_000, () => answer(false))
  })
}

async function majorOf(folder: string): Promise<number | null> {
  const version = await readFile(join(folder, 'PG_VERSION'), 'utf8').catch(() => null)
  return version === null ? null : Number.parseInt(version, 10)
}

/** Leaves a cluster in `folder` that the program may use. A crash leaves the folder either absent or whole. */
async function makeCluster(program: PostgresProgram, folder: string, fsync: boolean): Promise<void> {
  if ((await majorOf(folder)) !== null) return handOver(program, folder)
  await sweepPartials(folder)
  const partial = await mkdtemp(`${folder}.new-`) // 0700
  try {
    await handOver(program, partial)
    const [file = '', ...args] = [...program.wrap, `${program.bin}/initdb`, '-D', dataPath(program, partial)]
    const how = [
      '-U',
      'postgres',
      '-A',
      'trust',
      '-E',
      'UTF8',
      '--no-locale',
      ...(fsync ? [] : ['--no-sync']),
    ]
    const run = { cwd: partial, env: postgresEnvironment, timeout: 120_000, ...program.ids }
    await execute(file, [...args, ...how], run)
    await rename(partial, folder)
  } catch (error) {
    await rm(partial, { recursive: true, force: true })
    if ((await majorOf(folder)) !== null) return // another process was first: its cluster is as good
    const said = (error as { stderr?: string }).stderr?.trim() || (error as Error).message
    throw new EmbeddedPostgresUnavailable(`no database could be made in ${folder}\n  ${said}`, {
      cause: error,
    })
  }
}

/** As root the server is somebody else, and not always the same one: all its files must be that one's. */
async function handOver({ owner }: PostgresProgram, folder: string): Promise<void> {
  if (owner === null || (await lstat(folder)).uid === owner) return
  const entries = await readdir(folder, { recursive: true })
  for (const entry of entries) await lchown(join(folder, entry), owner, owner)
  await chown(folder, owner, owner) // last: cut before it, the next start does all of it again
}

/** A start that was killed inside initdb leaves its folder. Ten minutes: five times what a start waits for initdb. */
async function sweepPartials(folder: string): Promise<void> {
  const home = resolve(folder, '..')
  for (const name of await readdir(home)) {
    if (!name.startsWith('pg.new-')) continue
    const made = await lstat(join(home, name)).catch(() => null)
    if (made && made.mtimeMs < Date.now() - 600_000)
      await rm(join(home, name), { recursive: true, force: true })
  }
}

/** In the data folder, named relative to it so that its length and its parents' modes do not matter to the server.
 *  Our side connects by the whole path; where that is too long, a folder under /tmp with a name made from it. */
async function socketDirectory(
  { owner }: PostgresProgram,
  folder: string,
): Promise<{ setting: string; host: string }> {
  if (Buffer.byteLength(join(folder, SOCKET)) <= SOCKET_PATH_LIMIT) return { setting: '.', host: folder }
  const name = `clawpool-${createHash('sha256').update(folder).digest('hex').slice(0, 16)}`
  const base = Buffer.byteLength(join(tmpdir(), name, SOCKET)) <= SOCKET_PATH_LIMIT ? tmpdir() : '/tmp'
  const path = join(base, name)
  const fresh = await mkdir(path, { mode: 0o700 }).then(
    () => true,
    (error) => {
      if (error.code !== 'EEXIST') throw error
      return false
    },
  )
  if (fresh && owner !== null) await chown(path, owner, owner)
  const made = await lstat(path)
  if (!made.isDirectory() || made.uid !== (owner ?? process.getuid?.()) || made.mode & 0o077)
    throw new EmbeddedPostgresUnavailable(`${path} is somebody else's.`) // whoever owns it could stand in for the server
  return { setting: path, host: path }
}
