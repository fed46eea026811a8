import { describe, expect, it } from 'vitest'
import { RESTORE_LIMIT_MS } from '../../machines/limits.ts'
import { BUILD_LIMIT_MS } from '../support/pool-client.ts'
import {
  type PoolProcess,
  removeDataDir,
  startPoolProcess,
  temporaryFolder,
} from '../support/pool-process.ts'
import { commitSlowClaims } from '../support/standin.ts'
import { until } from '../support/until.ts'

const ENV = { POOL_MIN_IDLE: '2', POOL_MAX_TOTAL: '6' }

const phases = async (pool: PoolProcess) => (await pool.instances()).map(({ phase }) => phase).sort()

/** Rows and Sprites, one to one, and no gateway of a Sprite that is gone. */
async function isWhole(pool: PoolProcess) {
  const instances = await pool.instances()
  const names = instances.map(({ spriteName }) => spriteName).sort()
  expect(await pool.sprites.names()).toEqual(names)
  const ids = new Set<string>()
  for (const name of names) ids.add((await pool.sprites.get(name))?.id ?? 'gone')
  expect(ids).toEqual(new Set(instances.map(({ spriteId }) => spriteId)))
  const gateways = pool.processes().filter(({ command }) => command.includes('gateway run'))
  expect(gateways).toHaveLength(names.length)
}

describe.concurrent('after kill -9', () => {
  it('in the middle of a build the pool comes to what its spec asks for, with nothing leaked and nothing built twice', async ({
    onTestFinished,
  }) => {
    const dataDir = temporaryFolder()
    onTestFinished(() => removeDataDir(dataDir))
    const pool = await startPoolProcess({ dataDir, env: ENV })
    await until(async () => (await phases(pool)).join() === 'installing,installing', {
      what: 'in two builds',
    })
    const begun = (await pool.instances()).map(({ id }) => id).sort()
    await pool.kill()

    const again = await startPoolProcess({ dataDir, env: ENV })
    onTestFinished(again.remove)
    await again.settle({ idle: 2, provisioning: 0, deleting: 0 })
    expect((await again.instances()).map(({ id }) => id).sort()).toEqual(begun)
    await isWhole(again)
  })

  it('in the middle of a delivery and a restore every claim is settled, each by one instance that nobody used before', {
    timeout: 2 * (RESTORE_LIMIT_MS + BUILD_LIMIT_MS), // past the sum of its own waits, which say what did not come
  }, async ({ onTestFinished }) => {
    const dataDir = temporaryFolder()
    onTestFinished(() => removeDataDir(dataDir))
    const pool = await startPoolProcess({ dataDir, env: { ...ENV, POOL_MIN_IDLE: '0' } })
    await commitSlowClaims(pool, 5_000)
    await pool.get('PATCH', '/api/pool/spec', { minIdle: 3 })
    await pool.settle({ idle: 3, provisioning: 0 })
    await pool.get('PATCH', '/api/pool/spec', { minIdle: 2 })

    const first = (await pool.claim({ instructions: 'of the first' })).body
    await pool.get('DELETE', `/api/pool/instances/${first.instanceId}?wait=0`)
    const cut = pool
      .claim({ instructions: 'of the second' }, { 'idempotency-key': 'the-second' })
      .catch(() => 'cut')
    await until(
      async () => {
        const now = await phases(pool)
        return now.includes('delivering') && (now.includes('marking') || now.includes('restoring'))
      },
      { what: 'in the middle of both', everyMs: 5 },
    )
    await pool.kill()
    expect(await cut).toBe('cut')

    const again = await startPoolProcess({ dataDir, env: { ...ENV, POOL_MIN_IDLE: '0' } })
    onTestFinished(again.remove)
    const { status, body } = await again.claim(
      { instructions: 'of the second' },
      { 'idempotency-key': 'the-second' },
    )
    expect(status).toBe(200)
    // Cut before it landed, a restore may do so until its time is over; only then is its Sprite given up and deleted.
    const lateMs = RESTORE_LIMIT_MS + BUILD_LIMIT_MS
    await again.settle({ claimed: 1, recycling: 0, provisioning: 0, deleting: 0 }, lateMs)
    const instances = await again.instances()
    expect(instances.filter(({ claimId }) => claimId !== null).map(({ id }) => id)).toEqual([body.instanceId])
    const claims = (await again.get('GET', '/api/pool/claims')).items as { phase: string }[]
    expect(claims.map(({ phase }) => phase)).toEqual(['Ready', 'Released'])
    for (const { spriteName, status } of instances)
      if (status === 'idle') {
        expect(await again.sprites.list(spriteName, '')).not.toContain('.convos')
        expect(await again.sprites.list(spriteName, '.openclaw/workspace')).toEqual([])
      }
    await isWhole(again)
  })
})
