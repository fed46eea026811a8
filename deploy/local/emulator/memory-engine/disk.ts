import { basename, dirname, matchesGlob, posix } from 'node:path'
import type { Clock } from '../../../../specs/clock.ts'
import type { FileEntry, Files } from '../engine.ts'
import { fileError, noSuchPath } from '../file-errors.ts'

/** Never changed in place, so a copy of the map is a copy of the disk. */
type Node = { mode: number; mtimeMs: number } & ({ bytes: Buffer } | { bytes: null })

export type Tree = ReadonlyMap<string, Node>

const LOGS = '/.sprite/logs'
const LAID_OUT = ['/', '/home', '/home/sprite', '/tmp', '/usr', '/usr/local', '/usr/local/bin', '/.sprite']
const isBelow = (path: string, dir: string) => path !== dir && path.startsWith(dir === '/' ? '/' : `${dir}/`)

/** The disk of a Sprite: what the file API sees, and short ways for the programs inside. There are no links. */
export interface Disk {
  files: Files
  text(path: string): string | null
  write(path: string, text: string | Buffer, mode?: number): void
  append(path: string, bytes: Buffer): void
  remove(path: string): void
  /** Without the services' logs, which no checkpoint holds. */
  tree(): Tree
  /** Puts a tree in place of what is there; the logs stay. */
  replace(tree: Tree): void
}

export function createDisk(clock: Clock): Disk {
  const nodes = new Map<string, Node>(LAID_OUT.map((path) => [path, directory(clock.now())]))

  function nodeAt(path: string): Node {
    const node = nodes.get(path)
    if (node) return node
    for (let parent = dirname(path); parent !== '/'; parent = dirname(parent)) {
      if (nodes.get(parent)?.bytes) throw fileError('ENOTDIR', 'not a directory')
    }
    throw noSuchPath()
  }

  function makeParents(path: string): void {
    const parent = dirname(path)
    const found = nodes.get(parent)
    if (found?.bytes) throw fileError('ENOTDIR', 'not a directory')
    if (found) return
    makeParents(parent)
    nodes.set(parent, directory(clock.now()))
  }

  function entryOf(path: string): FileEntry {
    const { bytes, mode, mtimeMs } = nodeAt(path)
    return {
      name: basename(path),
      path,
      type: bytes ? 'file' : 'directory',
      size: bytes?.length ?? 4_096,
      mode: mode.toString(8).padStart(4, '0'),
      modTime: new Date(mtimeMs).toISOString(),
      isDir: bytes === null,
    }
  }

  const below = (dir: string) => [...nodes.keys()].filter((path) => isBelow(path, dir))

  function put(path: string, bytes: Buffer, mode: number | null): void {
    const old = nodes.get(path)
    if (old && !old.bytes) throw fileError('EISDIR', 'is a directory')
    nodes.set(path, { bytes, mode: mode ?? old?.mode ?? 0o644, mtimeMs: clock.now() })
  }

  /** Takes `source` and all below it to `dest`. */
  function take(source: string, dest: string, keep: boolean): number {
    if (isBelow(dest, source)) throw fileError('EINVAL', 'invalid argument')
    let size = 0
    for (const path of [source, ...below(source)]) {
      const node = nodeAt(path)
      size += node.bytes?.length ?? 0
      nodes.set(dest + path.slice(source.length), node)
      if (!keep) nodes.delete(path)
    }
    return size
  }

  const files: Files = {
    async read(path) {
      const { bytes } = nodeAt(path)
      if (!bytes) throw fileError('EISDIR', 'is a directory')
      return bytes
    },
    async write(path, bytes, { mode, parents }) {
      if (parents) makeParents(path)
      else if (nodeAt(dirname(path)).bytes) throw fileError('ENOTDIR', 'not a directory')
      put(path, Buffer.from(bytes), mode)
      return entryOf(path)
    },
    async list(path, { recursive, pattern }) {
      const isDir = nodeAt(path).bytes === null
      const paths = isDir ? below(path).filter((found) => recursive || dirname(found) === path) : [path]
      const entries = paths.toSorted().map(entryOf)
      return pattern === null ? entries : entries.filter(({ name }) => matchesGlob(name, pattern))
    },
    async remove(path, { recursive }) {
      if (path === '/' || path === LOGS) throw fileError('EPERM', 'operation not permitted')
      const isDir = nodeAt(path).bytes === null
      const inside = isDir ? below(path) : []
      if (inside.length > 0 && !recursive) throw fileError('ENOTEMPTY', 'operation failed (ENOTEMPTY)')
      for (const gone of [path, ...inside]) nodes.delete(gone)
    },
    async rename(source, dest) {
      const moved = nodeAt(source)
      nodeAt(dirname(dest))
      const old = nodes.get(dest)
      if (source === dest) return
      if (old && !old.bytes && (moved.bytes || below(dest).length > 0))
        throw fileError('EISDIR', 'is a directory')
      if (old?.bytes && !moved.bytes) throw fileError('ENOTDIR', 'operation failed (ENOTDIR)')
      take(source, dest, false)
    },
    async copy(source, dest, { recursive }) {
      if (!nodeAt(source).bytes && !recursive) throw fileError('EISDIR', 'is a directory')
      nodeAt(dirname(dest))
      return take(source, dest, true)
    },
    async chmod(path, mode, { recursive }) {
      nodeAt(path)
      const paths = [path, ...(recursive ? below(path) : [])]
      for (const changed of paths) nodes.set(changed, { ...nodeAt(changed), mode })
      return paths
    },
  }

  return {
    files,
    text: (path) => nodes.get(path)?.bytes?.toString('utf8') ?? null,
    write(path, text, mode) {
      makeParents(path)
      put(path, Buffer.from(text), mode ?? null)
    },
    append(path, bytes) {
      makeParents(path)
      put(path, Buffer.concat([nodes.get(path)?.bytes ?? Buffer.alloc(0), bytes]), null)
    },
    remove(path) {
      for (const gone of [path, ...below(path)]) nodes.delete(gone)
    },
    tree: () => new Map([...nodes].filter(([path]) => !isBelow(path, LOGS))),
    replace(tree) {
      for (const path of [...nodes.keys()]) if (path !== LOGS && !isBelow(path, LOGS)) nodes.delete(path)
      for (const [path, node] of tree) nodes.set(path, node)
    },
  }
}

const directory = (mtimeMs: number): Node => ({ bytes: null, mode: 0o755, mtimeMs })

export const inHome = (path: string) => posix.join('/home/sprite', path)
