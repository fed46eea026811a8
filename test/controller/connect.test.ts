import { createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import {
  connect,
  isRetryable,
  isUnavailable,
  isUniqueViolation,
  redactUrl,
  type Sql,
} from '../../specs/db/connect.ts'
import { OID } from '../../specs/db/types.ts'
import { type TestDatabase, testDatabase } from '../support/database.ts'

let database: TestDatabase
let sql: Sql

beforeAll(async () => {
  database = await testDatabase({ empty: true })
  sql = database.sql
  await sql`create table numbers (n int primary key)`
})
afterAll(() => database.drop())

async function failure(run: Promise<unknown>): Promise<unknown> {
  return run.then(
    () => null,
    (error) => error,
  )
}

describe('values', () => {
  it('come back as what they are', async () => {
    const at = new Date('2026-11-25T01:02:03.456Z')
    const [row] =
      await sql`select 7::int8 as big, ${at}::timestamptz as at, '{"a": [1]}'::jsonb as json, null as nothing,
      array['a', null, 'b"\\c,{}', '', 'NULL'] as words, '{}'::text[] as none, '{1,2}'::int8[] as bigs, '{t,f}'::bool[] as flags,
      array[${at}::timestamptz] as instants`
    expect(row).toEqual({
      big: 7,
      at,
      json: { a: [1] },
      nothing: null,
      words: ['a', null, 'b"\\c,{}', '', 'NULL'],
      none: [],
      bigs: [1, 2],
      flags: [true, false],
      instants: [at],
    })
  })

  it('go as what they are, arrays included', async () => {
    const words = ['a', 'b"\\c,{}', '', 'NULL', '🦞\n']
    const flags = sql.array([true, false], OID.boolArray)
    const at = new Date('2026-11-25T01:02:03.456Z')
    const instants = sql.array([at], OID.timestamptzArray)
    const [row] =
      await sql`select ${words}::text[] as words, ${[1, 2]}::int8[] as bigs, ${flags}::bool[] as flags,
      ${instants}::timestamptz[] as instants, 'a' = any(${words}) as one_of`
    expect(row).toEqual({ words, bigs: [1, 2], flags: [true, false], instants: [at], one_of: true })
  })

  it('are refused where a number cannot hold them', async () => {
    expect(await failure(sql`select 9007199254740993::int8 as big`)).toBeInstanceOf(RangeError)
    expect(await sql`select 1 as one`).toEqual([{ one: 1 }])
  })
})

describe('a failure', () => {
  it('is told apart: taken already', async () => {
    await sql`insert into numbers values (1)`
    const error = await failure(sql`insert into numbers values (1)`)
    expect([
      isUniqueViolation(error),
      isUniqueViolation(error, 'numbers_pkey'),
      isUniqueViolation(error, 'other'),
    ]).toEqual([true, true, false])
    expect([isRetryable(error), isUnavailable(error)]).toEqual([false, false])
  })

  it('is told apart: try again', async () => {
    const error = await failure(sql`do $$ begin raise exception 'x' using errcode = '40P01'; end $$`)
    expect([isRetryable(error), isUnavailable(error)]).toEqual([true, false])
  })

  it('is told apart: no server', async () => {
    const nowhere = connect(
      { socket: { host: '/nonexistent', database: 'x', username: 'x' } },
      { applicationName: 'test' },
    )
    expect(isUnavailable(await failure(nowhere`select 1`))).toBe(true)
  })

  it('is told apart: a connection that was cut under a statement', async () => {
    const client = database.connect({ max: 1 })
    const cut = failure(client`select pg_terminate_backend(pg_backend_pid())`)
    expect(isUnavailable(await cut)).toBe(true)
    await vi.waitFor(async () => expect(await client`select 1 as one`).toEqual([{ one: 1 }])) // the pool makes a new one
  })
})

describe('a URL', () => {
  /** The settings that a start-up message carries, as a server sees them. */
  async function startup(query: string): Promise<Record<string, string>> {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    const server = createServer((socket) =>
      socket.once('data', (data) => resolve(Buffer.from(data)) ?? socket.destroy()).on('error', reject),
    )
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
    const { port } = server.address() as { port: number }
    const client = connect(
      { url: `postgresql://us%40er:p%2Fw@127.0.0.1:${port}/some%20db?${query}` },
      { applicationName: 'test', max: 1 },
    )
    client`select 1`.catch(() => {})
    const message = await promise
    await client.end({ timeout: 0 })
    server.close()
    const words = message.subarray(8).toString().split('\0')
    return Object.fromEntries(
      words.flatMap((word, index) => (index % 2 === 0 && word ? [[word, words[index + 1] ?? '']] : [])),
    )
  }

  it('works as it was copied: what the server would refuse is left out', async () => {
    expect(
      await startup('sslmode=disable&channel_binding=require&pgbouncer=true&connection_limit=5'),
    ).toEqual({
      user: 'us@er',
      database: 'some db',
      client_encoding: 'UTF8',
      application_name: 'test',
    })
  })

  it('keeps what the server understands', async () => {
    expect(await startup('application_name=mine&options=project%3Dx')).toMatchObject({
      application_name: 'mine',
      options: 'project=x',
    })
  })

  it('may name a socket, in the way of libpq', async () => {
    if (!('socket' in database.place)) throw new Error('the tests use a socket')
    const { host, database: name, username } = database.place.socket
    const url = `postgres:///${name}?host=${encodeURIComponent(host)}&user=${username}`
    const client = connect({ url }, { applicationName: 'test', max: 1 })
    expect(await client`select current_database() as name`).toEqual([{ name }])
    await client.end({ timeout: 1 })
  })

  it.each([
    ['postgresql://ep-x-pooler.neon.tech/db', false, 'prefer'],
    ['postgresql://db.example.com/db?pgbouncer=true&sslmode=require', false, 'require'],
    ['postgresql://db.example.com/db?sslmode=verify-ca', true, 'verify-full'],
    ['postgresql://localhost/db', true, false],
  ])('of %s prepares statements: %s, TLS: %s', (url, prepare, ssl) => {
    const { options } = connect({ url }, { applicationName: 'test' })
    expect({ prepare: options.prepare, ssl: options.ssl }).toEqual({ prepare, ssl })
  })

  it.each([
    ['postgresql://user:p%40ss@host:5433/db?password=x', 'postgresql://user:***@host:5433/db'],
    ['postgresql://host/db', 'postgresql://host/db'],
    ['p@ss', '(not a URL)'],
  ])('%s is shown as %s', (url, shown) => {
    expect(redactUrl(url)).toBe(shown)
  })
})
