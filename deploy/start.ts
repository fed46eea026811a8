#!/usr/bin/env node
/** `npm start`: both halves in one process; `start.ts api` and `start.ts controller` run one each. */
const [major = 0] = process.versions.node.split('.').map(Number)
if (major < 24) {
  console.error(
    `Claw Pool needs Node 24 or newer, this is ${process.versions.node}: run it by "npm start", which brings its own.`,
  )
  process.exit(1)
}

const { ConfigError, describeConfig, loadDotEnv, readConfig } = await import('./config.ts')
const { createLog } = await import('./log.ts')
const { runPool } = await import('./run.ts')
const { CannotStart, Stopped } = await import('./world.ts')
const { systemClock } = await import('../specs/clock.ts')
const { banner } = await import('./banner.ts')

const role = process.argv[2] ?? 'all'
if (role !== 'all' && role !== 'api' && role !== 'controller') {
  console.error(`There is no role "${role}": use all, api or controller.`)
  process.exit(2)
}

/** ms. Kubernetes and Railway are told to wait 100 s; what is not over then would be cut anyway. */
const STOP_LIMIT_MS = 100_000
/** ms. One Ctrl-C comes twice under npm, from the terminal and from npm; a second one of a person comes later. */
const ONE_PRESS_MS = 1_000

const stop = new AbortController()

try {
  const env = loadDotEnv('.env', process.env)
  const config = readConfig(env)
  const log = createLog(config)

  // Before anything is started: what a stop finds half begun it ends in order too.
  let askedAt: number | null = null
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (askedAt === null) {
        askedAt = systemClock.monotonic()
        log.info({ signal }, 'stopping: nothing new is begun, what is under way is recorded')
        systemClock.after(STOP_LIMIT_MS, () => {
          log.error({ afterMs: STOP_LIMIT_MS }, 'the end took too long')
          process.exit(1)
        })
        stop.abort(new Stopped(signal))
      } else if (systemClock.monotonic() - askedAt >= ONE_PRESS_MS) process.exit(130) // asked again: at once
    })

  for (const warning of config.warnings) log.warn(warning)
  log.info({ role, ...describeConfig(config) }, 'starting')
  const pool = await runPool(config, env, role, log, systemClock, stop.signal)
  process.stdout.write(banner(config, role, pool))
  await new Promise<void>((resolve) => {
    if (stop.signal.aborted) resolve()
    else stop.signal.addEventListener('abort', () => resolve(), { once: true })
  })
  await pool.stop()
  process.exit(0)
} catch (error) {
  if (error instanceof Stopped) process.exit(0) // while it was starting; what had begun has ended
  // What a person can put right comes with its remedy; a stack would only hide it.
  const plain = error instanceof ConfigError || error instanceof CannotStart || isAddressInUse(error)
  console.error(plain ? (error as Error).message : error)
  process.exit(1)
}

function isAddressInUse(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
}
