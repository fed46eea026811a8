import { type ParseArgsConfig, parseArgs } from 'node:util'
import { CliError, createClient } from './client.ts'
import { COMMANDS, type Command } from './commands.ts'

/** The world around a command, handed in. */
export interface Surroundings {
  env: Record<string, string | undefined>
  fetch: typeof globalThis.fetch
  out(line: string): void
  err(line: string): void
  /** What a person types; null: nobody is there to ask. */
  prompt: ((question: string) => Promise<string>) | null
}

/** Runs one command. Returns the exit code: 0 done, 1 failed, 2 called wrongly. */
export async function run(args: readonly string[], world: Surroundings): Promise<0 | 1 | 2> {
  const [name, ...rest] = args
  if (name === undefined || ['help', '--help', '-h'].includes(name)) {
    for (const line of help()) world.out(line)
    return name === undefined ? 2 : 0
  }
  try {
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
    if (!command) throw new CliError(`no command ${name}: "clawpool help" lists them`, 2)
    const { values, positionals } = parse(command, rest)
    const port = world.env.PORT ?? '3001'
    const url = world.env.POOL_URL ?? `http://127.0.0.1:${port}`
    const client = createClient(world.fetch, url, world.env.POOL_API_KEY)
    await command.run({ client, values, positionals, ...world })
    return 0
  } catch (error) {
    if (!(error instanceof CliError)) throw error
    world.err(`clawpool: ${error.message}`)
    return error.exitCode
  }
}

function parse(command: Command, args: string[]) {
  try {
    const config = { args, options: command.options ?? {}, allowPositionals: true } satisfies ParseArgsConfig
    const { values, positionals } = parseArgs(config)
    const { least = 0, most = least } = command.takes ?? {}
    if (positionals.length < least || positionals.length > most)
      throw new CliError(`usage: clawpool ${command.usage}`, 2)
    return { values: values as Record<string, string | boolean | undefined>, positionals }
  } catch (error) {
    if (error instanceof CliError) throw error
    throw new CliError(`${(error as Error).message}\nusage: clawpool ${command.usage}`, 2)
  }
}

function help(): string[] {
  const commands = Object.values(COMMANDS)
  const width = Math.max(...commands.map(({ usage }) => usage.length))
  return [
    'clawpool: asks a pool over HTTP.',
    '',
    ...commands.map(({ usage, help }) => `  clawpool ${usage.padEnd(width)}  ${help}`),
    '',
    'POOL_URL says which pool (http://127.0.0.1:3001), POOL_API_KEY opens it; both may stand in .env.',
  ]
}
