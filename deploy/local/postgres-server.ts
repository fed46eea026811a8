import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { dataPath } from './postgres-folder.ts'
import { EmbeddedPostgresUnavailable, type PostgresProgram, postgresEnvironment } from './postgres-program.ts'

/** ms. Recovery after a crash replays what was written since the last checkpoint; seconds at our sizes. */
const READY_LIMIT_MS = 120_000

/** What to send to end a postmaster, and how long to wait for each: fast, then without a checkpoint, then at once. */
const STOP_STEPS: [NodeJS.Signals, number][] = [
  ['SIGINT', 10_000],
  ['SIGQUIT', 5_000],
  ['SIGKILL', 5_000],
]

/** Another postmaster has the folder, or the backends of a killed one have not all noticed yet. */
const TAKEN = /lock file ".*" already exists|pre-existing shared memory block/

export interface ServerOptions {
  program: PostgresProgram
  folder: string
  socketDirectory: string
  fsync: boolean
  log: (line: string) => void
}

/** Starts a postmaster on a folder that has a cluster. Null: another one has it; look again. */
export async function launchPostgres(options: ServerOptions): Promise<{ stop(): Promise<void> } | null> {
  const { program, folder, log } = options
  const [file = '', ...args] = [
    ...program.wrap,
    `${program.bin}/postgres`,
    '-D',
    dataPath(program, folder),
    ...settings(options),
  ]
  // A group of its own: Ctrl-C goes to the whole group, and we still have things to write when it arrives.
  const child = spawn(file, args, {
    cwd: folder,
    env: postgresEnvironment,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    ...program.ids,
  })
  const recent: string[] = []
  child.once('error', (error) => recent.push(error.message))
  const ended = once(child, 'close').catch(() => [null, 'not started']) // close: its last lines have been read
  const ready = new Promise<true>((resolve) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (recent.push(line) > 20) recent.shift()
      log(line)
      if (line.includes('ready to accept connections')) resolve(true)
    })
  })
  const overdue = new AbortController()
  const limit = sleep(READY_LIMIT_MS, 'overdue' as const, { signal: overdue.signal }).catch(
    () => 'overdue' as const,
  )

  const first = await Promise.race([ready, ended.then(() => 'ended' as const), limit])
  overdue.abort()
  if (first === true) {
    let stopping = false
    ended.then(([code, signal]) => stopping || log(`embedded Postgres ended by itself: ${signal ?? code}`))
    return {
      async stop() {
        stopping = true
        await end(child.kill.bind(child), ended)
      },
    }
  }
  if (first === 'overdue') await end(child.kill.bind(child), ended)
  if (recent.some((line) => TAKEN.test(line))) return null
  throw new EmbeddedPostgresUnavailable(`it does not start on ${folder}\n  ${recent.join('\n  ')}`)
}

function settings({ socketDirectory, fsync }: ServerOptions): string[] {
  const values = {
    listen_addresses: '', // no port, no password, nothing to collide with: who may enter the folder may connect
    unix_socket_directories: socketDirectory,
    cluster_name: 'clawpool',
    timezone: 'UTC',
    log_timezone: 'UTC',
    autovacuum_naptime: '1s', // dead index entries of bound instances slow each claim: 3,400/s fell to 900/s in 16 s
    // Statements and their details carry users' words; whoever sent them gets the error anyway.
    log_min_messages: 'log',
    log_min_error_statement: 'panic',
    log_error_verbosity: 'terse',
    log_checkpoints: 'off',
    ...(fsync ? {} : { fsync: 'off', full_page_writes: 'off' }),
  }
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

async function end(kill: (signal: NodeJS.Signals) => boolean, ended: Promise<unknown>): Promise<void> {
  for (const [signal, ms] of STOP_STEPS) {
    kill(signal)
    const waiting = new AbortController()
    const patience = sleep(ms, 'late', { signal: waiting.signal }).catch(() => 'late')
    const first = await Promise.race([ended, patience])
    waiting.abort()
    if (first !== 'late') return
  }
}
