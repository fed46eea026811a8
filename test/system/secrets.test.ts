import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { KEY, startPool, type TestPool } from '../support/pool.ts'
import { BUILD_LIMIT_MS } from '../support/pool-client.ts'
import { until } from '../support/until.ts'

const ANTHROPIC = 'sk-ant-canary-0123456789abcdef'
const INSTRUCTIONS = 'canary-instructions: talk of nothing but lobsters'

let pool: TestPool
/** Every gateway key that any life of an instance had. */
const gatewayKeys = new Set<string>()
let claim: { instanceId: string; claimId: string; inviteUrl: string; conversationId: string }

/** A whole life with its loudest log: built, claimed, looked into, recycled, claimed again. */
beforeAll(async () => {
  pool = await startPool({
    env: { POOL_MIN_IDLE: '1', LOG_LEVEL: 'trace', INSTANCE_ANTHROPIC_API_KEY: ANTHROPIC },
  })
  await pool.sql`create table kept_keys (key text)`
  await pool.sql.unsafe(`
    create function keep_keys() returns trigger language plpgsql as $$
      begin insert into kept_keys values (new.gateway_key), (new.gateway_token); return null; end $$;
    create trigger keep_keys after insert or update on instance_secrets for each row execute function keep_keys();`)
  await pool.settle({ idle: 1 })
  const first = (await pool.claim({ instructions: INSTRUCTIONS })).body
  await pool.get('GET', `/api/pool/debug/${first.instanceId}`)
  await pool.get('GET', `/api/pool/instances/${first.instanceId}/logs?source=gateway`)
  await pool.get('DELETE', `/api/pool/instances/${first.instanceId}`)
  claim = (await pool.claim({ instructions: INSTRUCTIONS })).body
  // A replacement that is still built has a key that is thrown away, or none yet.
  await until(
    async () => {
      const { idle, provisioning, recycling, deleting } = await pool.counts()
      return idle > 0 && provisioning + recycling + deleting === 0
    },
    { what: 'nothing under way', deadlineMs: BUILD_LIMIT_MS },
  )
  for (const { key } of await pool.sql<{ key: string }[]>`select key from kept_keys`) gatewayKeys.add(key)
  expect(gatewayKeys.size).toBeGreaterThan(4)
})
afterAll(() => pool.remove())

/** Which of the words stand in the text: never the words themselves, which would be in the report then. */
const found = (text: string, words: Record<string, string>) =>
  Object.entries(words).flatMap(([name, word]) => (text.includes(word) ? [name] : []))

const keys = (): Record<string, string> => ({
  'the Anthropic key': ANTHROPIC,
  'the API key': KEY,
  ...Object.fromEntries([...gatewayKeys].map((key, i) => [`gateway secret ${i}`, key])),
})
const words = () => ({
  instructions: 'canary-instructions',
  'an invite link': claim.inviteUrl,
  'a conversation': claim.conversationId,
})

it("has no key and no user's word in its log at the loudest level, nor in its metrics", async () => {
  const metrics = (await pool.openly.ask('GET', '/metrics')).text
  expect(pool.logs()).toContain('request answered')
  expect(found(pool.logs(), { ...keys(), ...words() })).toEqual([])
  expect(found(metrics, { ...keys(), ...words() })).toEqual([])
})

it("gives no key in any answer, and a user's words only to whoever has the API key", async () => {
  const paths = [
    'status',
    'agents',
    'events?limit=1000',
    'claims',
    `claims/${claim.claimId}`,
    'counts',
    'spec',
  ]
  paths.push(
    'instances',
    `instances/${claim.instanceId}`,
    `debug/${claim.instanceId}`,
    'operations',
    'revisions',
  )
  paths.push(
    `instances/${claim.instanceId}/logs?source=gateway`,
    `instances/${claim.instanceId}/logs?source=build`,
  )
  for (const path of paths) {
    const { status, text } = await pool.ask('GET', `/api/pool/${path}`)
    expect({ path, status, keys: found(text, keys()) }).toEqual({ path, status: 200, keys: [] })
    const openly = await pool.openly.ask('GET', `/api/pool/${path}`)
    expect({ path, found: found(openly.text, { ...keys(), ...words() }) }).toEqual({ path, found: [] })
  }
  expect(found((await pool.ask('GET', '/api/pool/agents')).text, words())).toEqual(Object.keys(words()))
})

it("keeps the Anthropic key and its own in no row, and a gateway's keys only where the API may not read", async () => {
  const tables = await pool.sql<{ name: string }[]>`
    select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
       and not relispartition and relname not in ('kept_keys', 'instance_secrets')`
  for (const { name } of tables) {
    const [row] = await pool.sql<
      { text: string | null }[]
    >`select string_agg(t::text, E'\n') as text from ${pool.sql(name)} t`
    expect({ name, found: found(row?.text ?? '', keys()) }).toEqual({ name, found: [] })
  }
})

it('makes checkpoints that hold no key, while each Sprite in use has its own', async () => {
  const sprites = join(pool.dataDir, 'sprites/sprites')
  let checkpoints = 0
  for (const name of await readdir(sprites)) {
    const config = await pool.sprites.read(name, '.openclaw/openclaw.json')
    expect(found(String(config), keys()).length).toBeGreaterThan(1)
    expect(String(await pool.sprites.read(name, '.openclaw/.env'))).toContain(ANTHROPIC)
    const folder = join(sprites, name, 'checkpoints')
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue
      checkpoints += 1
      const path = join(entry.parentPath, entry.name)
      expect({ path, found: found(await readFile(path, 'latin1'), keys()) }).toEqual({ path, found: [] })
    }
  }
  expect(checkpoints).toBeGreaterThan(10)
})
