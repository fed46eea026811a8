import { lstat, realpath } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, sep } from 'node:path'
import { Refusal } from '../engine.ts'
import { exists, HOME_IN_SPRITE, LOGS_IN_SPRITE, type SpriteFolder } from './sprite-folder.ts'

const isBelow = (path: string, dir: string) => path === dir || path.startsWith(`${dir}/`)

/** A word of a command line: one that names something below `/home/sprite` names it below the Sprite's folder. */
export function mapWord(folder: SpriteFolder, word: string): string {
  return isBelow(word, HOME_IN_SPRITE) ? folder.home + word.slice(HOME_IN_SPRITE.length) : word
}

/** A command by its path: the Sprite's own file where there is one, else the machine's. A bare name is left to PATH. */
export async function mapCommand(folder: SpriteFolder, command: string): Promise<string> {
  if (!isAbsolute(command)) return command
  const inside = join(folder.disk, command)
  return isBelow(command, HOME_IN_SPRITE) || (await exists(inside)) ? inside : command
}

/** A working directory as the Sprite sees it; empty is its home. */
export async function mapDir(folder: SpriteFolder, dir: string): Promise<string> {
  const path = dir === '' ? folder.home : await locate(folder, join('/', dir))
  const isDir = await lstat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  )
  if (!isDir) throw new Refusal(400, { error: `chdir ${dir}: no such file or directory` })
  return path
}

/**
 * Where an absolute path of the Sprite really is, every link on the way followed, also the last one. What does not
 * exist yet is where it would be made. Throws EACCES (403) for what leads out of the Sprite's folder, and for a link
 * to nothing, through which a write would make its target.
 */
export async function locate(folder: SpriteFolder, path: string): Promise<string> {
  const { root, inside } = rootOf(folder, path)
  return resolveBelow(root, inside)
}

/** As `locate`, but a link in the last place is named itself, not what it points at. */
export async function locateEntry(folder: SpriteFolder, path: string): Promise<string> {
  const { root, inside } = rootOf(folder, path)
  if (inside === root) return root
  return join(await resolveBelow(root, dirname(inside)), basename(inside))
}

function rootOf(folder: SpriteFolder, path: string): { root: string; inside: string } {
  const isLog = isBelow(path, LOGS_IN_SPRITE)
  const root = isLog ? folder.logs : folder.disk
  const inside = join(root, isLog ? path.slice(LOGS_IN_SPRITE.length) : path)
  return { root, inside }
}

async function resolveBelow(root: string, path: string): Promise<string> {
  const real = await realpath(path).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT' || path === root) throw error
    if (await lstat(path).catch(() => null)) throw outside()
    return join(await resolveBelow(root, dirname(path)), basename(path))
  })
  if (real !== root && !real.startsWith(root + sep)) throw outside()
  return real
}

const outside = () => new Refusal(403, { error: 'permission denied', code: 'EACCES' })
