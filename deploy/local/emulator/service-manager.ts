import { StringDecoder } from 'node:string_decoder'
import type { Clock } from '../../../specs/clock.ts'
import {
  type Log,
  Refusal,
  type Service,
  type ServiceDefinition,
  type ServiceEvent,
  type ServiceStatus,
  type Services,
  serviceNotFound,
} from './engine.ts'
import { toSignal } from './signals.ts'

/** Between a crash and the next start: doubled each time, and back to the first after a minute of running. */
const FIRST_BACKOFF_MS = 1_000
const LAST_BACKOFF_MS = 30_000
const STABLE_AFTER_MS = 60_000
const STOP_GRACE_MS = 10_000

/** A service that runs. */
export interface ServiceProcess {
  pid: number
  /** The exit code as a shell tells it: 128 + n after signal n. */
  exited: Promise<number>
  signal(signal: NodeJS.Signals): void
  /** Kills what it left behind. For the very turn of its end. */
  sweep(): void
  /** TERM, then KILL after `graceMs`; resolves when nothing of it is left. */
  end(graceMs: number): Promise<void>
}

/** What an engine lends the manager: the Sprite's disk and its processes. */
export interface ServiceHost {
  read(): Promise<StoredService[]>
  write(services: StoredService[]): Promise<void>
  /** `started` comes before the first output, and a piece of output is waited for. Throws `Refusal` where there is no such program. */
  start(
    definition: ServiceDefinition,
    hear: { started(): void; output(type: 'stdout' | 'stderr', bytes: Buffer): Promise<void> },
  ): Promise<ServiceProcess>
  /** Both streams, as they came. */
  log(name: string, bytes: Buffer): Promise<void>
  logTail(name: string, lines: number): Promise<string>
}

export interface StoredService extends ServiceDefinition {
  /** False after an explicit stop: it stays stopped, also over a boot. */
  enabled: boolean
}

interface Entry {
  definition: ServiceDefinition
  enabled: boolean
  status: ServiceStatus
  leader: ServiceProcess | null
  startedAt: number | null
  error: string
  restartCount: number
  nextRestartAt: number | null
  cancelRestart: () => void
}

interface Deps {
  host: ServiceHost
  clock: Clock
  log: Log
  /** Runs a change alone among the changes to this Sprite. */
  change: <T>(run: () => Promise<T>) => Promise<T>
}

/**
 * The services of one Sprite, which are started again when they end by themselves. `boot` and `halt` are for
 * whoever holds the Sprite's changes already; the methods of `services` take their turn themselves.
 */
export function serviceManager(deps: Deps) {
  const { host, clock, log, change } = deps
  let entries = new Map<string, Entry>()
  const listeners = new Map<string, Set<(event: ServiceEvent) => void>>()

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
    await host.write(stored)
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
      const leader = await host.start(definition, {
        started: () => emit(name, { type: 'started' }),
        output: follower(name),
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

  function onExit(entry: Entry, leader: ServiceProcess, code: number): void {
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

  /** Output into the log and to whoever watches; a character may come in two pieces. */
  function follower(name: string) {
    const decoders = { stdout: new StringDecoder('utf8'), stderr: new StringDecoder('utf8') }
    return async (type: 'stdout' | 'stderr', bytes: Buffer) => {
      // A full disk is no reason to stop reading, which would stop the service.
      await host
        .log(name, bytes)
        .catch((error: unknown) => log.warn({ err: error, service: name }, 'service output lost'))
      const data = decoders[type].write(bytes)
      if (data !== '') emit(name, { type, data })
    }
  }

  const services: Services = {
    list: () => [...entries.values()].map(toService),
    get: (name) => toService(entryOf(name)),
    put: (definition, { sharesPort }) =>
      change(async () => {
        const { name } = definition
        const rival = [...entries.values()].find(
          (entry) => entry.definition.http_port !== null && entry.definition.name !== name,
        )
        if (definition.http_port !== null && rival && !sharesPort) {
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
    async signal(name, wanted) {
      const signal = toSignal(wanted)
      if (signal === null) throw new Refusal(400, { error: 'invalid signal' })
      const { leader } = entryOf(name)
      if (!leader) throw new Refusal(409, { error: 'service not running' })
      leader.signal(signal)
    },
    watch(name, listener) {
      const watching = listeners.get(name) ?? new Set()
      listeners.set(name, watching.add(listener))
      return () => {
        watching.delete(listener)
        if (watching.size === 0 && listeners.get(name) === watching) listeners.delete(name)
      }
    },
    logTail: (name, lines) => host.logTail(name, lines),
  }

  return {
    services,
    /** Reads the definitions from the disk and starts those that were not stopped, what others need first. */
    async boot(): Promise<void> {
      const stored = await host.read()
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

/** What a service needs comes before it; a circle is cut where it is met, and an unknown name is passed over. */
function inOrderOfNeed(services: readonly StoredService[]): StoredService[] {
  const byName = new Map(services.map((service) => [service.name, service]))
  const ordered: StoredService[] = []
  const visited = new Set<string>()
  const visit = (name: string) => {
    const service = byName.get(name)
    if (!service || visited.has(name)) return
    visited.add(name)
    for (const need of service.needs) visit(need)
    ordered.push(service)
  }
  for (const name of byName.keys()) visit(name)
  return ordered
}
