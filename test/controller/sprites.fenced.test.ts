import { describe, expect, it } from 'vitest'
import type { SpritesClient } from '../../controller/sprites/client.ts'
import { fencedSprites } from '../../controller/sprites/fenced.ts'

const READS = ['list', 'get', 'readFile', 'listFiles', 'listCheckpoints', 'listServices', 'serviceLogs']

function client() {
  const calls: string[] = []
  const sprites = Object.fromEntries(
    [
      ...READS,
      'create',
      'makePublic',
      'remove',
      'writeFile',
      'removeFile',
      'renameFile',
      'exec',
      'createCheckpoint',
      'restoreCheckpoint',
      'putService',
      'restartService',
      'removeService',
    ].map((name) => [
      name,
      async () => {
        calls.push(name)
      },
    ]),
  ) as unknown as SpritesClient
  return { sprites, calls }
}

describe('the client of a leader', () => {
  it('asks for the lease before each call that changes something, and for none that reads', async () => {
    const { sprites, calls } = client()
    const fenced = fencedSprites(sprites, { mayCall: () => false })
    for (const [name, call] of Object.entries(fenced)) {
      const asked = (call as () => Promise<unknown>)()
      if (READS.includes(name)) await asked
      else await expect(asked, name).rejects.toThrow('not begun')
    }
    expect(calls).toEqual(READS)
  })

  it('lets the second call of one intent go no further than the lease does', async () => {
    const { sprites, calls } = client()
    let leads = true
    const fenced = fencedSprites(sprites, { mayCall: () => leads })
    await fenced.removeService('claw', 'gateway')
    leads = false // paused here, and somebody else leads by now
    await expect(fenced.removeFile('claw', '/home/sprite/.openclaw/.env')).rejects.toThrow('not begun')
    expect(calls).toEqual(['removeService'])
  })
})
