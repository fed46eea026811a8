import { chmod, cp, mkdir, readdir, rename, rm, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exists, removeTree, type SpriteFolder } from './sprite-folder.ts'
import { findTool, SYSTEM_DIRS, searchDirs } from './tools.ts'

const templates = fileURLToPath(new URL('./standins/', import.meta.url))

/**
 * The whole environment of a Sprite's processes: made from nothing, so that no key of whoever runs the emulator is
 * in it. `SPRITE_ROOT` and `SPRITE_HOME` say where `/` and `/home/sprite` really are, `SPRITE_PORT_8080` which port
 * of 127.0.0.1 stands for the Sprite's 8080.
 */
export function spriteEnvironment(
  folder: SpriteFolder,
  standins: string,
  appPort: number,
): Record<string, string> {
  return {
    HOME: folder.home,
    PATH: [standins, join(folder.disk, 'usr/local/bin'), ...SYSTEM_DIRS].join(':'),
    USER: 'sprite',
    LANG: 'C.UTF-8',
    ...spriteNames(folder, appPort),
  }
}

/** The three names that a command's own environment never replaces: its processes are found again by them. */
export function spriteNames(folder: SpriteFolder, appPort: number): Record<string, string> {
  return { SPRITE_HOME: folder.home, SPRITE_ROOT: folder.disk, SPRITE_PORT_8080: String(appPort) }
}

/**
 * Fills `<data dir>/standins`, which comes first on every Sprite's PATH: what would change the machine (apt-get, sudo,
 * global npm), or show it (ps, ss), what it may lack (flock, setsid, timeout: macOS), and the very Node that runs the emulator. Made anew
 * at each start, beside the old one, since an older version of this code may have left another.
 */
export async function installStandins(dataDir: string): Promise<string> {
  const dir = join(dataDir, 'standins')
  const fresh = `${dir}.new`
  await removeTree(fresh)
  await mkdir(join(fresh, 'lib'), { recursive: true })
  for (const name of ['sudo', 'apt-get', 'npm', 'bun', 'ps', 'ss', 'lib/pnpm'])
    await install(name, join(fresh, name))
  for (const name of await readdir(join(templates, 'optional'))) {
    if ((await findTool(name, SYSTEM_DIRS)) === null) await install(`optional/${name}`, join(fresh, name))
  }
  await symlink(process.execPath, join(fresh, 'node'))
  for (const name of ['git', 'bash']) {
    const found = await findTool(name, searchDirs())
    // Linked alone: its directory may hold a pnpm or an npm that is not for Sprites.
    if (found !== null && !SYSTEM_DIRS.includes(dirname(found))) await symlink(found, join(fresh, name))
  }
  if (await exists(dir)) await rm(dir, { recursive: true, force: true })
  await rename(fresh, dir)
  return dir
}

async function install(name: string, target: string): Promise<void> {
  await cp(join(templates, name), target)
  await chmod(target, 0o555)
}
