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
const { CannotStart } = await import('./world.ts')
const { banner } = await import('./banner.ts')

const role = process.argv[2] ?? 'all'
if (role !== 'all' && role !== 'api' && role !== 'controller') {
  console.error(`There is no role "${role}": use all, api or controller.`)
  process.exit(2)
}

try {
  const env = loadDotEnv('.env', process.env)
  const config = readConfig(env)
  const log = createLog(config)
  for (const warning of config.warnings) log.warn(warning)
  log.info({ role, ...describeConfig(config) }, 'starting')
  const starting = runPool(config, env, role, log)

  // From the first moment on: what a start has begun by then (a database, a Sprite's processes) is ended in order too.
  let stopping = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (stopping) return
      stopping = true
      log.info({ signal }, 'stopping: nothing new is begun, what is under way is recorded')
      void starting
        .then((pool) => pool.stop())
        .then(
          () => process.exit(0),
          (error: unknown) => {
            log.error({ error: String(error) }, 'the end was not orderly')
            process.exit(1)
          },
        )
    })
  const pool = await starting
  if (!stopping) process.stdout.write(banner(config, role, pool))
} catch (error) {
  // What a person can put right comes with its remedy; a stack would only hide it.
  const plain = error instanceof ConfigError || error instanceof CannotStart || isAddressInUse(error)
  console.error(plain ? (error as Error).message : error)
  process.exit(1)
}

function isAddressInUse(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
}
