import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../../../specs/clock.ts'
import {
  type Engine,
  type Log,
  Refusal,
  type Sprite,
  type SpriteChange,
  type SpriteWish,
  spriteNotFound,
} from '../engine.ts'
import type { Interference } from '../faults/interfere.ts'
import { createKeyedMutex } from '../mutex.ts'
import type { SleepTimes } from '../power.ts'
import { isSpriteName } from '../sprite-name.ts'
import { endProcesses } from './end-processes.ts'
import { installStandins } from './environment.ts'
import { forgetLeftovers, leftoverGroups } from './processes.ts'
import { openSprite, type RunningSprite } from './sprite.ts'
import {
  exists,
  layOut,
  makeSideFolders,
  readRecord,
  removeTree,
  repairDisk,
  type SpriteFolder,
  type SpriteRecord,
  spriteFolder,
  writeRecord,
} from './sprite-folder.ts'

/**
 * Sprites as folders and real processes. `<data dir>/sprites/` holds one folder for each, by name; names that start
 * with a dot are on their way in or out and go at the next start. There is no isolation beyond folders, ports and
 * environments: a command runs as the user who runs the emulator, and is trusted like any program of theirs.
 */
export async function openProcessEngine(config: {
  dataDir: string
  token: string
  log: Log
  interference: Interference
  sleepTimes: SleepTimes | null
}): Promise<Engine> {
  const { dataDir, token, log, interference, sleepTimes } = config
  const { clock } = interference
  const spritesDir = join(dataDir, 'sprites')
  await mkdir(spritesDir, { recursive: true })
  const standins = await installStandins(dataDir)
  const sprites = new Map<string, RunningSprite>()
  const listeners = new Set<(sprite: Sprite) => void>()
  const tell = (sprite: RunningSprite) => {
    for (const hear of listeners) hear(toSprite(sprite))
  }
  const lock = createKeyedMutex()
  const folderOf = (name: string) => spriteFolder(join(spritesDir, name))

  let isClosing = false
  const refuseWhenClosing = () => {
    if (isClosing) throw new Refusal(503, { error: 'service temporarily unavailable, please retry' })
  }

  function running(name: string): RunningSprite {
    refuseWhenClosing()
    const sprite = sprites.get(name)
    if (!sprite) throw spriteNotFound()
    return sprite
  }

  async function open(folder: SpriteFolder, record: SpriteRecord): Promise<void> {
    const { name } = record
    const sprite: RunningSprite = await openSprite(folder, record, {
      token,
      standins,
      interference,
      sleepTimes,
      log,
      changed: () => tell(sprite),
      change: (run) =>
        lock(name, async () => {
          refuseWhenClosing()
          if (sprites.get(name) !== sprite) throw spriteNotFound()
          return run()
        }),
    })
    await sprite.boot()
    sprites.set(name, sprite)
  }

  await openStored(spritesDir, clock, log, open)

  return {
    list: () => [...sprites.values()].map(toSprite).toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    get: (name) => toSprite(running(name)),
    create: (wish) =>
      lock(wish.name, async () => {
        refuseWhenClosing()
        if (!isSpriteName(wish.name))
          throw new Refusal(400, { error: 'invalid name: a-z, 0-9 and hyphens, at most 63' })
        if (sprites.has(wish.name) || (await exists(folderOf(wish.name).path)))
          throw new Refusal(409, { error: 'sprite already exists' })
        const record = newRecord(wish, clock.now())
        const fresh = spriteFolder(join(spritesDir, `.new-${randomUUID()}`))
        await layOut(fresh)
        await writeRecord(fresh, record)
        await rename(fresh.path, folderOf(wish.name).path)
        try {
          await open(folderOf(wish.name), record)
        } catch (error) {
          await removeTree(folderOf(wish.name).path) // not half there: the name can be used again
          throw error
        }
        log.info({ sprite: wish.name }, 'sprite created')
        tell(running(wish.name))
        return toSprite(running(wish.name))
      }),
    update: (name, change) =>
      lock(name, async () => {
        const sprite = running(name)
        await sprite.save(changed(sprite.record, change, clock.now()))
        tell(sprite)
        return toSprite(sprite)
      }),
    remove: (name) =>
      lock(name, async () => {
        await running(name).close()
        const gone = join(spritesDir, `.gone-${randomUUID()}`)
        await rename(folderOf(name).path, gone)
        sprites.delete(name)
        await removeTree(gone)
        log.info({ sprite: name }, 'sprite deleted')
      }),
    exec: async (name, command, output) => running(name).exec(command, output),
    files: (name) => running(name).files,
    checkpoints: (name) => running(name).checkpoints,
    services: (name) => running(name).services,
    power: (name) => running(name).power,
    restart: async (name) => running(name).restart(),
    watch(hear) {
      listeners.add(hear)
      return () => void listeners.delete(hear)
    },
    async close() {
      isClosing = true
      const closing = [...sprites].map(([name, sprite]) => lock(name, () => sprite.close()))
      for (const result of await Promise.allSettled(closing)) {
        if (result.status === 'rejected') log.error({ err: result.reason }, 'sprite did not end cleanly')
      }
    },
  }
}

/**
 * Brings back what an earlier emulator kept. What it left running is ended first, for all Sprites together, so that
 * no old process holds a port or a disk. A Sprite that cannot be brought back is left as it is, and said.
 */
async function openStored(
  spritesDir: string,
  clock: Clock,
  log: Log,
  open: (folder: SpriteFolder, record: SpriteRecord) => Promise<void>,
): Promise<void> {
  const folders: SpriteFolder[] = []
  for (const name of await readdir(spritesDir)) {
    if (name.startsWith('.')) await removeTree(join(spritesDir, name))
    else folders.push(spriteFolder(join(spritesDir, name)))
  }
  const groups = new Set<number>()
  for (const folder of folders) {
    await makeSideFolders(folder)
    for (const group of await leftoverGroups(folder)) groups.add(group)
  }
  await endProcesses(clock, { homes: new Set(folders.map(({ home }) => home)), groups })
  await Promise.all(
    folders.map(async (folder) => {
      try {
        await forgetLeftovers(folder)
        await repairDisk(folder)
        await open(folder, await readRecord(folder))
      } catch (error) {
        log.error({ err: error, folder: folder.path }, 'sprite cannot be brought back')
      }
    }),
  )
}

function newRecord(wish: SpriteWish, now: number): SpriteRecord {
  return {
    id: `sprite-${randomUUID()}`,
    name: wish.name,
    createdAt: now,
    updatedAt: now,
    labels: wish.labels,
    urlSettings: { auth: 'sprite', private_access: 'admins', ...wish.urlSettings },
    port: null,
  }
}

function changed(record: SpriteRecord, change: SpriteChange, now: number): SpriteRecord {
  return {
    ...record,
    updatedAt: now,
    labels: change.labels ?? record.labels,
    urlSettings: { ...record.urlSettings, ...change.urlSettings },
  }
}

function toSprite({ record, url, power }: RunningSprite): Sprite {
  const { id, name, urlSettings, labels, createdAt, updatedAt } = record
  const { status, runningAt, pausedAt } = power
  return {
    id,
    name,
    url,
    urlSettings,
    labels,
    status,
    createdAt,
    updatedAt,
    lastRunningAt: runningAt,
    lastWarmingAt: pausedAt,
  }
}
