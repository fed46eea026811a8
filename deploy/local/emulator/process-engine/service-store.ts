import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'
import type { Log } from '../engine.ts'
import type { StoredService } from '../service-manager.ts'
import { type SpriteFolder, writeByRename } from './sprite-folder.ts'

const storedServices = z.array(
  z.object({
    name: z.string(),
    cmd: z.string(),
    args: z.array(z.string()),
    env: z.record(z.string(), z.string()),
    dir: z.string(),
    needs: z.array(z.string()),
    http_port: z.number().nullable(),
    /** False after an explicit stop: it stays stopped, also over a boot. */
    enabled: z.boolean(),
  }),
)

/** The file is on the Sprite's own disk: a command that spoils it loses the services, not the Sprite. */
export async function readServices(folder: SpriteFolder, log: Log): Promise<StoredService[]> {
  try {
    return storedServices.parse(JSON.parse(await readFile(folder.services, 'utf8')))
  } catch (error) {
    log.warn({ err: error, folder: folder.path }, 'service definitions cannot be read')
    return []
  }
}

export async function writeServices(folder: SpriteFolder, services: StoredService[]): Promise<void> {
  await mkdir(dirname(folder.services), { recursive: true }) // a command may have removed it
  await writeByRename(folder.services, JSON.stringify(services, null, 2))
}
