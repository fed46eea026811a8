import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { Log } from '../engine.ts'
import type { ServiceHost } from '../service-manager.ts'
import { mapCommand, mapDir, mapWord } from './paths.ts'
import type { SpriteProcesses } from './processes.ts'
import { type ServiceLog, serviceLog, tailOf } from './service-log.ts'
import { readServices, writeServices } from './service-store.ts'
import type { SpriteFolder } from './sprite-folder.ts'

/** Services as real processes: definitions in a file on the Sprite's disk, output in a log beside it. */
export function serviceHost(deps: {
  folder: SpriteFolder
  processes: SpriteProcesses
  environment: Record<string, string>
  names: Record<string, string>
  log: Log
}): ServiceHost {
  const { folder, processes, environment, names, log } = deps
  const logs = new Map<string, ServiceLog>()
  const logPath = (name: string) => join(folder.logs, 'services', `${name}.log`)

  return {
    read: () => readServices(folder, log),
    write: (services) => writeServices(folder, services),
    start: async (definition, { started, output }) =>
      processes.spawn({
        file: await mapCommand(folder, definition.cmd),
        args: definition.args.map((word) => mapWord(folder, word)),
        argv0: mapWord(folder, definition.cmd),
        dir: await mapDir(folder, definition.dir),
        env: { ...environment, ...definition.env, ...names },
        stdin: false,
        read(stdout, stderr) {
          started()
          void follow(stdout, (bytes) => output('stdout', bytes))
          void follow(stderr, (bytes) => output('stderr', bytes))
        },
      }),
    log(name, bytes) {
      const written = logs.get(name) ?? serviceLog(logPath(name))
      logs.set(name, written)
      return written.append(bytes)
    },
    logTail: (name, lines) => tailOf(logPath(name), lines),
  }

  async function follow(source: Readable, hear: (bytes: Buffer) => Promise<void>): Promise<void> {
    try {
      for await (const bytes of source) await hear(bytes)
    } catch (error) {
      log.warn({ err: error }, 'service output lost')
    }
  }
}
