import { randomUUID } from 'node:crypto'
import type { Random } from '../../../../specs/random.ts'
import { type Engine, type Log, Refusal, type Sprite, spriteNotFound } from '../engine.ts'
import type { Interference } from '../faults/interfere.ts'
import { createKeyedMutex } from '../mutex.ts'
import type { SleepTimes } from '../power.ts'
import { isSpriteName } from '../sprite-name.ts'
import { openListener } from './listener.ts'
import type { Repository } from './repository.ts'
import { createSprite, type MemorySprite } from './sprite.ts'

/** Between name and suffix of the first label of a real Sprite's URL; observed: 5 characters. */
const SUFFIX_LENGTH = 5

export interface MemoryEngineConfig {
  token: string
  random: Random
  log: Log
  repository: Repository
  interference: Interference
  sleepTimes: SleepTimes | null
  setupMs: number
}

/**
 * Thousands of Sprites in one process: no disk, no child processes, and all time from one clock. The programs that a
 * pool runs are modelled by the files and routes that they leave; whatever else is run must be very simple.
 */
export async function openMemoryEngine(config: MemoryEngineConfig): Promise<Engine> {
  const { random, log, interference } = config
  const { clock } = interference
  const sprites = new Map<string, MemorySprite>()
  const byLabel = new Map<string, MemorySprite>()
  const listeners = new Set<(sprite: Sprite) => void>()
  const lock = createKeyedMutex()
  const listener = await openListener((label) => byLabel.get(label))

  function find(name: string): MemorySprite {
    const sprite = sprites.get(name)
    if (!sprite) throw spriteNotFound()
    return sprite
  }
  function tell(sprite: MemorySprite): void {
    for (const hear of listeners) hear(toSprite(sprite))
  }
  function forget(sprite: MemorySprite): void {
    sprite.close()
    sprites.delete(sprite.record.name)
    byLabel.delete(labelOf(sprite))
  }

  return {
    list: () => [...sprites.values()].map(toSprite).toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    get: (name) => toSprite(find(name)),
    create: ({ name, labels, urlSettings }) =>
      lock(name, async () => {
        if (!isSpriteName(name))
          throw new Refusal(400, { error: 'invalid name: a-z, 0-9 and hyphens, at most 63' })
        if (sprites.has(name)) throw new Refusal(409, { error: 'sprite already exists' })
        const now = clock.now()
        const sprite: MemorySprite = createSprite(
          {
            id: `sprite-${randomUUID()}`,
            name,
            url: listener.urlOf(`${name}-${random.word(SUFFIX_LENGTH)}`),
            createdAt: now,
            updatedAt: now,
            labels,
            urlSettings: { auth: 'sprite', private_access: 'admins', ...urlSettings },
          },
          {
            ...config,
            changed: () => tell(sprite),
            change: (run) =>
              lock(name, async () => {
                if (sprites.get(name) !== sprite) throw spriteNotFound()
                return run()
              }),
          },
        )
        sprites.set(name, sprite)
        byLabel.set(labelOf(sprite), sprite)
        tell(sprite)
        log.info({ sprite: name }, 'sprite created')
        return toSprite(sprite)
      }),
    update: (name, { labels, urlSettings }) =>
      lock(name, async () => {
        const sprite = find(name)
        const { record } = sprite
        record.updatedAt = clock.now()
        record.labels = labels ?? record.labels
        record.urlSettings = { ...record.urlSettings, ...urlSettings }
        tell(sprite)
        return toSprite(sprite)
      }),
    remove: (name) =>
      lock(name, async () => {
        forget(find(name))
        log.info({ sprite: name }, 'sprite deleted')
      }),
    exec: async (name, command, output) => find(name).exec(command, output),
    files: (name) => find(name).files,
    checkpoints: (name) => find(name).checkpoints,
    services: (name) => find(name).services,
    power: (name) => find(name).power,
    restart: async (name) => find(name).restart(),
    watch(hear) {
      listeners.add(hear)
      return () => void listeners.delete(hear)
    },
    async close() {
      for (const sprite of [...sprites.values()]) forget(sprite)
      await listener.close()
    },
  }
}

const labelOf = ({ record }: MemorySprite) => record.url.slice(record.url.lastIndexOf('/') + 1)

function toSprite({ record, power }: MemorySprite): Sprite {
  return {
    ...record,
    status: power.status,
    lastRunningAt: power.runningAt,
    lastWarmingAt: power.pausedAt,
  }
}
