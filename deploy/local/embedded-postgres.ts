import { execFile } from 'node:child_process'
import { mkdir, readFile, readlink, realpath, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { majorOf, makeCluster, SOCKET, socketDirectory } from './postgres-folder.ts'
import { EmbeddedPostgresUnavailable, findPostgres, type PostgresProgram } from './postgres-program.ts'
import { launchPostgres } from './postgres-server.ts'

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
