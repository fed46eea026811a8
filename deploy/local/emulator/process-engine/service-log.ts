import { appendFile, open, rename, stat } from 'node:fs/promises'

/** Beyond this the log starts anew, and the one before is kept as `<path>.1`. */
const LIMIT_BYTES = 4 * 1_048_576

/** The log of one service: both streams, as they came. */
export function serviceLog(path: string, limitBytes = LIMIT_BYTES) {
  let size: number | null = null // null: not looked at yet
  let last: Promise<unknown> = Promise.resolve()

  async function write(bytes: Buffer): Promise<void> {
    size ??= await sizeOf(path)
    if (size > limitBytes) {
      await rename(path, `${path}.1`)
      size = 0
    }
    await appendFile(path, bytes)
    size += bytes.length
  }
  return {
    append(bytes: Buffer): Promise<void> {
      const written = last.then(() => write(bytes))
      last = written.catch(() => {}) // the caller hears of it; the next piece tries again
      return written
    },
  }
}
export type ServiceLog = ReturnType<typeof serviceLog>

/** The last `lines` lines of a file, from its last MiB; empty when there is none. */
export async function tailOf(path: string, lines: number): Promise<string> {
  const size = await sizeOf(path)
  if (size === 0) return ''
  const length = Math.min(size, 1_048_576)
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length)
    const text = buffer.toString('utf8', 0, bytesRead)
    const all = text.split('\n')
    const end = all.at(-1) === '' ? all.length - 1 : all.length
    return all.slice(Math.max(0, end - lines)).join('\n')
  } finally {
    await file.close()
  }
}

const sizeOf = (path: string) =>
  stat(path).then(
    (stats) => stats.size,
    () => 0,
  )
