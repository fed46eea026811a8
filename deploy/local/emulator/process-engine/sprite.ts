import type { Clock } from '../../../../specs/clock.ts'
import {
  type Checkpoints,
  type ExecCommand,
  type ExecSession,
  type Files,
  type Log,
  type OutputSink,
  Refusal,
  type Services,
} from '../engine.ts'
import { openPublicUrl } from '../public-url.ts'
import { serviceManager } from '../service-manager.ts'
import { checkpointDisk, copyTree, createCheckpoint, listCheckpoints } from './checkpoints.ts'
import { spriteEnvironment, spriteNames } from './environment.ts'
import { startExec } from './exec.ts'
import { spriteFiles } from './files.ts'
import { spriteProcesses } from './processes.ts'
import { serviceHost } from './service-host.ts'
import { prepareSwap, type SpriteFolder, type SpriteRecord, swapDisk, writeRecord } from './sprite-folder.ts'

/** One Sprite while the emulator runs. */
export interface RunningSprite {
  readonly record: SpriteRecord
  readonly url: string
  files: Files
  checkpoints: Checkpoints
  services: Services
  exec(command: ExecCommand, output: OutputSink): Promise<ExecSession>
  /** Starts the services that the disk holds. Its caller holds the Sprite's changes, as for the next two. */
  boot(): Promise<void>
  save(record: SpriteRecord): Promise<void>
  /** Ends every process and the URL; the folder stays. */
  close(): Promise<void>
}

export interface SpriteDeps {
  token: string
  standins: string
  clock: Clock
  log: Log
  /** Runs a change alone among the changes to this Sprite, and refuses it (404) once the Sprite is gone. */
  change: <T>(run: () => Promise<T>) => Promise<T>
}

export async function openSprite(
  folder: SpriteFolder,
  stored: SpriteRecord,
  deps: SpriteDeps,
): Promise<RunningSprite> {
  const { token, standins, clock, log, change } = deps
  let record = stored
  const door = await openPublicUrl({
    preferredPort: record.port,
    token,
    auth: () => record.urlSettings.auth,
    clock,
  })
  if (door.port !== record.port) {
    if (record.port !== null)
      log.warn({ sprite: record.name }, 'port taken by another program: the URL has changed')
    record = { ...record, port: door.port }
    await writeRecord(folder, record)
  }

  const environment = spriteEnvironment(folder, standins, door.appPort)
  const names = spriteNames(folder, door.appPort)
  const processes = spriteProcesses(folder, clock)
  const manager = serviceManager({
    host: serviceHost({ folder, processes, environment, names, log }),
    clock,
    log,
    change,
  })
  const lost = new Set<() => void>() // one for each command that runs

  function onLost(run: () => void): () => void {
    lost.add(run)
    return () => lost.delete(run)
  }

  async function endEverything(): Promise<void> {
    manager.forget()
    for (const tell of lost) tell()
    lost.clear()
    await processes.endAll()
  }

  return {
    get record() {
      return record
    },
    url: door.url,
    files: spriteFiles(folder, change),
    services: manager.services,
    boot: () => manager.boot(),
    exec: (command, output) =>
      change(() => startExec({ folder, processes, environment, names, clock, onLost }, command, output)),
    checkpoints: {
      list: () => listCheckpoints(folder),
      create: (comment) =>
        change(() => processes.whileStopped(() => createCheckpoint(folder, comment, clock.now()))),
      restore: (id) =>
        change(async () => {
          const source = await checkpointDisk(folder, id)
          if (source === null) {
            const error = `checkpoint with path checkpoints/${id} not found: sql: no rows in result set`
            throw new Refusal(404, { error })
          }
          await prepareSwap(folder, (target) => copyTree(source, target))
          await endEverything()
          await swapDisk(folder)
          await manager.boot()
        }),
    },
    async save(changed) {
      await writeRecord(folder, changed)
      record = changed
    },
    async close() {
      await endEverything()
      await door.close()
    },
  }
}
