import { type Lead, LeaseEnding } from '../lease.ts'
import type { SpritesClient } from './client.ts'

const CHANGES = [
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
] as const satisfies readonly (keyof SpritesClient)[]

/**
 * The client of a leader: each call that changes something asks for the lease right before it is sent. What an intent asks
 * for may be many calls; one that was paused between two of them must not go on under the next leader.
 */
export function fencedSprites(sprites: SpritesClient, lead: Pick<Lead, 'mayCall'>): SpritesClient {
  const fence = (name: (typeof CHANGES)[number]) => {
    const call = sprites[name] as (...given: unknown[]) => Promise<unknown>
    return async (...given: unknown[]) => {
      if (!lead.mayCall()) throw new LeaseEnding(`not begun: ${name}`)
      return call(...given)
    }
  }
  return {
    ...sprites,
    ...(Object.fromEntries(CHANGES.map((name) => [name, fence(name)])) as Partial<SpritesClient>),
  }
}
