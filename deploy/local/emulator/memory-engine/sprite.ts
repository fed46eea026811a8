import type { Random } from '../../../../specs/random.ts'
import { createDoor, type Door } from '../door.ts'
import {
  type Checkpoint,
  type Checkpoints,
  type ExecCommand,
  type ExecSession,
  type Files,
  type Log,
  type OutputSink,
  Refusal,
  type Services,
  type UrlSettings,
} from '../engine.ts'
import type { Interference } from '../faults/interfere.ts'
import { createPower, type Power, type SleepTimes } from '../power.ts'
import { serviceManager } from '../service-manager.ts'
import { vmClock } from '../vm-clock.ts'
import { createDisk, type Tree } from './disk.ts'
import { startExec } from './exec.ts'
import { createProcesses, type Machine } from './machine.ts'
import type { Repository } from './repository.ts'
import { serviceHost } from './service-host.ts'

export interface SpriteRecord {
  readonly id: string
  readonly name: string
  readonly url: string
  readonly createdAt: number
  updatedAt: number
  labels: string[]
  urlSettings: UrlSettings
}

export interface MemorySprite {
  readonly record: SpriteRecord
  readonly machine: Machine
  readonly door: Door
  readonly power: Power
  files: Files
  checkpoints: Checkpoints
  services: Services
  exec(command: ExecCommand, output: OutputSink): Promise<ExecSession>
  restart(): Promise<void>
  close(): void
}

export interface SpriteDeps {
  token: string
  random: Random
  log: Log
  repository: Repository
  interference: Interference
  sleepTimes: SleepTimes | null
  setupMs: number
  /** Runs a change alone among the changes to this Sprite, and refuses it (404) once the Sprite is gone. */
  change: <T>(run: () => Promise<T>) => Promise<T>
  changed: () => void
}

/** One modelled Sprite: a disk in a map, processes that are promises, and a clock that stands still while it sleeps. */
export function createSprite(record: SpriteRecord, deps: SpriteDeps): MemorySprite {
  const { token, random, log, repository, interference, sleepTimes, setupMs, change, changed } = deps
  const clock = vmClock(interference.clock)
  const disk = createDisk(clock)
  const processes = createProcesses()
  const machine: Machine = {
    clock,
    random,
    disk,
    repository,
    processes,
    setupMs,
    gateway: null,
    holdAwake: sleepTimes && holdAwake,
  }
  const manager = serviceManager({ host: serviceHost(machine), clock, log, change })
  const kept: { checkpoint: Checkpoint; tree: Tree }[] = []

  async function powerOff(): Promise<void> {
    manager.forget()
    processes.endAll()
    clock.clear()
    clock.resume()
    machine.gateway = null
  }

  const power = createPower({
    clock: interference.clock,
    times: sleepTimes,
    changed,
    vm: {
      suspend: async () => clock.pause(),
      resume: async () => clock.resume(),
      powerOff,
      boot: () => manager.boot(),
    },
  })

  /** A task: taken at once, although the Sprite is awake only a turn later. */
  function holdAwake(): () => void {
    const held = power.hold()
    return () => void held.then((release) => release())
  }

  const door = createDoor({
    sprite: record.name,
    url: () => record.url,
    token,
    auth: () => record.urlSettings.auth,
    power,
    interference,
    appStartedAt: () => manager.services.list().find(({ pid }) => pid > 0)?.startedAt ?? null,
  })

  return {
    record,
    machine,
    door,
    power,
    files: {
      ...disk.files,
      write: (path, bytes, options) => change(() => disk.files.write(path, bytes, options)),
      remove: (path, options) => change(() => disk.files.remove(path, options)),
      rename: (source, dest) => change(() => disk.files.rename(source, dest)),
      copy: (source, dest, options) => change(() => disk.files.copy(source, dest, options)),
      chmod: (path, mode, options) => change(() => disk.files.chmod(path, mode, options)),
    },
    services: manager.services,
    exec: (command, output) => change(() => startExec(machine, command, output)),
    restart: () =>
      change(async () => {
        await powerOff()
        await manager.boot()
      }),
    checkpoints: {
      list: async () => kept.map(({ checkpoint }) => checkpoint),
      create: (comment) =>
        change(async () => {
          const checkpoint = { id: `v${kept.length + 1}`, createdAt: clock.now(), comment }
          kept.push({ checkpoint, tree: disk.tree() })
          return checkpoint
        }),
      restore: (id) =>
        change(async () => {
          const found = kept.find(({ checkpoint }) => checkpoint.id === id)
          if (!found) {
            const error = `checkpoint with path checkpoints/${id} not found: sql: no rows in result set`
            throw new Refusal(404, { error })
          }
          await powerOff()
          disk.replace(found.tree)
          await manager.boot()
        }),
    },
    close() {
      power.stop()
      void powerOff()
    },
  }
}
