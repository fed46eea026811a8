import { createHash, randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inject } from 'vitest'
import { type ConnectOptions, connect, type Place, type Sql } from '../../specs/db/connect.ts'
import { migrate } from '../../specs/db/migrate.ts'
import './postgres-global.ts'

export interface TestDatabase {
  sql: Sql
  place: Place
  /** Another pool on the same database, ended by `drop`. */
  connect(options?: Partial<ConnectOptions>): Sql
  drop(): Promise<void>
}

/**
 * A database of one test file, made in about 15 ms as a copy of one that was migrated once. Await it at the top of the file,
 * and `drop` in `afterAll`.
 * @param options.empty nothing migrated, for whoever tests that.
 */
export async function testDatabase(options: { empty?: boolean } = {}): Promise<TestDatabase> {
  const server = inject('postgres')
  const admin = connect({ socket: server }, { applicationName: 'test admin', max: 1 })
  const database = `test_${randomUUID().replaceAll('-', '')}`
  try {
    await admin`create database ${admin(database)} template ${admin(options.empty ? 'template1' : await template(admin))}`
  } finally {
    await admin.end({ timeout: 5 })
  }

  const place = { socket: { ...server, database } }
  const opened: Sql[] = []
  const open = (extra: Partial<ConnectOptions> = {}) => {
    const sql = connect(place, { applicationName: 'test', max: 4, ...extra })
    opened.push(sql)
    return sql
  }
  return {
    sql: open(),
    place,
    connect: open,
    async drop() {
      await Promise.all(opened.map((sql) => sql.end({ timeout: 1 })))
      const last = connect({ socket: server }, { applicationName: 'test admin', max: 1 })
      await last`drop database ${last(database)} with (force)`
      await last.end({ timeout: 5 })
    },
  }
}

/** The migrated database that all are copied from. The first file of a run makes it, the others wait for it. */
async function template(admin: Sql): Promise<string> {
  const name = `template_${await digestOfSql()}` // another one after an edit, in watch mode
  await admin`select pg_advisory_lock(1)`
  try {
    const [made] = await admin`select 1 from pg_database where datname = ${name}`
    if (made) return name
    const partial = `${name}_partial`
    await admin`drop database if exists ${admin(partial)} with (force)`
    await admin`create database ${admin(partial)}`
    const place = { socket: { ...inject('postgres'), database: partial } }
    const sql = connect(place, { applicationName: 'test template', max: 1 })
    await migrate(sql).finally(() => sql.end({ timeout: 5 }))
    await admin`alter database ${admin(partial)} rename to ${admin(name)}`
    return name
  } finally {
    await admin`select pg_advisory_unlock(1)`
  }
}

async function digestOfSql(): Promise<string> {
  const hash = createHash('sha256')
  for (const folder of ['migrations', 'functions']) {
    const path = join(import.meta.dirname, '../../specs/db', folder)
    for (const name of (await readdir(path)).sort())
      hash.update(name).update(await readFile(join(path, name)))
  }
  return hash.digest('hex').slice(0, 16)
}
