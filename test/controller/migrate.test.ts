import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MigrationFailed, MigrationRefused, migrate } from '../../specs/db/migrate.ts'
import { type TestDatabase, testDatabase } from '../support/database.ts'

let database: TestDatabase
let dir: string

beforeEach(async () => {
  database = await testDatabase({ empty: true })
  dir = await mkdtemp(join(tmpdir(), 'migrations-'))
  await mkdir(join(dir, 'migrations'))
  await mkdir(join(dir, 'functions'))
  await write(
    'migrations/0001_things.sql',
    'create table things (id int primary key); insert into things values (1);',
  )
  await write(
    'functions/01_things.sql',
    `create or replace function answer() returns int language sql as 'select 41';`,
  )
})

afterEach(async () => {
  await database.drop()
  await rm(dir, { recursive: true })
})

const write = (name: string, text: string) => writeFile(join(dir, name), text)
const run = () => migrate(database.sql, { dir })
const answer = async () => (await database.sql`select answer()`)[0]?.answer
const things = async () => (await database.sql`select count(*) from things`)[0]?.count

describe('migrating a database', () => {
  it('runs each file once, and the functions again only when they changed', async () => {
    expect((await run()).applied).toEqual(['0001_things.sql', 'functions'])
    expect((await run()).applied).toEqual([])
    await write('migrations/0002_more.sql', 'insert into things values (2)')
    expect((await run()).applied).toEqual(['0002_more.sql'])
    await write(
      'functions/01_things.sql',
      `create or replace function answer() returns int language sql as 'select 42';`,
    )
    expect((await run()).applied).toEqual(['functions'])
    expect([await answer(), await things()]).toEqual([42, 2])
  })

  it('is done once when four processes start at once', async () => {
    const pools = Array.from({ length: 4 }, () => database.connect({ max: 1 }))
    const results = await Promise.all(pools.map((sql) => migrate(sql, { dir })))
    expect(results.flatMap(({ applied }) => applied).sort()).toEqual(['0001_things.sql', 'functions'])
    expect(await things()).toBe(1)
  })

  it('leaves the database as it was when a file fails, and names the file', async () => {
    await write('migrations/0002_bad.sql', 'create table other (id int); select 1/0')
    await expect(run()).rejects.toThrow(new MigrationFailed('0002_bad.sql: division by zero'))
    const [found] =
      await database.sql`select to_regclass('things') as things, to_regclass('schema_migrations') as record`
    expect(found).toEqual({ things: null, record: null })
  })

  it.each([
    [
      'a file that was edited after it ran',
      /0001_things.sql was edited/,
      () => write('migrations/0001_things.sql', 'select 1'),
    ],
    [
      'a database that is newer than the code',
      /has 0001_things.sql, which this release does not know/,
      () => rm(join(dir, 'migrations/0001_things.sql')),
    ],
    [
      'a file put before one that ran',
      /0000_early.sql was added before/,
      () => write('migrations/0000_early.sql', 'select 1'),
    ],
    [
      'a file that was renamed after it ran',
      MigrationRefused,
      () => rename(join(dir, 'migrations/0001_things.sql'), join(dir, 'migrations/0001_stuff.sql')),
    ],
    ['two files of one number', /have one number/, () => write('migrations/0001_two.sql', 'select 1')],
    ['a name without a number', /is named 0001_/, () => write('migrations/things.sql', 'select 1')],
  ])('refuses %s', async (_, refusal, change) => {
    await run()
    await change()
    await expect(run()).rejects.toThrow(refusal)
  })

  it('takes a file whose line ends a checkout has turned for the same file', async () => {
    await write('migrations/0002_lines.sql', 'select 1;\nselect 2;\n')
    await run()
    await write('migrations/0002_lines.sql', 'select 1;\r\nselect 2;\r\n')
    expect((await run()).applied).toEqual([])
  })

  it('sets the limits of its role for the connections to come', async () => {
    expect((await run()).roleTimeouts).toBe(true)
    const [limits] = await database.connect()`
      select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
             current_setting('idle_in_transaction_session_timeout') as idle`
    expect(limits).toEqual({ statement: '30s', lock: '10s', idle: '30s' })
  })

  it('needs no more than an ordinary role that may create in this database', async () => {
    const role = `ordinary_${randomUUID().replaceAll('-', '')}` // roles belong to the whole server
    const { sql } = database
    const [{ name } = { name: '' }] = await sql<{ name: string }[]>`select current_database() as name`
    await sql`create role ${sql(role)}`
    await sql`grant create on schema public to ${sql(role)}`
    await sql`grant create on database ${sql(name)} to ${sql(role)}`
    const ordinary = database.connect({ max: 1 })
    await ordinary`set role ${sql(role)}`
    const migrated = await migrate(ordinary, { dir }).finally(() => ordinary`reset role`)
    await sql`drop owned by ${sql(role)} cascade`
    await sql`drop role ${sql(role)}`
    expect(migrated).toEqual({ applied: ['0001_things.sql', 'functions'], roleTimeouts: true })
  })
})
