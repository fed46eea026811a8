/** New versions of the stand-in for OpenClaw: what the next build takes, and the ones before keep. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { commitStandin } from '../../deploy/local/standin-repo.ts'
import { ROOT } from './sources.ts'

const SOURCES = join(ROOT, 'deploy/local/openclaw-standin')

/** A commit on the branch that is built; returns its 40 hex digits. */
export const commit = (pool: { dataDir: string }, files: Record<string, string>, message = 'A new version') =>
  commitStandin({ dir: join(pool.dataDir, 'openclaw-standin.git'), branch: 'staging', files, message })

/** One that behaves as `standin.json` says: `failClaims`, `failBuild`, `neverReady`, `bootMs`, `buildMs`. */
export async function commitBehaviour(pool: { dataDir: string }, behaviour: object): Promise<string> {
  const usual = JSON.parse(await readFile(join(SOURCES, 'standin.json'), 'utf8'))
  return commit(pool, { 'standin.json': JSON.stringify({ ...usual, ...behaviour }) })
}

/** One whose gateway knows nothing of instructions in a claim's request: they come as a file, or not at all. */
export async function commitWithoutInstructions(pool: { dataDir: string }): Promise<string> {
  const path = 'extensions/convos/index.js'
  const source = await readFile(join(SOURCES, path), 'utf8')
  return commit(pool, { [path]: source.replaceAll(/^.*body\.instructions.*$/gm, '') })
}

/** One whose gateway takes so long to make a conversation: time to cut it. */
export async function commitSlowClaims(pool: { dataDir: string }, ms: number): Promise<string> {
  const path = 'extensions/convos/index.js'
  const source = await readFile(join(SOURCES, path), 'utf8')
  const wait = `await new Promise((resolve) => setTimeout(resolve, ${ms}))`
  return commit(pool, { [path]: source.replace('const inviteSlug = newSlug()', `${wait}\n    $&`) })
}
