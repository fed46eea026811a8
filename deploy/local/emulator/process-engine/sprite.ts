import { join } from 'node:path'
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
import type { Interference } from '../faults/interfere.ts'
import { createPower, type Power, type SleepTimes } from '../power.ts'
import { openPublicUrl } from '../public-url.ts'
import { serviceManager } from '../service-manager.ts'
import { vmClock } from '../vm-clock.ts'
import { openApiSocket } from './api-socket.ts'
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
  power: Power
  exec(command: ExecCommand, output: OutputSink): Promise<ExecSession>
  /** Starts the services that the disk holds. Its caller holds the Sprite's changes, as for `save` and `close`. */
  boot(): Promise<void>
  save(record: SpriteRecord): Promise<void>
  /** As a machine that starts anew. Takes its turn itself. */
  restart(): Promise<void>
  /** Ends every process and the URL; the folder stays. */
  close(): Promise<void>
}

export interface SpriteDeps {
  token: string
  standins: string
  interference: Interference
  sleepTimes: SleepTimes | null
  log: Log
  changed: () => void
  /** Runs a change alone among the changes to this Sprite, and refuses it (404) once the Sprite is gone. */
  change: <T>(run: () => Promise<T>) => Promise<T>
}

export async function openSprite(
  folder: SpriteFolder,
  stored: SpriteRecord,
  deps: SpriteDeps,
): Promise<RunningSprite> {
  const { token, standins, interference, sleepTimes, log, change, changed } = deps
  const { clock } = interference
  let record = stored
  const processes = spriteProcesses(folder, clock)
  const restarts = vmClock(clock) // no service is started again in a machine that stands still
  let letGoOn = () => {}
  const power = createPower({
    clock,
    times: sleepTimes,
    changed,
    vm: {
      suspend: () =>
        change(async () => {
          restarts.pause()
          letGoOn = await processes.stop()
        }),
      resume: () =>
        change(async () => {
          letGoOn()
          restarts.resume()
        }),
      powerOff: () => change(endEverything),
      boot: () => change(boot),
    },
  })
  const door = await openPublicUrl({
    preferredPort: record.port,
    sprite: record.name,
    token,
    auth: () => record.urlSettings.auth,
    power,
    interference,
    appStartedAt: () => manager.services.list().find(({ pid }) => pid > 0)?.startedAt ?? null,
  })
  if (door.port !== record.port) {
    if (record.port !== null)
      log.warn({ sprite: record.name }, 'port taken by another program: the URL has changed')
    record = { ...record, port: door.port }
    await writeRecord(folder, record)
  }

  const environment = spriteEnvironment(folder, standins, door.appPort)
  const names = spriteNames(folder, door.appPort)
  const manager = serviceManager({
    host: serviceHost({ folder, processes, environment, names, log }),
    clock: restarts,
    log,
    change,
  })
  const lost = new Set<() => void>() // one for each command that runs

  function onLost(run: () => void): () => void {
    lost.add(run)
    return () => lost.delete(run)
  }

  let closeSocket = async () => {}
  async function endEverything(): Promise<void> {
    manager.forget()
    await closeSocket()
    closeSocket = async () => {}
    for (const tell of lost) tell()
    lost.clear()
    await processes.endAll()
  }

  async function boot(): Promise<void> {
    restarts.resume()
    await closeSocket()
    closeSocket = await openApiSocket({
      path: join(folder.disk, '.sprite/api.sock'),
      clock,
      power,
      log,
      info: () => ({ id: record.id, name: record.name, url: door.url }),
    })
    await manager.boot()
  }

  return {
    get record() {
      return record
    },
    url: door.url,
    files: spriteFiles(folder, change),
    services: manager.services,
    power,
    boot,
    restart: () =>
      change(async () => {
        await endEverything()
        await boot()
      }),
    exec: (command, output) =>
      change(() => startExec({ folder, processes, environment, names, clock, onLost }, command, output)),
    checkpoints: {
      list: () => listCheckpoints(folder),
      create: (comment) =>
        change(async () => {
          const goOn = await processes.stop()
          try {
            return await createCheckpoint(folder, comment, clock.now())
          } finally {
            goOn()
          }
        }),
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
          await boot()
        }),
    },
    async save(changed) {
      await writeRecord(folder, changed)
      record = changed
    },
    async close() {
      power.stop()
      await endEverything()
      await door.close()
    },
  }
}
