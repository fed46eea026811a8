import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../deploy/local/embedded-postgres.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** The server of this run; see `database.ts`. */
    postgres: EmbeddedPostgres['connection']
  }
}

/** One server for the whole run, in a folder that goes with it. Without fsync: its data need not outlive a power cut. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dataDir = await mkdtemp(join(tmpdir(), 'clawpool-test-'))
  const server = await startEmbeddedPostgres({ dataDir, fsync: false })
  project.provide('postgres', server.connection)
  return async () => {
    await server.stop()
    await rm(dataDir, { recursive: true, force: true })
  }
}
