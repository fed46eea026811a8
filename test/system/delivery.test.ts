import { describe, expect, it } from 'vitest'
import { startPool } from '../support/pool.ts'
import { commitBehaviour, commitWithoutInstructions } from '../support/standin.ts'

const startEmpty = () => startPool({ env: { POOL_MIN_IDLE: '0' } })

describe.concurrent('a delivery', () => {
  it('goes on to another instance when a gateway fails it, and the first is restored and proven', async ({
    onTestFinished,
  }) => {
    const pool = await startEmpty()
    onTestFinished(pool.remove)
    await commitBehaviour(pool, { failClaims: true })
    await pool.get('PATCH', '/api/pool/spec', { minIdle: 1 })
    await pool.settle({ idle: 1 })
    const [bad] = await pool.instances()
    await commitBehaviour(pool, {})
    await pool.get('PATCH', '/api/pool/spec', { minIdle: 2 })
    await pool.settle({ idle: 2 })

    const { status, body } = await pool.claim({ instructions: 'secret words' }) // the oldest is tried first: the bad one
    expect(status).toBe(200)
    expect(body.instanceId).not.toBe(bad.id)
    await pool.settle({ idle: 2, claimed: 1, recycling: 0, provisioning: 0 })

    const after = (await pool.instances()).find(({ id }) => id === bad.id)
    expect(after).toMatchObject({ status: 'idle', spriteId: bad.spriteId, checkpointId: bad.checkpointId })
    expect(await pool.sprites.list(bad.spriteName, '')).not.toContain('.convos')
    expect(await pool.sprites.list(bad.spriteName, '.openclaw/workspace')).toEqual([])
    expect(await pool.sprites.list(bad.spriteName, '.clawpool')).not.toContain('canary')
    const reasons = (await pool.events(`&instance=${bad.id}`)).map(({ reason }) => reason)
    expect(reasons).toEqual(expect.arrayContaining(['DeliveryMovedOn', 'Proven']))
  })

  it('writes the instructions as a file where the gateway would not take them', async ({
    onTestFinished,
  }) => {
    const pool = await startEmpty()
    onTestFinished(pool.remove)
    await commitWithoutInstructions(pool)
    await pool.get('PATCH', '/api/pool/spec', { minIdle: 1 })
    await pool.settle({ idle: 1 })
    const instructions = `'"$(id)"'\nINSTREOF\n${'🦞'.repeat(50_000)}`
    const { status, body } = await pool.claim({ instructions })
    expect(status).toBe(200)
    const { spriteName } = await pool.get('GET', `/api/pool/instances/${body.instanceId}`)
    const written = await pool.sprites.read(spriteName, '.openclaw/workspace/INSTRUCTIONS.md')
    expect(written?.equals(Buffer.from(instructions))).toBe(true)
  })
})
