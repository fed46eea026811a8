import type { Random } from '../../specs/random.ts'
import type { SpritesClient } from '../sprites/client.ts'

const TRY = '.try-'
const split = (path: string) => {
  const slash = path.lastIndexOf('/')
  return { dir: path.slice(0, slash), base: path.slice(slash + 1) }
}

/**
 * Puts a file in place so that a late request of an earlier try can do no harm: old tries go first and are seen gone, so
 * a rename that is still on its way finds nothing; then write under a name of our own, read back, rename.
 * @throws what the client throws, or an Error when the bytes read back are not those written.
 */
export async function placeFile(
  sprites: SpritesClient,
  random: Random,
  sprite: string,
  path: string,
  content: string,
  mode: string,
  signal: AbortSignal,
): Promise<void> {
  const { dir, base } = split(path)
  const isTry = (name: string) => name.startsWith(`${base}${TRY}`)
  const stale = ((await sprites.listFiles(sprite, dir, signal)) ?? []).filter(({ name }) => isTry(name))
  for (const file of stale) await sprites.removeFile(sprite, `${dir}/${file.name}`, signal)
  if (stale.length > 0) {
    const left = await sprites.listFiles(sprite, dir, signal)
    if (left?.some(({ name }) => isTry(name))) throw new Error(`${base}: an earlier try is still there`)
  }
  const attempt = `${path}${TRY}${random.word(8)}`
  await sprites.writeFile(sprite, attempt, content, { mode }, signal)
  if (!(await holds(sprites, sprite, attempt, content, signal)))
    throw new Error(`${base}: what was read back is not what was written`)
  await sprites.renameFile(sprite, attempt, path, signal)
}

/** Is the file there, byte for byte? */
export async function holds(
  sprites: SpritesClient,
  sprite: string,
  path: string,
  content: string,
  signal: AbortSignal,
): Promise<boolean> {
  const bytes = await sprites.readFile(sprite, path, signal)
  return bytes !== null && Buffer.from(content).equals(bytes)
}
