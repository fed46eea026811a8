import { chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'

/** Everything of one Sprite, below `<data dir>/sprites/<name>/`. */
export interface SpriteFolder {
  path: string
  /** The Sprite's root directory: what it takes for `/openclaw` or `/usr/local` is below it. */
  disk: string
  /** What it takes for `/home/sprite`. */
  home: string
  checkpoints: string
  /** Seen inside as `/.sprite/logs`. Not part of a checkpoint: a log outlives a restore. */
  logs: string
  /** One file for each process group that the emulator started: its name is the pid, its text the start. */
  processes: string
  /** On the disk, so that a checkpoint holds it and a restore brings it back in the same rename. */
  services: string
  record: string
}

export const HOME_IN_SPRITE = '/home/sprite'
export const LOGS_IN_SPRITE = '/.sprite/logs'

export function spriteFolder(path: string): SpriteFolder {
  const disk = join(path, 'disk')
  return {
    path,
    disk,
    home: join(disk, 'home', 'sprite'),
    checkpoints: join(path, 'checkpoints'),
    logs: join(path, 'logs'),
    processes: join(path, 'processes'),
    services: join(disk, '.sprite', 'services.json'),
    record: join(path, 'sprite.json'),
  }
}

const spriteRecord = z.object({
  id: z.string(),
  name: z.string(),
  createdAt: z.number(),
  updatedAt: z.number(),
  labels: z.array(z.string()),
  urlSettings: z.object({ auth: z.enum(['sprite', 'public']), private_access: z.string() }),
  /** Where the public URL listens (the app's port is the next one); null before it did for the first time. */
  port: z.number().nullable(),
})
export type SpriteRecord = z.infer<typeof spriteRecord>

export async function readRecord(folder: SpriteFolder): Promise<SpriteRecord> {
  return spriteRecord.parse(JSON.parse(await readFile(folder.record, 'utf8')))
}

export async function writeRecord(folder: SpriteFolder, record: SpriteRecord): Promise<void> {
  await writeByRename(folder.record, JSON.stringify(record, null, 2))
}

/** Whoever reads `path` finds the old text or the new one, whenever this process dies. */
export async function writeByRename(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text)
  await rename(`${path}.new`, path)
}

/** A login shell reads /etc/profile, which puts the machine's own PATH first; this puts ours first again. */
const PROFILE = 'PATH="$SPRITE_ROOT/../../../standins:$SPRITE_ROOT/usr/local/bin:$PATH"\nexport PATH\n'

/** The folders of a new Sprite, at `folder.path`, with nothing of a user in them. */
export async function layOut(folder: SpriteFolder): Promise<void> {
  for (const dir of [folder.home, join(folder.disk, 'usr/local/bin'), join(folder.disk, '.sprite')]) {
    await mkdir(dir, { recursive: true })
  }
  await mkdir(join(folder.disk, 'tmp'))
  await writeFile(join(folder.home, '.profile'), PROFILE)
  await writeByRename(folder.services, '[]')
  await makeSideFolders(folder)
}

export async function makeSideFolders(folder: SpriteFolder): Promise<void> {
  for (const dir of [folder.checkpoints, join(folder.logs, 'services'), folder.processes]) {
    await mkdir(dir, { recursive: true })
  }
}

/** The steps of a disk swap, each a rename, so that `repairDisk` can tell where it was cut. */
const copying = (folder: SpriteFolder) => join(folder.path, 'disk.copying')
const next = (folder: SpriteFolder) => join(folder.path, 'disk.next')
const old = (folder: SpriteFolder) => join(folder.path, 'disk.old')

/** Puts beside the disk what will replace it. `copy` fills the directory that it is given. */
export async function prepareSwap(
  folder: SpriteFolder,
  copy: (target: string) => Promise<void>,
): Promise<void> {
  await removeTree(copying(folder))
  await removeTree(next(folder))
  await copy(copying(folder))
  await rename(copying(folder), next(folder))
}

/** Nothing of the Sprite may be running: a process would keep its working directory in the old disk. */
export async function swapDisk(folder: SpriteFolder): Promise<void> {
  await removeTree(old(folder))
  await rename(folder.disk, old(folder))
  await rename(next(folder), folder.disk)
  await removeTree(old(folder))
}

/** After a crash: a swap whose first rename was made is completed, an earlier one never happened. */
export async function repairDisk(folder: SpriteFolder): Promise<void> {
  if (!(await exists(folder.disk))) {
    await rename((await exists(next(folder))) ? next(folder) : old(folder), folder.disk)
  }
  for (const leftover of [copying(folder), next(folder), old(folder)]) await removeTree(leftover)
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

/** Whatever stands at `path` goes, read-only directories (package caches are) included. */
export async function removeTree(path: string): Promise<void> {
  const remove = () => rm(path, { recursive: true, force: true, maxRetries: 3 })
  await remove().catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EACCES' && error.code !== 'EPERM') throw error
    await makeWritable(path)
    await remove()
  })
}

async function makeWritable(path: string): Promise<void> {
  await chmod(path, 0o700)
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeWritable(join(path, entry.name))
  }
}
