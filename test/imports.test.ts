import { readdirSync } from 'node:fs'
import { dirname, posix } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FOLDERS, type Folder, ROOT, readSource, sourceFiles, withoutComments } from './support/sources.ts'

/** Whom each folder may know, beside itself. `deploy` puts the halves together, so it alone knows both. */
const MAY_IMPORT: Record<Folder, readonly Folder[]> = {
  specs: [],
  machines: ['specs'],
  controller: ['machines', 'specs'],
  api: ['specs'],
  deploy: ['api', 'controller', 'machines', 'specs'],
  test: ['api', 'controller', 'deploy', 'machines', 'specs'],
}

const folderOf = (path: string) => path.split('/')[0] as Folder

/** What `import … from`, `export … from`, `import '…'` and `import('…')` name. */
function importsOf(path: string): string[] {
  const source = withoutComments(readSource(path))
  return [...source.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)(['"])([^'"\n]+)\1/g)].flatMap(
    ([, , name]) => name ?? [],
  )
}

const files = sourceFiles()
const imports = files.flatMap((path) => importsOf(path).map((name) => ({ path, name })))
const relative = imports
  .filter(({ name }) => name.startsWith('.'))
  .map(({ path, name }) => ({ path, name, to: posix.normalize(posix.join(dirname(path), name)) }))

describe('imports', () => {
  it('are found at all', () => {
    expect(files.length).toBeGreaterThan(30)
    expect(relative.length).toBeGreaterThan(60)
  })

  it.each(FOLDERS)('of %s point one way', (folder) => {
    const allowed: readonly string[] = [folder, ...MAY_IMPORT[folder]]
    const wrong = relative
      .filter(({ path, to }) => folderOf(path) === folder && !allowed.includes(folderOf(to)))
      .map(({ path, to }) => `${path} imports ${to}: ${folder} may know ${allowed.join(', ')} only`)
    expect(wrong).toEqual([])
  })

  it('carry their extension', () => {
    expect(
      relative.filter(({ to }) => !/\.(ts|json)$/.test(to)).map(({ path, name }) => `${path}: ${name}`),
    ).toEqual([])
  })

  it('of the machines are the state machine and nothing that could look at the world', () => {
    const packages = imports
      .filter(({ path, name }) => folderOf(path) === 'machines' && !name.startsWith('.'))
      .map(({ name }) => name)
    expect([...new Set(packages)]).toEqual(['xstate'])
  })
})

describe('the root', () => {
  it('has no other folder than the six', () => {
    const folders = readdirSync(ROOT, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.') && entry.name !== 'node_modules')
      .map(({ name }) => name)
    expect(folders.filter((name) => !(FOLDERS as readonly string[]).includes(name))).toEqual([])
  })
})
