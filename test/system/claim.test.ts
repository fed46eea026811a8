import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startPool, type TestPool } from '../support/pool.ts'
import { until } from '../support/until.ts'

let pool: TestPool
beforeAll(async () => {
  pool = await startPool({ env: { POOL_MIN_IDLE: '5', POOL_MAX_TOTAL: '10' } })
  await pool.settle({ idle: 5 })
  await pool.get('PATCH', '/api/pool/spec', { minIdle: 0 }) // one for each test, built at the same time
})
afterAll(() => pool.remove())

const spriteOf = async (instanceId: string): Promise<string> =>
  (await pool.get('GET', `/api/pool/instances/${instanceId}`)).spriteName

const HOSTILE = [
  `"double" and 'single' and \`backtick\` and \\ backslash\r\n`,
  'INSTREOF\nEOF\n\n$(touch /tmp/never) $HOME `id` %s !! ; rm -rf ~ &\n',
  '\ttabs, a null-looking \\0, <script>alert(1)</script>, 🦞 👩‍👩‍👧 日本語 \u202e rtl\n',
  'no newline at the end',
].join('')

it.each([
  ['hostile to shells and encodings', HOSTILE],
  ['of 200 KB', `${HOSTILE}${'🦞x'.repeat(40_960)}`],
])('hands over instructions byte for byte that are %s, and gives an invite link', async (_, instructions) => {
  const { status, body } = await pool.claim({ agentName: `O'Neil "$(id)"`, instructions })
  expect(status).toBe(200)
  expect(body).toMatchObject({
    inviteUrl: expect.stringMatching(/^https:\/\/dev\.convos\.org\/v2\?i=/),
    conversationId: expect.stringMatching(/^[0-9a-f]{32}$/),
    joined: false,
    waitingForAcceptance: false,
  })
  const sprite = await spriteOf(body.instanceId)
  const path = '.openclaw/workspace/INSTRUCTIONS.md'
  expect((await pool.sprites.read(sprite, path))?.equals(Buffer.from(instructions))).toBe(true)
  const disk = join(pool.dataDir, 'sprites/sprites', sprite, 'disk/home/sprite', path)
  expect((await readFile(disk)).equals(Buffer.from(instructions))).toBe(true)
})

it('joins the conversation of a link that it is given', async () => {
  const { status, body } = await pool.claim({ joinUrl: 'https://dev.convos.org/v2?i=somebodys-slug' })
  expect(status).toBe(200)
  expect(body).toMatchObject({ joined: true, waitingForAcceptance: false, inviteUrl: null })
  expect(body.conversationId).toMatch(/^[0-9a-f]{32}$/)
})

it('says that it waits for acceptance, and is in the conversation once the inviter approved', async () => {
  const { status, body } = await pool.claim({ joinUrl: 'wait-1-for-somebody' })
  expect(status).toBe(200)
  expect(body).toMatchObject({ joined: false, waitingForAcceptance: true, conversationId: null })
  const [agent] = await pool.get('GET', '/api/pool/agents')
  expect(agent).toMatchObject({ id: body.instanceId, state: 'waitingForAcceptance' })
  await pool.pass(35_000)
  const claim = await until(
    async () => {
      const seen = await pool.get('GET', `/api/pool/claims/${body.claimId}`)
      return seen.phase === 'Ready' && seen
    },
    { what: 'joined' },
  )
  expect(claim.conversationId).toMatch(/^[0-9a-f]{32}$/)
})

it('gives up a join that nobody approves, with a reason, and cleans the instance for the next one', async () => {
  const { body } = await pool.claim({ joinUrl: 'never-for-somebody' })
  expect(body).toMatchObject({ waitingForAcceptance: true })
  for (const [tries, ms] of [35_000, 65_000, 125_000].entries()) {
    const sent = () => pool.sql`
      select from instances where id = ${body.instanceId} and machine -> 'context' ->> 'joinTries' = ${tries + 1}
         and attempt is null`
    await until(async () => (await sent()).length > 0, { what: `asked ${tries + 1} times` })
    await pool.pass(ms)
  }
  const claim = await until(
    async () => {
      const seen = await pool.get('GET', `/api/pool/claims/${body.claimId}`)
      return seen.phase === 'Failed' && seen
    },
    { what: 'failed' },
  )
  expect(claim.reason).toBe('NotAccepted')
  const status = async () => (await pool.get('GET', `/api/pool/instances/${body.instanceId}`)).status
  await until(async () => (await status()) === 'idle', { what: 'idle again', deadlineMs: 60_000 })
  expect(await pool.sprites.list(await spriteOf(body.instanceId), '')).not.toContain('.convos')
})

it('refuses a claim while nothing is idle, with a reason and when to try again', async () => {
  await pool.get('PATCH', '/api/pool/spec', { maxIdle: 0 })
  await pool.settle({ idle: 0, provisioning: 0, deleting: 0 })
  const { status, headers, body } = await pool.claim({})
  expect(status).toBe(503)
  expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
  expect(body.error).toBe('No idle instances available. Try again in a few minutes.')
})
