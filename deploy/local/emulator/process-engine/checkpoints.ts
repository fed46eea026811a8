import { constants } from 'node:fs'
import { cp, lstat, mkdir, readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Checkpoint } from '../engine.ts'
import { exists, removeTree, type SpriteFolder, writeByRename } from './sprite-folder.ts'

const record = z.object({ id: z.string(), createdAt: z.number(), comment: z.string() })

/** A checkpoint is a copy of the disk, which holds the definitions of the services too; oldest first. */
export async function listCheckpoints(folder: SpriteFolder): Promise<Checkpoint[]> {
  const found: Checkpoint[] = []
  for (const name of await readdir(folder.checkpoints)) {
    if (!/^v\d+$/.test(name)) continue // one that was cut while it was made
    found.push(
      record.parse(JSON.parse(await readFile(join(folder.checkpoints, name, 'checkpoint.json'), 'utf8'))),
    )
  }
  return found.toSorted((a, b) => numberOf(a.id) - numberOf(b.id))
}

/** Nothing may write to the disk meanwhile. */
export async function createCheckpoint(
  folder: SpriteFolder,
  comment: string,
  now: number,
): Promise<Checkpoint> {
  const last = (await listCheckpoints(folder)).at(-1)
  const made: Checkpoint = { id: `v${last ? numberOf(last.id) + 1 : 1}`, createdAt: now, comment }
  const partial = join(folder.checkpoints, `partial-${made.id}`)
  await removeTree(partial)
  await mkdir(partial)
  await copyTree(folder.disk, join(partial, 'disk'))
  await writeByRename(join(partial, 'checkpoint.json'), JSON.stringify(made))
  await rename(partial, join(folder.checkpoints, made.id))
  return made
}

/** The disk of a checkpoint; null when this Sprite has none of that id. */
export async function checkpointDisk(folder: SpriteFolder, id: string): Promise<string | null> {
  const disk = join(folder.checkpoints, id, 'disk')
  return (await exists(disk)) ? disk : null
}

/** Modes, times and links as they are; by reflink where the file system can. Sockets and pipes are no content. */
export async function copyTree(source: string, target: string): Promise<void> {
  await cp(source, target, {
    recursive: true,
    verbatimSymlinks: true,
    preserveTimestamps: true,
    mode: constants.COPYFILE_FICLONE,
    filter: async (path) => {
      const stats = await lstat(path)
      return stats.isFile() || stats.isDirectory() || stats.isSymbolicLink()
    },
  })
}

const numberOf = (id: string) => Number(id.slice(1))
