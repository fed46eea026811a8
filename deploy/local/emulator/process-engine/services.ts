import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import type { Clock } from '../../../../specs/clock.ts'
import {
  type Log,
  Refusal,
  type Service,
  type ServiceDefinition,
  type ServiceEvent,
  type ServiceStatus,
  type Services,
  serviceNotFound,
} from '../engine.ts'
import { isSignal } from './exec.ts'
import { mapCommand, mapDir, mapWord } from './paths.ts'
import type { Leader, SpriteProcesses } from './processes.ts'
import { type ServiceLog, serviceLog, tailOf } from './service-log.ts'
import { inOrderOfNeed, readServices, writeServices } from './service-store.ts'
import type { SpriteFolder } from './sprite-folder.ts'

/** Between a crash and the next start: doubled each time, and back to the first after a minute of running. */
const FIRST_BACKOFF_MS = 1_000
const LAST_BACKOFF_MS = 30_000
const STABLE_AFTER_MS = 60_000
const STOP_GRACE_MS = 10_000

interface Entry {
  definition: ServiceDefinition
  enabled: boolean
  status: ServiceStatus
  leader: Leader | null
  startedAt: number | null
  error: string
  restartCount: number
  nextRestartAt: number | null
  cancelRestart: () => void
}

interface Deps {
  folder: SpriteFolder
  processes: SpriteProcesses
  environment: Record<string, string>
  names: Record<string, string>
  clock: Clock
  log: Log
  /** Runs a change alone among the changes to this Sprite. */
  change: <T>(run: () => Promise<T>) => Promise<T>
}

/**
 * The services of one Sprite: children that are started again when they end by themselves. `boot` and `halt` are for
 * whoever holds the Sprite's changes already; the methods of `services` take their turn themselves.
 */
export function serviceManager(deps: Deps) {
  const { folder, processes, environment, names, clock, log, change } = deps
  let entries = new Map<string, Entry>()
  const listeners = new Map<string, Set<(event: ServiceEvent) => void>>()
  const logs = new Map<string, ServiceLog>()
  const logPath = (name: string) => join(folder.logs, 'services', `${name}.log`)

  function emit(name: string, event: ServiceEvent): void {
    for (const listener of listeners.get(name) ?? []) listener(event)
  }

  function entryOf(name: string): Entry {
    const entry = entries.get(name)
    if (!entry) throw serviceNotFound()
    return entry
  }

  async function save(): Promise<void> {
    const stored = [...entries.values()].map(({ definition, enabled }) => ({ ...definition, enabled }))
    await writeServices(folder, stored)
  }

  async function enable(entry: Entry): Promise<void> {
    entry.enabled = true
    entry.restartCount = 0 // asked for: the waits begin anew
    await save()
  }

  async function launch(entry: Entry): Promise<void> {
    const { definition } = entry
    const { name } = definition
    entry.cancelRestart()
    entry.nextRestartAt = null
    entry.status = 'starting'
    try {
      const leader = await processes.spawn({
        file: await mapCommand(folder, definition.cmd),
        args: definition.args.map((word) => mapWord(folder, word)),
        argv0: mapWord(folder, definition.cmd),
        dir: await mapDir(folder, definition.dir),
        env: { ...environment, ...definition.env, ...names },
        stdin: false,
        read(stdout, stderr) {
          emit(name, { type: 'started' })
          void follow(name, stdout, 'stdout')
          void follow(name, stderr, 'stderr')
        },
      })
      Object.assign(entry, { leader, status: 'running', startedAt: clock.now(), error: '' })
      void leader.exited.then((code) => onExit(entry, leader, code))
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      entry.error = String(error.body.error)
      emit(name, { type: 'error', data: entry.error })
      planRestart(entry)
    }
  }

  function onExit(entry: Entry, leader: Leader, code: number): void {
    if (entry.leader !== leader) return // it was stopped, and whoever stopped it tells the rest
    leader.sweep() // a child of it may hold the port that the next start needs
    entry.leader = null
    entry.error = `exited with code ${code}`
    emit(entry.definition.name, { type: 'exit', exit_code: code })
    if (entry.startedAt !== null && clock.now() - entry.startedAt >= STABLE_AFTER_MS) entry.restartCount = 0
    planRestart(entry)
  }

  function planRestart(entry: Entry): void {
    entry.status = 'failed'
    const delayMs = Math.min(FIRST_BACKOFF_MS * 2 ** entry.restartCount, LAST_BACKOFF_MS)
    entry.nextRestartAt = clock.now() + delayMs
    entry.cancelRestart = clock.after(delayMs, () => {
      change(async () => {
        if (entries.get(entry.definition.name) !== entry || !entry.enabled || entry.leader) return
        entry.restartCount++
        await launch(entry)
      }).catch((error: unknown) => {
        if (error instanceof Refusal) return // the Sprite is gone, or everything ends
        log.error({ err: error, service: entry.definition.name }, 'restart failed')
      })
    })
  }

  async function halt(entry: Entry, graceMs: number): Promise<void> {
    const { leader, definition } = entry
    entry.cancelRestart()
    entry.nextRestartAt = null
    entry.leader = null
    if (!leader) return
    emit(definition.name, { type: 'stopping' })
    entry.status = 'stopping'
    await leader.end(graceMs)
    const code = await leader.exited
    // Seen live: a service that was stopped is `failed`, never `stopped`; only the stream says the other word.
    Object.assign(entry, { status: 'failed', error: `exited with code ${code}` })
    emit(definition.name, { type: 'stopped', exit_code: code })
  }

  async function follow(name: string, source: Readable, type: 'stdout' | 'stderr'): Promise<void> {
    const written = logs.get(name) ?? serviceLog(logPath(name))
    logs.set(name, written)
    const decoder = new StringDecoder('utf8')
    const warn = (error: unknown) => log.warn({ err: error, service: name }, 'service output lost')
    try {
      for await (const bytes of source) {
        await written.append(bytes).catch(warn) // a full disk is no reason to stop reading, which would stop the service
        const data = decoder.write(bytes)
        if (data !== '') emit(name, { type, data })
      }
    } catch (error) {
      warn(error)
    }
  }

  const services: Services = {
    list: () => [...entries.values()].map(toService),
    get: (name) => toService(entryOf(name)),
    put: (definition) =>
      change(async () => {
        const { name } = definition
        const rival = [...entries.values()].find(
          (entry) => entry.definition.http_port !== null && entry.definition.name !== name,
        )
        if (definition.http_port !== null && rival) {
          throw new Refusal(409, { error: 'another service already has an HTTP port configured' })
        }
        const old = entries.get(name)
        if (old) await halt(old, STOP_GRACE_MS)
        const entry = newEntry(definition, true)
        entries.set(name, entry)
        await save()
        await launch(entry)
      }),
    remove: (name) =>
      change(async () => {
        await halt(entryOf(name), STOP_GRACE_MS)
        entries.delete(name)
        await save()
      }),
    start: (name) =>
      change(async () => {
        const entry = entryOf(name)
        await enable(entry)
        if (!entry.leader) await launch(entry)
      }),
    stop: (name, timeoutMs) =>
      change(async () => {
        const entry = entryOf(name)
        entry.enabled = false
        await save()
        await halt(entry, timeoutMs)
      }),
    restart: (name) =>
      change(async () => {
        const entry = entryOf(name)
        await halt(entry, STOP_GRACE_MS)
        await enable(entry)
        await launch(entry)
      }),
    async signal(name, signal) {
      const full = signal.startsWith('SIG') ? signal : `SIG${signal}`
      if (!isSignal(full)) throw new Refusal(400, { error: 'invalid signal' })
      const { leader } = entryOf(name)
      if (!leader) throw new Refusal(409, { error: 'service not running' })
      leader.signal(full)
    },
    watch(name, listener) {
      const watching = listeners.get(name) ?? new Set()
      listeners.set(name, watching.add(listener))
      return () => {
        watching.delete(listener)
        if (watching.size === 0 && listeners.get(name) === watching) listeners.delete(name)
      }
    },
    logTail: (name, lines) => tailOf(logPath(name), lines),
  }

  return {
    services,
    /** Reads the definitions from the disk and starts those that were not stopped, what others need first. */
    async boot(): Promise<void> {
      const stored = await readServices(folder, log)
      entries = new Map(
        stored.map(({ enabled, ...definition }) => [definition.name, newEntry(definition, enabled)]),
      )
      for (const { name } of inOrderOfNeed(stored)) {
        const entry = entryOf(name)
        if (entry.enabled) await launch(entry)
      }
    },
    /** Nothing is started again from here on. Whoever calls this ends the processes. */
    forget(): void {
      for (const entry of entries.values()) {
        entry.cancelRestart()
        entry.leader = null
      }
      entries = new Map()
    },
  }
}

function newEntry(definition: ServiceDefinition, enabled: boolean): Entry {
  return {
    definition,
    enabled,
    status: 'stopped',
    leader: null,
    startedAt: null,
    error: '',
    restartCount: 0,
    nextRestartAt: null,
    cancelRestart() {},
  }
}

function toService(entry: Entry): Service {
  const { definition, status, leader, startedAt, error, restartCount, nextRestartAt } = entry
  return { definition, status, pid: leader?.pid ?? 0, startedAt, error, restartCount, nextRestartAt }
}
