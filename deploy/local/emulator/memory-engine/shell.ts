import { posix } from 'node:path'
import { sleep } from '../../../../specs/clock.ts'
import { codeOfSignal, toSignal } from '../signals.ts'
import type { Machine, Program, ProgramIo } from './machine.ts'
import { type Command, parseScript } from './shell-words.ts'

/** Commands that answer without running anything; others are not found, as in a shell. */
const BUILTINS = [
  'true',
  ':',
  'false',
  'echo',
  'cat',
  'sleep',
  'ps',
  'pwd',
  'env',
  'kill',
  'exit',
  'set',
  'exec',
  'uname',
]

export const isBuiltin = (name: string): boolean => BUILTINS.includes(name)

/** What a command needs to know of where it runs. */
interface Scope {
  machine: Machine
  io: ProgramIo
  pid: number
  signal: AbortSignal
  out(text: string): Promise<void>
  err(text: string): Promise<void>
}

/** Thrown by `exit`, which ends the script and not only its command. */
class Exit extends Error {
  readonly code: number
  constructor(code: number) {
    super(`exit ${code}`)
    this.code = code
  }
}

/** `sh -c script`, with `$0`, `$1`… from `args`. */
export function script(machine: Machine, text: string, args: string[]): Program {
  return async (io, self) => {
    const variable = (name: string) => {
      if (name === '$') return String(self.pid)
      if (/^\d+$/.test(name)) return args[Number(name)] ?? ''
      return io.env[name] ?? ''
    }
    let code = 0
    try {
      for (const command of parseScript(text, variable)) {
        if ((command.join === '&&' && code !== 0) || (command.join === '||' && code === 0)) continue
        code = await runOne(machine, io, self, command)
      }
      return code
    } catch (error) {
      if (error instanceof Exit) return error.code
      throw error
    }
  }
}

/** One command that needs no script, such as the argv of an exec. */
export function simple(machine: Machine, words: string[]): Program {
  return async (io, self) => {
    try {
      return await runOne(machine, io, self, { join: ';', words, stdout: 1, stderr: 2 })
    } catch (error) {
      if (error instanceof Exit) return error.code
      throw error
    }
  }
}

async function runOne(
  machine: Machine,
  io: ProgramIo,
  self: { pid: number; signal: AbortSignal },
  { words, stdout, stderr }: Command,
): Promise<number> {
  self.signal.throwIfAborted()
  const to = (target: Command['stdout']) => async (text: string) => {
    if (typeof target === 'number') return io.write(target, text)
    if (target.file !== '/dev/null') machine.disk.write(posix.resolve(io.dir, target.file), text)
  }
  const scope: Scope = { machine, io, ...self, out: to(stdout), err: to(stderr) }
  const [name = '', ...args] = words
  return command(scope, name, args)
}

async function command(scope: Scope, name: string, args: string[]): Promise<number> {
  const { machine, io } = scope
  switch (name) {
    case 'true':
    case ':':
    case 'set':
      return 0
    case 'false':
      return 1
    case 'exit':
      throw new Exit(Number(args[0] ?? 0) & 0xff)
    case 'exec': {
      const [next = 'true', ...rest] = args
      throw new Exit(await command(scope, next, rest))
    }
    case 'echo':
      await scope.out(args[0] === '-n' ? args.slice(1).join(' ') : `${args.join(' ')}\n`)
      return 0
    case 'pwd':
      await scope.out(`${io.dir}\n`)
      return 0
    case 'uname':
      await scope.out('Linux\n')
      return 0
    case 'env':
      await scope.out(Object.entries(io.env).reduce((text, [key, value]) => `${text}${key}=${value}\n`, ''))
      return 0
    case 'cat':
      return cat(scope, args)
    case 'sleep':
      await sleep(machine.clock, Number(args[0] ?? 0) * 1_000, scope.signal)
      return 0
    case 'kill':
      return kill(scope, args)
    case 'ps':
      await scope.out('  PID ELAPSED COMMAND\n')
      for (const { pid, command } of machine.processes.list())
        await scope.out(`${String(pid).padStart(5)}       0 ${posix.basename(command)}\n`)
      return 0
    default:
      await scope.err(`sh: ${name}: command not found\n`)
      return 127
  }
}

async function cat({ machine, io, out, err }: Scope, paths: string[]): Promise<number> {
  if (paths.length === 0) await out((await io.stdin).toString('utf8'))
  for (const path of paths) {
    const text = machine.disk.text(posix.resolve(io.dir, path))
    if (text === null) {
      await err(`cat: ${path}: No such file or directory\n`)
      return 1
    }
    await out(text)
  }
  return 0
}

async function kill({ machine, pid }: Scope, args: string[]): Promise<number> {
  const signal = toSignal((args.length > 1 ? (args[0] ?? '') : 'TERM').replace(/^-/, ''))
  const target = Number(args.at(-1))
  if (signal === null) return 1
  if (target === pid) throw new Exit(codeOfSignal(signal))
  const found = machine.processes.byPid(target)
  found?.signal(signal)
  return found ? 0 : 1
}
