import { posix } from 'node:path'
import { SPRITE_PATHS } from '../../../sprite/templates.ts'
import { Refusal } from '../engine.ts'
import { runGateway } from './gateway-process.ts'
import { joinsLauncher } from './joins.ts'
import type { Machine, Program } from './machine.ts'
import { setupLauncher } from './setup.ts'
import { isBuiltin, script, simple } from './shell.ts'

const SHELLS = ['sh', 'bash', 'dash']

/**
 * What a command line runs: one of our own three scripts, by its path, modelled as a whole; another file of the disk,
 * read as a script; or a builtin. Throws a 400 for a program that there is none of.
 */
export function programOf(machine: Machine, path: string | null, argv: readonly string[]): Program {
  const [first = '', ...args] = argv
  const file = path ?? first
  if (SHELLS.includes(posix.basename(file))) {
    const [option = '', text = '', ...rest] = args
    if (/^-[a-z]*c$/.test(option)) return script(machine, text, rest)
    return scriptFile(machine, option, args.slice(1)) ?? notFound(option)
  }
  if (file.startsWith('/')) {
    const found = scriptFile(machine, file, args)
    if (found) return found
  }
  const name = posix.basename(file)
  if (isBuiltin(name)) return simple(machine, [name, ...args])
  throw new Refusal(400, { error: `exec: "${file}": executable file not found in $PATH` })
}

function scriptFile(machine: Machine, path: string, args: string[]): Program | null {
  const text = machine.disk.text(posix.resolve(SPRITE_PATHS.home, path))
  if (text === null) return null
  switch (path) {
    case SPRITE_PATHS.setupScript:
      return setupLauncher(machine)
    case SPRITE_PATHS.joinsScript:
      return joinsLauncher(machine, args)
    case SPRITE_PATHS.gatewayScript:
      return runGateway(machine)
    default:
      return script(machine, text, [path, ...args])
  }
}

/** The shell runs, and does not find its script. */
const notFound =
  (path: string): Program =>
  async ({ write }) => {
    await write(2, `bash: ${path}: No such file or directory\n`)
    return 127
  }
