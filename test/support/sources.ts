import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'

export const ROOT = join(import.meta.dirname, '..', '..')
export const FOLDERS = ['api', 'controller', 'deploy', 'machines', 'specs', 'test'] as const
export type Folder = (typeof FOLDERS)[number]

/** Paths from the root with `/`, of every TypeScript file of ours. */
export function sourceFiles(): string[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).split(sep).join('/')),
  ).filter((path) => !path.includes('/node_modules/'))
}

export const readSource = (path: string) => readFileSync(join(ROOT, path), 'utf8')

/** The source with its comments blanked out, line by line as it was. */
export const withoutComments = (source: string) =>
  source
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ' '))
    .replace(/(^|[\s;{}(])\/\/.*$/gm, '$1')
