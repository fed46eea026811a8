import type { FastifyInstance, InjectOptions } from 'fastify'
import { Registry } from 'prom-client'
import { buildApp } from '../../api/app.ts'
import type { ApiConfig } from '../../api/config.ts'
import type { ApiDeps } from '../../api/context.ts'
import type { News } from '../../api/news.ts'
import { systemClock } from '../../specs/clock.ts'
import { connect, type Sql } from '../../specs/db/connect.ts'
import { grantApiRole } from '../../specs/db/grants.ts'
import { createListener } from '../../specs/db/notify.ts'
import { ensurePool } from '../../specs/db/pools.ts'
import { defaultSpec, type PoolSpec } from '../../specs/pool.ts'
import { systemRandom } from '../../specs/random.ts'
import { type TestDatabase, testDatabase } from '../support/database.ts'
import { fakeNews } from './fakes.ts'
import { type Stage, setStage } from './stage.ts'

export const KEY = 'a-key-of-the-tests-0123456789'
export const ROLE = 'clawpool_api'

export const SPEC: PoolSpec = defaultSpec({
  minIdle: 2,
  maxTotal: 10,
  template: {
    openclawRef: 'staging',
    openclawRepo: 'https://example.com/openclaw.git',
    xmtpEnv: 'dev',
  },
  healIntervalSeconds: 20,
  createsPerMinute: 10,
})

export const CONFIG: ApiConfig = {
  environment: 'dev',
  badge: 'grey',
  apiKey: KEY,
  metricsToken: null,
  trustProxy: false,
  specDefaults: SPEC,
  xmtpEnv: 'dev',
  version: { version: '0.1.0+test', commit: null, startedAt: new Date(0) },
  closeWithinMs: 1_000,
}

/** News of a real LISTEN. */
function listen(database: TestDatabase): { news: News; close(): Promise<void> } {
  const told = fakeNews()
  const listener = createListener({
    sql: database.sql,
    connect: (hooks) => database.connect({ ...hooks, max: 1 }),
    clock: systemClock,
    random: systemRandom,
    onNews: ({ kind, ids }) => told.tell(kind, { ids: ids ?? [] }),
    onGap: () => told.gap(),
  })
  told.listening = () => listener.listening()
  return { news: told, close: () => listener.close() }
}

export interface World {
  app: FastifyInstance
  /** The owner's connection: what a controller writes through. */
  sql: Sql
  /** The API's, under its role. */
  apiSql: Sql
  stage: Stage
  /** With the admin's key. */
  ask(method: InjectOptions['method'], url: string, options?: Partial<InjectOptions>): Promise<Answer>
  /** Without one. */
  askOpenly(method: InjectOptions['method'], url: string, options?: Partial<InjectOptions>): Promise<Answer>
  close(): Promise<void>
}

export interface Answer {
  status: number
  headers: Record<string, unknown>
  // biome-ignore lint/suspicious/noExplicitAny: bodies are what the tests assert about
  body: any
  text: string
}

/** The API on a database of its own, under the role that may only edit specs, and the controller's part in hand. */
export async function startWorld(extra: Partial<ApiDeps> = {}): Promise<World> {
  const database = await testDatabase()
  const { sql } = database
  await sql`select pg_advisory_lock(2)` // roles are the server's, the files of a run share it
  const [made] = await sql`select 1 from pg_roles where rolname = ${ROLE}`
  if (!made) await sql.unsafe(`create role ${ROLE} login`)
  await sql`select pg_advisory_unlock_all()`
  await grantApiRole(sql, ROLE)
  await ensurePool(sql, { name: 'default', uid: 'uid', spec: SPEC, appliedEnvironment: {} })

  if (!('socket' in database.place)) throw new Error('the tests reach their server by its socket')
  const place = { socket: { ...database.place.socket, username: ROLE } }
  const apiSql = connect(place, { applicationName: 'test api', max: 4 })
  const { news, close } = listen(database)
  const app = await buildApp({
    sql: apiSql,
    clock: systemClock,
    random: systemRandom,
    news,
    config: CONFIG,
    registry: new Registry(),
    log: false,
    ...extra,
  })
  const asker =
    (key: string | null): World['ask'] =>
    async (method, url, options = {}) => {
      const headers = { ...(key && { authorization: `Bearer ${key}` }), ...options.headers }
      const answer = await app.inject({ method, url, ...options, headers } as InjectOptions)
      return {
        status: answer.statusCode,
        headers: answer.headers,
        body: String(answer.headers['content-type']).includes('json') ? answer.json() : null,
        text: answer.body,
      }
    }
  return {
    app,
    sql,
    apiSql,
    stage: await setStage(sql),
    ask: asker(KEY),
    askOpenly: asker(null),
    async close() {
      await app.close()
      await close()
      await apiSql.end({ timeout: 1 })
      await database.drop()
    },
  }
}
