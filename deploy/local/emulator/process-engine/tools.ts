import { access, constants } from 'node:fs/promises'
import { delimiter, isAbsolute, join } from 'node:path'

/** Where POSIX systems keep the tools that every Sprite may use: coreutils, curl, perl, ps. */
export const SYSTEM_DIRS = ['/usr/bin', '/bin', '/usr/sbin', '/sbin']

/** The first executable file of this name in these directories, or null. */
export async function findTool(name: string, dirs: readonly string[]): Promise<string | null> {
  for (const dir of dirs) {
    if (!isAbsolute(dir)) continue
    const path = join(dir, name)
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (isThere) return path
  }
  return null
}

/** The directories of this process's own PATH, then the system's. */
export function searchDirs(): string[] {
  return [...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_DIRS]
}

/** What the process engine cannot do without. Null when all is there, else one sentence that says what to install. */
export async function checkTools(dirs: readonly string[] = searchDirs()): Promise<string | null> {
  const missing: string[] = []
  for (const name of ['git', 'bash']) {
    if ((await findTool(name, dirs)) === null) missing.push(name)
  }
  if (missing.length === 0) return null
  return `The local Sprites need ${missing.join(' and ')}: install ${missing.join(' and ')} and start again.`
}
