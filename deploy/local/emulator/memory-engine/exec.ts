import { posix } from 'node:path'
import { type ExecCommand, type ExecSession, type OutputSink, Refusal } from '../engine.ts'
import { programOf } from './commands.ts'
import type { Machine } from './machine.ts'

const ENVIRONMENT = {
  HOME: '/home/sprite',
  PATH: '/usr/local/bin:/usr/bin:/bin',
  USER: 'sprite',
  LANG: 'C.UTF-8',
}

/** Starts a modelled command. What it started by itself goes on when it ends. */
export async function startExec(
  machine: Machine,
  command: ExecCommand,
  output: OutputSink,
): Promise<ExecSession> {
  const dir = posix.resolve('/home/sprite', command.dir ?? '')
  await machine.disk.files.list(dir, { recursive: false, pattern: null }).catch(() => {
    throw new Refusal(400, { error: `chdir ${command.dir}: no such file or directory` })
  })
  const input: Buffer[] = []
  const stdin = Promise.withResolvers<Buffer>()
  const endStdin = () => stdin.resolve(Buffer.concat(input))
  if (!command.stdin) endStdin()
  const name = posix.basename(command.path ?? command.argv[0])
  const process = machine.processes.start(
    [`/usr/bin/${name}`, ...command.argv.slice(1)].join(' '),
    {
      write: async (stream, text) => {
        await output(stream, Buffer.from(text))
      },
      stdin: stdin.promise,
      env: { ...ENVIRONMENT, ...command.env },
      dir,
    },
    programOf(machine, command.path, command.argv),
  )
  return {
    id: String(process.pid),
    command: process.command,
    startedAt: machine.clock.now(),
    exited: process.exited,
    writeStdin: (bytes) => void input.push(bytes),
    endStdin,
    signal: process.signal,
    kill: () => process.signal('KILL'),
  }
}
