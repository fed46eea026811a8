/**
 * A pool as a person runs it: `node deploy/start.ts` in a process of its own, with its own data folder. What it prints,
 * how it ends and what it leaves behind are part of what is tested.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, realpathSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Variables } from '../../deploy/variables.ts'
import { emulatedSprites } from './emulated-sprites.ts'
import { poolClient } from './pool-client.ts'
import { type Found, processesOf } from './processes.ts'
import { ROOT } from './sources.ts'
import { until } from './until.ts'

/** ms. Four of them make the database, on two busy cores more. */
const START_LIMIT_MS = 90_000
/** ms. What is under way is let finish: one call to a Sprite, one answer to a caller. */
const STOP_LIMIT_MS = 60_000

export interface ProcessOptions {
  /** Variables beside those that make it quick; an empty one is unset. */
  env?: Record<string, string>
  role?: 'all' | 'api' | 'controller'
  /** Kept: whoever made it removes it. */
  dataDir?: string
  /** `npm start` instead of node itself, as a person types it. */
  npm?: boolean
}

/** Short intervals: what waits for a tick in production waits here for a moment. */
export const QUICK = {
  PORT: '0',
  LOG_LEVEL: 'debug',
  LOG_PRETTY: 'false',
  HEARTBEAT_INTERVAL_MS: '1000',
  TICK_INTERVAL_MS: '500',
  POOL_RECONCILE_INTERVAL_MS: '1000',
}

const COMPILE_CACHE = join(tmpdir(), 'clawpool-test-compile-cache')

/** No variable of whoever runs the tests reaches a pool of theirs: empty is unset, and wins over a `.env`. */
const CLEAN = Object.fromEntries(Object.keys(Variables.shape).map((name) => [name, '']))

export const temporaryFolder = (prefix = 'clawpool-') => realpathSync(mkdtempSync(join(tmpdir(), prefix)))

/** Ends whatever still lives of a data folder, then the folder itself. */
export async function removeDataDir(dataDir: string): Promise<void> {
  await endProcessesOf(dataDir)
  await rm(dataDir, { recursive: true, force: true, maxRetries: 5 })
}

async function endProcessesOf(dataDir: string): Promise<void> {
  await until(
    () => {
      const left = processesOf(dataDir)
      for (const { pid } of left) end(pid)
      return left.length === 0
    },
    { what: `rid of the processes of ${dataDir}` },
  )
}

function end(pid: number) {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended by itself
  }
}

export interface Ended {
  code: number | null
  output: string
}

/** Runs it until it ends: by itself, or by a Ctrl-C as soon as it says `interruptAt`. */
export async function runToEnd(options: ProcessOptions, interruptAt?: string): Promise<Ended> {
  const { child, output } = launch(options)
  let interrupted = false // once: a second Ctrl-C means something else
  child.stdout?.on('data', () => {
    if (interrupted || !interruptAt || !output().includes(interruptAt)) return
    interrupted = child.kill('SIGINT')
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), START_LIMIT_MS)
  const [code] = (await once(child, 'close')) as [number | null]
  clearTimeout(timer)
  return { code, output: output() }
}

export type PoolProcess = Awaited<ReturnType<typeof startPoolProcess>>

/** @throws Error with all that it printed, when it ends or says nothing in time. */
export async function startPoolProcess(options: ProcessOptions = {}) {
  const dataDir = options.dataDir ?? temporaryFolder()
  const { child, output } = launch({ ...options, dataDir })
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  let alive = true
  void ended.then(() => {
    alive = false
  })
  const address = () => /Claw Pool \(\w+\) at (http:\S+)/.exec(output())?.[1]
  const url = await until<string>(() => address() ?? (alive ? '' : 'ended'), {
    what: 'started',
    deadlineMs: START_LIMIT_MS,
  }).catch(() => 'late')
  if (!url.startsWith('http')) {
    child.kill('SIGKILL')
    if (options.dataDir === undefined) await removeDataDir(dataDir)
    throw new Error(`it did not start (${url}):\n${output()}`)
  }

  const key = options.env?.POOL_API_KEY ?? JSON.parse(readFileSync(join(dataDir, 'keys.json'), 'utf8')).apiKey
  const emulator = /Sprites emulator at (http:[^\s,]+)/.exec(output())?.[1]
  const token = emulator && JSON.parse(readFileSync(join(dataDir, 'keys.json'), 'utf8')).emulatorToken
  return {
    ...poolClient(url, key),
    key: String(key),
    dataDir,
    child,
    output,
    sprites: emulatedSprites(emulator ?? '', token ?? ''),
    /** Every process that belongs to it. */
    processes: (): Found[] => processesOf(dataDir),
    /** Ctrl-C, or SIGTERM. Resolves with the exit code and how long it took. */
    async stop(signal: 'SIGINT' | 'SIGTERM' = 'SIGINT'): Promise<{ code: number | null; ms: number }> {
      const startedAt = performance.now()
      // A terminal's Ctrl-C goes to the whole foreground group: npm and what it started.
      if (options.npm && child.pid) process.kill(-child.pid, signal)
      else child.kill(signal)
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS)
      const [code] = await ended
      clearTimeout(timer)
      return { code, ms: performance.now() - startedAt }
    },
    /** kill -9: nobody says goodbye. */
    async kill(): Promise<void> {
      child.kill('SIGKILL')
      await ended
    },
    /** For the end of a test, however it went. */
    async remove(): Promise<void> {
      if (alive) child.kill('SIGKILL')
      await removeDataDir(dataDir)
    },
  }
}

function launch({ env = {}, role = 'all', dataDir = '', npm = false }: ProcessOptions): {
  child: ChildProcess
  output: () => string
} {
  const variables = { ...CLEAN, ...QUICK, ...env, POOL_DATA_DIR: dataDir }
  const surroundings = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    LANG: 'C.UTF-8',
    NODE_COMPILE_CACHE: COMPILE_CACHE, // a dozen starts of the same sources: half a second each
  }
  const child = npm
    ? spawn('npm', ['start'], { cwd: ROOT, detached: true, env: { ...surroundings, ...variables } })
    : spawn(process.execPath, [join(ROOT, 'deploy/start.ts'), role], {
        cwd: tmpdir(), // no `.env` there
        env: { ...surroundings, ...variables },
      })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
  return { child, output: () => text }
}
