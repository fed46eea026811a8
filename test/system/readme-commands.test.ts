import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { KEY, startPool, type TestPool } from '../support/pool.ts'
import { ROOT, readSource } from '../support/sources.ts'

const HEADING = '## Useful commands'
const run = promisify(execFile)

let pool: TestPool
beforeAll(async () => {
  pool = await startPool({ env: { POOL_MIN_IDLE: '4' } })
  await pool.settle({ idle: 4 })
  await pool.get('PATCH', '/api/pool/spec', { minIdle: 0 }) // what is drained needs no replacement here
})
afterAll(() => pool.remove())

function commands(): string[] {
  const section = readSource('README.md').split(HEADING)[1]?.split(/^## /m)[0] ?? ''
  return [...section.matchAll(/^```bash\n([\s\S]*?)^```$/gm)].map(([, command]) => command?.trim() ?? '')
}

/** What each must come to, in the order in which a person may try them. */
const EXPECTED: [name: string, command: RegExp, outcome: unknown][] = [
  ['counts', /\/api\/pool\/counts/, { idle: 4, claimed: 0, deleting: 0 }],
  ['full status', /\/api\/pool\/status/, { name: 'default', instances: expect.any(Array) }],
  ['claim', /\/api\/pool\/claim"/, { inviteUrl: expect.stringContaining('https://dev.convos.org/v2?i=') }],
  ['recycle', /-X DELETE .*\/api\/pool\/instances\//, { ok: true, outcome: 'recycled' }],
  ['drain N', /\/api\/pool\/drain"/, { ok: true, drained: 2 }],
  ['drain all', /^npm run drain:all$/, expect.stringMatching(/^dev: 2 idle drained$/m)],
  ['version', /\/version/, { version: expect.stringMatching(/^\d+\.\d+\.\d+/), environment: 'dev' }],
]

it('has useful commands in the README that do as they say, as they stand', async () => {
  const found = commands()
  expect(found.filter((command) => command.startsWith('railway '))).toHaveLength(1)
  expect(found).toHaveLength(EXPECTED.length + 1)
  for (const [name, pattern, outcome] of EXPECTED) {
    const command = found.find((text) => pattern.test(text))
    expect(command, `the command for ${name}`).toBeDefined()
    await pool.settle({ provisioning: 0, recycling: 0, deleting: 0 })
    const { stdout } = await run('bash', ['-euc', command ?? ''], {
      cwd: ROOT,
      env: { PATH: process.env.PATH, HOME: process.env.HOME, POOL_URL: pool.url, POOL_API_KEY: KEY },
      timeout: 60_000,
    })
    expect({ name, outcome: stdout.startsWith('{') ? JSON.parse(stdout) : stdout }).toMatchObject({
      name,
      outcome,
    })
  }
})
