import { Registry } from 'prom-client'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { buildApp } from '../../api/app.ts'
import { systemClock } from '../../specs/clock.ts'
import { systemRandom } from '../../specs/random.ts'
import { type TestDatabase, testDatabase } from '../support/database.ts'
import { fakeNews } from './fakes.ts'
import { CONFIG } from './support.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await testDatabase()
})
afterAll(() => database.drop())

it('a controller without an API tells whether it lives, what it is and its metrics, and serves nothing else', async () => {
  const app = await buildApp(
    {
      sql: database.sql,
      clock: systemClock,
      random: systemRandom,
      news: fakeNews(),
      registry: new Registry(),
      config: CONFIG,
      log: false,
    },
    { serves: 'health' },
  )
  const statuses = async (...urls: string[]) =>
    Promise.all(urls.map(async (url) => (await app.inject(url)).statusCode))
  expect(await statuses('/healthz', '/readyz', '/version', '/metrics')).toEqual([200, 200, 200, 200])
  expect(await statuses('/', '/api/pool/counts', '/docs')).toEqual([404, 404, 404])
  await app.close()
})
