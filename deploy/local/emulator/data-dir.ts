import { randomUUID } from 'node:crypto'
import { link, mkdir, readFile, realpath, rename, rm, unlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { startOf } from './process-engine/process-table.ts'

const holder = z.object({ pid: z.number(), start: z.string() })

/** Another emulator has this data directory: its Sprites' processes would be ended as leftovers. */
export class DataDirInUse extends Error {
  override readonly name = 'DataDirInUse'
  constructor(dir: string, pid: number) {
    super(
      `the local Sprites in ${dir} are in use by process ${pid}: stop it, or choose another data directory`,
    )
  }
}

/**
 * Makes the directory, for its owner alone, and holds it for this process. Resolves to its real path and to what
 * gives it up. A lock whose holder is gone (no such pid, or a pid that was started at another time) is taken over.
 */
export async function holdDataDir(dir: string): Promise<{ path: string; release(): Promise<void> }> {
  await mkdir(dirname(dir), { recursive: true })
  await mkdir(dir, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  const path = await realpath(dir)
  const lock = join(path, 'emulator.lock')
  const text = JSON.stringify({ pid: process.pid, start: (await startOf(process.pid)) ?? '' })
  const own = join(path, `.lock-${randomUUID()}`)
  await writeFile(own, text)
  try {
    while (!(await tryLink(own, lock))) {
      const found = await readFile(lock, 'utf8').catch(() => null)
      if (found === null) continue // given up just now
      const pid = await livingHolder(found)
      if (pid !== null) throw new DataDirInUse(path, pid)
      await takeAway(lock, found)
    }
  } finally {
    await unlink(own)
  }
  return { path, release: () => rm(lock, { force: true }) }
}

/** A link is made whole or not at all, so a lock never has half a text. */
async function tryLink(own: string, lock: string): Promise<boolean> {
  try {
    await link(own, lock)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function livingHolder(text: string): Promise<number | null> {
  const { pid, start } = holder.parse(JSON.parse(text))
  return (await startOf(pid)) === start ? pid : null
}

/** Removes the stale lock. When another start was faster and this took its new one away, that is put back. */
async function takeAway(lock: string, stale: string): Promise<void> {
  const aside = `${lock}-${randomUUID()}`
  await rename(lock, aside).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
  const taken = await readFile(aside, 'utf8').catch(() => stale)
  if (taken !== stale) await tryLink(aside, lock)
  await rm(aside, { force: true })
}

const settings = z.object({ port: z.number() })

/** The port of the last run; null when there was none, or its file cannot be read. */
export async function readPort(dataDir: string): Promise<number | null> {
  const text = await readFile(join(dataDir, 'emulator.json'), 'utf8').catch(() => 'null')
  try {
    return settings.parse(JSON.parse(text)).port
  } catch {
    return null
  }
}

export async function writePort(dataDir: string, port: number): Promise<void> {
  const path = join(dataDir, 'emulator.json')
  await writeFile(`${path}.new`, JSON.stringify({ port }))
  await rename(`${path}.new`, path)
}
