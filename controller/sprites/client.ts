import type { Clock } from '../../specs/clock.ts'
import { requireSecureUrl } from '../gateway/secure-url.ts'
import { checkpointCalls } from './checkpoints.ts'
import { exec } from './exec.ts'
import { fileCalls } from './files.ts'
import { type CallSeen, createHttp, type HttpConfig } from './http.ts'
import { serviceCalls } from './services.ts'
import { spriteCalls } from './sprites.ts'

export interface Sprite {
  /** Of one disk: a Sprite made again under the same name has another. */
  id: string
  name: string
  url: string
  urlAuth: 'public' | 'sprite' | 'unknown'
  /** Says nothing about health: one whose disk hangs is `running` too. */
  status: 'cold' | 'warm' | 'running' | 'unknown'
  /** null: the answer had none, which is not the same as having none. */
  labels: string[] | null
  createdAt: string | null
}

/** A list entry may hold the name alone: null is "not said". */
export interface SpriteEntry {
  name: string
  id: string | null
  status: Sprite['status']
  url: string | null
  labels: string[] | null
}

/** Only ever a complete one: a page that fails throws. */
export interface Listing {
  sprites: SpriteEntry[]
}

export interface FileEntry {
  name: string
  path: string
  isDir: boolean
  /** bytes */
  size: number
  /** Octal digits, `0600`. */
  mode: string
}

export interface ExecResult {
  /** null: no exit frame came, so nothing is known about how the command ended. */
  exitCode: number | null
  /** The first megabyte of each. */
  stdout: string
  stderr: string
}

export interface Checkpoint {
  id: string
  createdAt: string
  comment: string | null
}

export interface StreamEnd {
  /** `ended`: a clean end, a reset or a time limit without either word. What happened is then read elsewhere. */
  outcome: 'complete' | 'error' | 'ended'
  message: string
}

export interface Service {
  name: string
  cmd: string
  args: string[]
  httpPort: number | null
  /** As the manager tells it, which may be stale: one that was stopped was seen as `failed`. */
  status: 'stopped' | 'starting' | 'running' | 'stopping' | 'failed' | 'unknown'
}

/**
 * One call, one request (a listing: one for each page), never repeated. Each throws the errors of `errors.ts`,
 * or the signal's reason when the caller aborts. Paths are absolute. Nothing returned is unbounded.
 */
export interface SpritesClient {
  list(prefix: string, signal?: AbortSignal): Promise<Listing>
  /** null: a definite "not found". Absence needs more than one of these. */
  get(name: string, signal?: AbortSignal): Promise<Sprite | null>
  /** Asks for a public URL; look at `urlAuth` whether it is. `SpritesUnavailable` may have created it. */
  create(request: { name: string; labels: string[] }, signal?: AbortSignal): Promise<Sprite>
  makePublic(name: string, signal?: AbortSignal): Promise<Sprite>
  remove(name: string, signal?: AbortSignal): Promise<'deleted' | 'absent'>

  /** null: no such path. */
  readFile(name: string, path: string, signal?: AbortSignal): Promise<Uint8Array | null>
  /** Parent folders are made. `mode` is octal digits. Not atomic: write beside it, then rename. */
  writeFile(
    name: string,
    path: string,
    bytes: Uint8Array | string,
    options: { mode: string },
    signal?: AbortSignal,
  ): Promise<void>
  /** null: no such directory. */
  listFiles(name: string, dir: string, signal?: AbortSignal): Promise<FileEntry[] | null>
  /** Already absent is success. */
  removeFile(name: string, path: string, signal?: AbortSignal): Promise<void>
  renameFile(name: string, from: string, to: string, signal?: AbortSignal): Promise<void>

  /** See `exec.ts`. `timeoutMs` counts from the open socket. */
  exec(
    name: string,
    argv: readonly string[],
    options?: { timeoutMs?: number },
    signal?: AbortSignal,
  ): Promise<ExecResult>

  listCheckpoints(name: string, signal?: AbortSignal): Promise<Checkpoint[]>
  createCheckpoint(name: string, comment: string, signal?: AbortSignal): Promise<StreamEnd>
  restoreCheckpoint(name: string, id: string, signal?: AbortSignal): Promise<StreamEnd>

  listServices(name: string, signal?: AbortSignal): Promise<Service[]>
  /** Makes or replaces it and starts it afresh, also when it was running. */
  putService(
    name: string,
    service: { name: string; cmd: string; httpPort: number },
    signal?: AbortSignal,
  ): Promise<void>
  restartService(name: string, service: string, signal?: AbortSignal): Promise<void>
  /** Already absent is success. */
  removeService(name: string, service: string, signal?: AbortSignal): Promise<void>
  /** The newest `lines` lines, oldest first. */
  serviceLogs(name: string, service: string, lines: number, signal?: AbortSignal): Promise<string[]>
}

/** ms. */
export interface Timeouts {
  /** GET of a Sprite, a page, checkpoints, services. */
  readMs: number
  /** Creates were seen to take 20 minutes and to succeed after a 500: later the name tells. */
  createMs: number
  changeMs: number
  /** The first touch of a cold Sprite wakes it, or hangs. */
  fileMs: number
  /** Wakes of more than 10 s were measured. */
  handshakeMs: number
  /** A command for which the caller names no other limit. */
  execMs: number
  checkpointMs: number
  /** The stream is held open over the restart: that long without a line, and its end is looked for elsewhere. */
  restoreIdleMs: number
  restoreMs: number
  serviceMs: number
  logsMs: number
}

export const TIMEOUTS: Timeouts = {
  readMs: 30_000,
  createMs: 120_000,
  changeMs: 30_000,
  fileMs: 60_000,
  handshakeMs: 60_000,
  execMs: 60_000,
  checkpointMs: 300_000,
  restoreIdleMs: 20_000,
  restoreMs: 120_000,
  serviceMs: 60_000,
  logsMs: 15_000,
}

export function createSpritesClient(config: {
  baseUrl: string
  token: string
  clock: Clock
  observeCall?: (call: CallSeen) => void
  timeouts?: Partial<Timeouts>
}): SpritesClient {
  const { token } = config
  requireSecureUrl(config.baseUrl)
  // fetch would refuse it too, with the token in its message.
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Error('the Sprites token is empty or no header can carry it')
  const timeouts = { ...TIMEOUTS, ...config.timeouts }
  const wire: HttpConfig = { ...config }
  const http = createHttp(wire)

  return {
    ...spriteCalls(http, timeouts),
    ...fileCalls(http, timeouts),
    ...checkpointCalls(http, timeouts, token),
    ...serviceCalls(http, timeouts),
    exec(name, argv, options, signal) {
      const bodyMs = options?.timeoutMs ?? timeouts.execMs
      return exec(wire, { name, argv, handshakeMs: timeouts.handshakeMs, bodyMs, signal })
    },
  }
}
