/** A process of its own that starts the embedded Postgres in the folder it is given, says so, and waits to be ended. */
import { startEmbeddedPostgres } from '../../deploy/local/embedded-postgres.ts'

const { adopted, connection } = await startEmbeddedPostgres({ dataDir: process.argv[2] ?? '', fsync: false })
console.log(JSON.stringify({ adopted, connection }))
setInterval(() => {}, 60_000)
