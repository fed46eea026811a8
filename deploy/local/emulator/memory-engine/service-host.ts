import { posix } from 'node:path'
import { Refusal } from '../engine.ts'
import type { ServiceHost, StoredService } from '../service-manager.ts'
import { codeOfSignal } from '../signals.ts'
import { programOf } from './commands.ts'
import type { Machine } from './machine.ts'

/** Where the definitions are: on the disk, so that a checkpoint holds them. */
const STORE = '/.sprite/services.json'
const LOG_LIMIT_BYTES = 4 * 1_048_576
const logPath = (name: string) => `/.sprite/logs/services/${name}.log`

export function serviceHost(machine: Machine): ServiceHost {
  const { disk, processes } = machine
  return {
    read: async () => JSON.parse(disk.text(STORE) ?? '[]') as StoredService[], // written by ourselves only
    write: async (services) => disk.write(STORE, JSON.stringify(services)),
    async start(definition, { started, output }) {
      const dir = posix.resolve('/home/sprite', definition.dir)
      if (definition.cmd.startsWith('/') && disk.text(definition.cmd) === null)
        throw new Refusal(400, { error: `exec: "${definition.cmd}": executable file not found in $PATH` })
      const program = programOf(machine, null, [definition.cmd, ...definition.args])
      started()
      const process = processes.start(
        definition.cmd,
        {
          write: (stream, text) => output(stream === 1 ? 'stdout' : 'stderr', Buffer.from(text)),
          stdin: Promise.resolve(Buffer.alloc(0)),
          env: definition.env,
          dir,
        },
        program,
      )
      return {
        pid: process.pid,
        exited: process.exited.then((code) => code ?? codeOfSignal('SIGKILL')),
        signal: process.signal,
        sweep() {}, // a modelled process leaves nothing behind
        async end() {
          process.signal('TERM')
          await process.exited
        },
      }
    },
    async log(name, bytes) {
      const path = logPath(name)
      if ((disk.text(path)?.length ?? 0) > LOG_LIMIT_BYTES) disk.remove(path)
      disk.append(path, bytes)
    },
    async logTail(name, lines) {
      const all = (disk.text(logPath(name)) ?? '').split('\n')
      const end = all.at(-1) === '' ? all.length - 1 : all.length
      return all.slice(Math.max(0, end - lines), end).join('\n')
    },
  }
}
