import type { Power } from './power.ts'

/**
 * What stands behind the HTTP surface of the emulator. The surface (`http/`) speaks the Sprites API: paths, frames,
 * streams, error bodies. An engine holds the Sprites themselves and knows nothing of HTTP.
 *
 * Every method that names a Sprite throws `Refusal` with 404 when there is none of that name, and changes to one
 * Sprite are made one at a time, in the order in which they were asked for; reads never wait.
 */
export interface Engine {
  /** Every Sprite, ordered by name. */
  list(): Sprite[]
  get(name: string): Sprite
  create(wish: SpriteWish): Promise<Sprite>
  update(name: string, change: SpriteChange): Promise<Sprite>
  /** Ends its processes and forgets its disk and its checkpoints. */
  remove(name: string): Promise<void>
  /** Resolves once the command runs. `output` is called for every piece, in order, and waited for. */
  exec(name: string, command: ExecCommand, output: OutputSink): Promise<ExecSession>
  files(name: string): Files
  checkpoints(name: string): Checkpoints
  services(name: string): Services
  /** Whether it runs, and what keeps it running. */
  power(name: string): Power
  /** Ends every process and starts the services, as a machine that starts anew does; the disk stays. */
  restart(name: string): Promise<void>
  /** Calls `listener` with a Sprite that was made, changed, or woke or fell asleep; the returned function ends that. */
  watch(listener: (sprite: Sprite) => void): () => void
  /** Ends every process of every Sprite and waits for their end. The Sprites stay, and are there after a restart. */
  close(): Promise<void>
}

/** `warm` is suspended with its memory, `cold` is off. */
export type SpriteStatus = 'running' | 'warm' | 'cold'
export type UrlAuth = 'sprite' | 'public'
export interface UrlSettings {
  auth: UrlAuth
  private_access: string
}

export interface Sprite {
  /** `sprite-<uuid>`: one generation of the machine. Kept by a restore, new after delete and create. */
  id: string
  name: string
  url: string
  urlSettings: UrlSettings
  labels: string[]
  status: SpriteStatus
  /** ms since the epoch, as all of them here. */
  lastRunningAt: number
  /** When it last fell asleep; null: never. */
  lastWarmingAt: number | null
  createdAt: number
  updatedAt: number
}

export interface SpriteWish {
  name: string
  labels: string[]
  urlSettings: Partial<UrlSettings>
}
export interface SpriteChange {
  labels?: string[]
  urlSettings?: Partial<UrlSettings>
}

export interface ExecCommand {
  argv: [string, ...string[]]
  /** The binary when it is not `argv[0]`. */
  path: string | null
  /** As the Sprite sees it; null is the home directory. */
  dir: string | null
  /** Laid over the Sprite's own environment. */
  env: Record<string, string>
  /** False: the command reads the end of its input at once. */
  stdin: boolean
}

/** 1 is stdout, 2 is stderr: the numbers of the wire. */
export type OutputStream = 1 | 2
export type OutputSink = (stream: OutputStream, bytes: Buffer) => Promise<void> | void

export interface ExecSession {
  id: string
  command: string
  startedAt: number
  /** The exit code, after the last output; null when the Sprite was restored, deleted or closed under the command. */
  exited: Promise<number | null>
  writeStdin(bytes: Buffer): void
  endStdin(): void
  /** Signals the command and what it started in its own process group. Unknown names and dead commands are ignored. */
  signal(name: string): void
  /** TERM, and KILL when that did not help. */
  kill(): void
}

export interface FileEntry {
  name: string
  path: string
  type: 'file' | 'directory' | 'symlink' | 'other'
  size: number
  /** Octal, four digits. */
  mode: string
  modTime: string
  isDir: boolean
}

/** Paths are absolute and as the Sprite sees them. Failures are `Refusal`s with the API's error bodies. */
export interface Files {
  read(path: string): Promise<Buffer>
  /** `mode` null: 0644 for a new file, unchanged for an old one. */
  write(path: string, bytes: Buffer, options: { mode: number | null; parents: boolean }): Promise<FileEntry>
  /** The entries of a directory, or the one entry of anything else. */
  list(path: string, options: { recursive: boolean; pattern: string | null }): Promise<FileEntry[]>
  remove(path: string, options: { recursive: boolean }): Promise<void>
  rename(source: string, dest: string): Promise<void>
  /** Resolves to the number of bytes copied. */
  copy(source: string, dest: string, options: { recursive: boolean }): Promise<number>
  /** Resolves to the paths changed. */
  chmod(path: string, mode: number, options: { recursive: boolean }): Promise<string[]>
}

export interface Checkpoint {
  /** `v1`, `v2`…, counted for each Sprite apart. */
  id: string
  createdAt: number
  comment: string
}

export interface Checkpoints {
  list(): Promise<Checkpoint[]>
  create(comment: string): Promise<Checkpoint>
  /** Ends every process, puts the disk back, starts the services that the checkpoint holds. */
  restore(id: string): Promise<void>
}

export interface ServiceDefinition {
  name: string
  cmd: string
  args: string[]
  env: Record<string, string>
  dir: string
  needs: string[]
  http_port: number | null
}

export type ServiceStatus = 'stopped' | 'starting' | 'running' | 'stopping' | 'failed'
export interface Service {
  definition: ServiceDefinition
  status: ServiceStatus
  /** 0 when no process runs. */
  pid: number
  startedAt: number | null
  error: string
  restartCount: number
  nextRestartAt: number | null
}

export type ServiceEvent =
  | { type: 'started' }
  | { type: 'stdout' | 'stderr'; data: string }
  | { type: 'exit'; exit_code: number }
  | { type: 'error'; data: string }
  | { type: 'stopping' }
  | { type: 'stopped'; exit_code: number }

export interface Services {
  list(): Service[]
  get(name: string): Service
  /** Creates or replaces, then starts. Refused when another service has the HTTP port, unless it may share it. */
  put(definition: ServiceDefinition, options: { sharesPort: boolean }): Promise<void>
  remove(name: string): Promise<void>
  start(name: string): Promise<void>
  stop(name: string, timeoutMs: number): Promise<void>
  restart(name: string): Promise<void>
  signal(name: string, signal: string): Promise<void>
  /** Calls `listener` for what happens to the service from now on; the returned function ends that. */
  watch(name: string, listener: (event: ServiceEvent) => void): () => void
  /** The last `lines` lines that it wrote, of both streams. */
  logTail(name: string, lines: number): Promise<string>
}

/** What the API answers instead of doing what was asked: a status and a JSON body. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly status: number
  readonly body: Record<string, unknown>
  readonly headers: Record<string, string>
  constructor(status: number, body: Record<string, unknown>, headers: Record<string, string> = {}) {
    super(`${status} ${String(body.error ?? '')}`)
    this.status = status
    this.body = body
    this.headers = headers
  }
}

export const spriteNotFound = () => new Refusal(404, { error: 'sprite not found' })
export const serviceNotFound = () => new Refusal(404, { error: 'service not found' })

/** The shape of a pino logger that the emulator uses. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
export const silentLog: Log = { info() {}, warn() {}, error() {} }
