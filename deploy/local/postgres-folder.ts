import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chown, lchown, lstat, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { EmbeddedPostgresUnavailable, type PostgresProgram, postgresEnvironment } from './postgres-program.ts'

const execute = promisify(execFile)

/** The name that Postgres gives its socket, for the port that we never listen on. */
export const SOCKET = '.s.PGSQL.5432'
/** Bytes. A socket's path has 104 on macOS, 108 on Linux, the closing zero included. */
const SOCKET_PATH_LIMIT = 103

/** The program runs in the folder it works on. As root it is somebody who may not come in from outside. */
export function dataPath({ owner }: PostgresProgram, folder: string): string {
  return owner === null ? folder : '/proc/self/cwd'
}

/** Of the cluster in `folder`; null: there is none. */
export async function majorOf(folder: string): Promise<number | null> {
  const version = await readFile(join(folder, 'PG_VERSION'), 'utf8').catch(() => null)
  return version === null ? null : Number.parseInt(version, 10)
}

/** Leaves a cluster in `folder` that the program may use. A crash leaves the folder either absent or whole. */
export async function makeCluster(program: PostgresProgram, folder: string, fsync: boolean): Promise<void> {
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
export async function socketDirectory(
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
