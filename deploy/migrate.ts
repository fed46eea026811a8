/** `npm run db:migrate`: brings the database of the environment to this release, and ends. `npm start` does the same. */
import { connect } from '../specs/db/connect.ts'
import { migrate } from '../specs/db/migrate.ts'
import { loadDotEnv, readConfig } from './config.ts'
import { startEmbeddedPostgres } from './local/embedded-postgres.ts'

try {
  const { database, dataDir } = readConfig(loadDotEnv('.env', process.env))
  const embedded = database.kind === 'embedded' ? await startEmbeddedPostgres({ dataDir }) : null
  const place =
    database.kind === 'url'
      ? { url: database.directUrl ?? database.url }
      : embedded && { socket: embedded.connection }
  if (!place) throw new Error('unreachable: a database is embedded or has a URL')
  const sql = connect(place, { applicationName: 'clawpool migrate', max: 1 })
  try {
    const { applied } = await migrate(sql)
    console.log(applied.length > 0 ? `applied ${applied.join(', ')}` : 'nothing to apply')
  } finally {
    await sql.end({ timeout: 5 })
    await embedded?.stop()
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error) // the message says what to do; a stack would not
  process.exitCode = 1
}
