import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Sql, Tx } from './connect.ts'
import { setRoleTimeouts } from './timeouts.ts'

/** The database and this code do not belong together; no retry helps. */
export class MigrationRefused extends Error {
  override readonly name = 'MigrationRefused'
}

/** A file failed; nothing of this run was kept. `cause` is what the database said. */
export class MigrationFailed extends Error {
  override readonly name = 'MigrationFailed'
}

export interface Migrated {
  /** Files run by this call, in order; `functions` when those were laid anew. Empty: all was there. */
  applied: string[]
  /** false: the server does not let us set our role's timeouts. */
  roleTimeouts: boolean
}

interface SqlFile {
  name: string
  text: string
  digest: string
}

const MIGRATION = /^\d{4}_[a-z0-9_]+\.sql$/
const FUNCTIONS = 'functions'
/** Any constant will do that nobody else's code on this database uses. */
const LOCK = 4_021_962_311

/**
 * Brings the database to this code: `migrations/NNNN_*.sql`, each once and in order, then all of `functions/*.sql`
 * when one of them changed. One transaction under an advisory lock: any number of processes may start at once, a
 * failure leaves the database as it was, and it works behind a transaction pooler (session locks do not).
 * The price: nothing that must stand outside a transaction (`create index concurrently`).
 * @param options.dir has both folders.
 */
export async function migrate(sql: Sql, options: { dir?: string } = {}): Promise<Migrated> {
  const { dir = import.meta.dirname } = options
  const files = await readSql(join(dir, 'migrations'))
  const functions = await readSql(join(dir, FUNCTIONS))
  checkNames(files)
  return (await sql.begin(async (tx) => {
    // The role's own limits are for statements that a caller waits for.
    await tx`select set_config('statement_timeout', '0', true), set_config('lock_timeout', '60s', true)`
    await tx`select pg_advisory_xact_lock(${LOCK})`
    const pending = await pendingOf(tx, files)
    for (const file of pending) await run(tx, file, [file])
    const applied = pending.map(({ name }) => name)
    if (await layFunctions(tx, functions)) applied.push(FUNCTIONS)
    return { applied, roleTimeouts: await setRoleTimeouts(tx) }
  })) as Migrated // the driver's type maps arrays of promises, which this is not
}

/** What is in the folder and not yet in the database. The database's list must be the beginning of the folder's. */
async function pendingOf(tx: Tx, files: SqlFile[]): Promise<SqlFile[]> {
  await tx`create table if not exists schema_migrations (
    name text primary key, digest text not null, applied_at timestamptz not null default clock_timestamp())`
  const recorded = await tx<{ name: string; digest: string }[]>`
    select name, digest from schema_migrations where name <> ${FUNCTIONS} order by name collate "C"`
  recorded.forEach(({ name, digest }, index) => {
    const file = files[index]
    if (!file || file.name > name)
      throw new MigrationRefused(
        `the database has ${name}, which this release does not know: it is newer. Start that release.`,
      )
    if (file.name < name)
      throw new MigrationRefused(
        `${file.name} was added before ${name}, which the database has already: give it the next number`,
      )
    if (file.digest !== digest)
      throw new MigrationRefused(
        `${name} was edited after the database ran it: undo that, and correct it by the next number`,
      )
  })
  return files.slice(recorded.length)
}

/** true: they were laid. Their digest is recorded, so that a start that changes nothing takes no locks on them. */
async function layFunctions(tx: Tx, files: SqlFile[]): Promise<boolean> {
  if (files.length === 0) return false
  const digest = digestOf(files.map((file) => `${file.name} ${file.digest}\n`).join(''))
  const [laid] = await tx`select 1 from schema_migrations where name = ${FUNCTIONS} and digest = ${digest}`
  if (laid) return false
  await run(tx, { name: FUNCTIONS, digest }, files)
  return true
}

async function run(tx: Tx, record: { name: string; digest: string }, files: SqlFile[]): Promise<void> {
  for (const { name, text } of files) {
    await tx.unsafe(text).catch((cause) => {
      throw new MigrationFailed(`${name}: ${cause instanceof Error ? cause.message : cause}`, { cause })
    })
  }
  await tx`insert into schema_migrations (name, digest) values (${record.name}, ${record.digest})
    on conflict (name) do update set digest = excluded.digest, applied_at = excluded.applied_at`
}

async function readSql(folder: string): Promise<SqlFile[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort()
  return Promise.all(
    names.map(async (name) => {
      const text = (await readFile(join(folder, name), 'utf8')).replaceAll('\r\n', '\n') // a checkout may turn line ends
      return { name, text, digest: digestOf(text) }
    }),
  )
}

function checkNames(files: SqlFile[]): void {
  files.forEach(({ name }, index) => {
    if (!MIGRATION.test(name))
      throw new MigrationRefused(`${name}: a migration is named 0001_what_it_makes.sql`)
    const next = files[index + 1]
    if (next?.name.slice(0, 4) === name.slice(0, 4))
      throw new MigrationRefused(`${name} and ${next.name} have one number: give the later one the next`)
  })
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
