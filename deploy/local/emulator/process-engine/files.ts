import { constants } from 'node:fs'
import {
  chmod,
  cp,
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rmdir,
  unlink,
} from 'node:fs/promises'
import { basename, dirname, join, matchesGlob, posix } from 'node:path'
import { type FileEntry, type Files, Refusal } from '../engine.ts'
import { fileError, hasStatus, noSuchPath } from '../file-errors.ts'
import { locate, locateEntry } from './paths.ts'
import { removeTree, type SpriteFolder } from './sprite-folder.ts'

const NEW_FILE_MODE = 0o644

/** The file API over the Sprite's folder. `change` runs a change alone among the changes to this Sprite. */
export function spriteFiles(folder: SpriteFolder, change: <T>(run: () => Promise<T>) => Promise<T>): Files {
  return {
    read: (path) =>
      answering(async () => {
        const file = await openFile(await locate(folder, path), constants.O_RDONLY)
        try {
          return await file.readFile()
        } finally {
          await file.close()
        }
      }),

    write: (path, bytes, { mode, parents }) =>
      answering(() =>
        change(async () => {
          const target = await locate(folder, path)
          if (parents) await mkdir(dirname(target), { recursive: true })
          const { O_WRONLY, O_CREAT, O_TRUNC } = constants
          const file = await openFile(target, O_WRONLY | O_CREAT | O_TRUNC, mode ?? NEW_FILE_MODE)
          try {
            if (mode !== null) await file.chmod(mode) // of an old file too, and before it holds anything
            await file.writeFile(bytes)
          } finally {
            await file.close()
          }
          return entryOf(target, path)
        }),
      ),

    list: (path, { recursive, pattern }) =>
      answering(async () => {
        const target = await locateEntry(folder, path)
        const found = (await lstat(target)).isDirectory()
          ? await walk(target, path, recursive)
          : [await entryOf(target, path)]
        return pattern === null ? found : found.filter(({ name }) => matchesGlob(name, pattern))
      }),

    remove: (path, { recursive }) =>
      answering(() =>
        change(async () => {
          const target = await locateEntry(folder, path)
          if (target === folder.disk || target === folder.logs)
            throw fileError('EPERM', 'operation not permitted')
          if (!(await lstat(target)).isDirectory()) await unlink(target)
          else if (recursive) await removeTree(target)
          else await rmdir(target)
        }),
      ),

    rename: (source, dest) =>
      answering(() =>
        change(async () => rename(await locateEntry(folder, source), await locateEntry(folder, dest))),
      ),

    copy: (source, dest, { recursive }) =>
      answering(() =>
        change(async () => {
          const from = await locate(folder, source)
          if ((await lstat(from)).isDirectory() && !recursive) throw fileError('EISDIR', 'is a directory')
          const to = await locate(folder, dest)
          await cp(from, to, { recursive, verbatimSymlinks: true, mode: constants.COPYFILE_FICLONE })
          return sizeOf(to)
        }),
      ),

    chmod: (path, mode, { recursive }) =>
      answering(() =>
        change(async () => {
          const target = await locate(folder, path)
          const paths = [path]
          await chmod(target, mode)
          if (recursive && (await lstat(target)).isDirectory()) {
            for (const entry of await walk(target, path, true)) {
              if (entry.type === 'symlink') continue
              await chmod(join(target, posix.relative(path, entry.path)), mode)
              paths.push(entry.path)
            }
          }
          return paths
        }),
      ),
  }
}

/** Only regular files: the open of a pipe would wait for its other end, and with it every change to this Sprite. */
async function openFile(path: string, flags: number, mode?: number): Promise<FileHandle> {
  const file = await open(path, flags | constants.O_NONBLOCK | constants.O_NOFOLLOW, mode)
  const stats = await file.stat()
  if (stats.isFile()) return file
  await file.close()
  throw stats.isDirectory()
    ? fileError('EISDIR', 'is a directory')
    : fileError('EINVAL', 'not a regular file')
}

async function walk(dir: string, path: string, recursive: boolean): Promise<FileEntry[]> {
  const entries: FileEntry[] = []
  for (const name of (await readdir(dir)).toSorted()) {
    const entry = await entryOf(join(dir, name), posix.join(path, name)).catch(() => null)
    if (entry === null) continue // gone since the directory was read
    entries.push(entry)
    if (recursive && entry.isDir) entries.push(...(await walk(join(dir, name), entry.path, true)))
  }
  return entries
}

/** Of a link itself, never of what it points at. */
async function entryOf(target: string, path: string): Promise<FileEntry> {
  const stats = await lstat(target)
  const isDir = stats.isDirectory()
  return {
    name: basename(path),
    path,
    type: isDir ? 'directory' : stats.isSymbolicLink() ? 'symlink' : stats.isFile() ? 'file' : 'other',
    size: stats.size,
    mode: (stats.mode & 0o7777).toString(8).padStart(4, '0'),
    modTime: stats.mtime.toISOString(),
    isDir,
  }
}

async function sizeOf(path: string): Promise<number> {
  const stats = await lstat(path)
  if (!stats.isDirectory()) return stats.size
  let total = 0
  for (const name of await readdir(path)) total += await sizeOf(join(path, name))
  return total
}

/** What went wrong as the API says it. */
async function answering<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (error instanceof Refusal || code === undefined) throw error
    if (code === 'ENOENT') throw noSuchPath()
    if (hasStatus(code))
      throw fileError(code, code === 'EISDIR' ? 'is a directory' : `operation failed (${code})`)
    throw error
  }
}
