/**
 * `npm run emulator`: Sprites on this machine, alone, for whoever develops against them offline. Prints the address and
 * the token of the Sprites API, and ends with Ctrl-C.
 */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { systemRandom } from '../../../specs/random.ts'
import { ensureStandinRepo } from '../standin-repo.ts'
import { USUAL_SLEEP } from './power.ts'
import { checkTools, startEmulator } from './start.ts'

const USAGE = `npm run emulator -- [options]
  --engine process|memory   folders and real processes (the default), or modelled Sprites, by the thousands
  --port N                  by default the port of the last run, or any that is free
  --token TOKEN             by default one that is made up
  --data DIR                where the process engine keeps its Sprites [.data/emulator]
  --creates N               calls of create in a minute, as real accounts have 10 [no limit]
  --setup-ms N              how long a build takes in the memory engine [0]
  --sleep                   Sprites fall asleep when nobody talks to them
  --seed WORD               of chance: which requests meet a fault that meets some`

const whole = z.coerce.number().int().nonnegative()
const optionsSchema = z.object({
  engine: z.enum(['process', 'memory']).default('process'),
  port: whole.max(65_535).default(0),
  token: z.string().min(1).optional(),
  data: z.string().default('.data/emulator'),
  creates: whole.optional(),
  'setup-ms': whole.default(0),
  sleep: z.boolean().default(false),
  seed: z.string().default('clawpool'),
})

function readOptions() {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    options: {
      engine: text,
      port: text,
      token: text,
      data: text,
      creates: text,
      'setup-ms': text,
      sleep: { type: 'boolean' },
      seed: text,
      help: { type: 'boolean' },
    },
  })
  if (values.help) {
    console.log(USAGE)
    process.exit(0)
  }
  return optionsSchema.parse(values)
}

async function start() {
  const options = readOptions()
  const token = options.token ?? systemRandom.secret()
  const missing = options.engine === 'process' ? await checkTools() : null
  if (missing) throw new Error(`${missing} Or use --engine memory, which needs nothing.`)
  const emulator = await startEmulator({
    engine: options.engine,
    dataDir: join(options.data, 'sprites'),
    token,
    port: options.port,
    seed: options.seed,
    createsPerMinute: options.creates ?? null,
    setupMs: options['setup-ms'],
    sleepTimes: options.sleep ? USUAL_SLEEP : null,
  })
  console.log(`Sprites emulator (${options.engine} engine)`)
  console.log(`  SPRITES_API_URL=${emulator.url}`)
  console.log(`  SPRITE_TOKEN=${token}`)
  if (options.engine === 'process') {
    const { url } = await ensureStandinRepo({ dir: join(options.data, 'openclaw-standin.git') })
    console.log(`  OPENCLAW_REPO_URL=${url}`)
  } else console.log('  OPENCLAW_REPO_URL=https://example.com/openclaw (any will do: it is modelled)')
  console.log('Ctrl-C ends it.')

  const end = () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, end)
    emulator.close().then(
      () => process.exit(0),
      (error: unknown) => fail(error),
    )
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, end)
}

function fail(error: unknown): never {
  console.error(error instanceof z.ZodError ? `${z.prettifyError(error)}\n\n${USAGE}` : String(error))
  process.exit(1)
}

start().catch(fail)
