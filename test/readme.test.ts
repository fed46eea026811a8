import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { COMMANDS } from '../api/cli/commands.ts'
import { LANE_SLOTS } from '../controller/workqueue.ts'
import { FOLDERS, ROOT, readSource, sourceFiles } from './support/sources.ts'

const READMES = ['README.md', 'CHANGELOG.md', ...FOLDERS.map((folder) => `${folder}/README.md`)]
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')
const scripts = (JSON.parse(read('package.json')) as { scripts: Record<string, string> }).scripts

describe.each(READMES)('%s', (path) => {
  const text = read(path)

  it('links to what is there', () => {
    const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link]) => link ?? [])
    const missing = links
      .filter((link) => !/^https?:/.test(link))
      .filter((link) => {
        const [file = '', heading] = link.split('#')
        const target = file ? join(dirname(path), file) : path
        return !existsSync(join(ROOT, target)) || (heading && !anchorsOf(target).includes(heading))
      })
    expect(missing).toEqual([])
  })

  it('names commands that exist', () => {
    const npm = [...text.matchAll(/\bnpm run ([\w:]+)/g)].flatMap(([, name]) => name ?? [])
    expect(npm.filter((name) => !(name in scripts))).toEqual([])
    const clawpool = [...text.matchAll(/\bclawpool ([a-z][\w-]*)/g)].flatMap(([, name]) => name ?? [])
    expect(clawpool.filter((name) => !(name in COMMANDS))).toEqual([])
  })

  it('names files of its folder that exist', () => {
    const named = [...text.matchAll(/^\| ((?:`[^`]+` ?)+) *\|/gm)]
      .flatMap(([, cell = '']) => [...cell.matchAll(/`([^`]+)`/g)].flatMap(([, name]) => name ?? []))
      .filter((name) => /\.(ts|sh|sql)$|\/$/.test(name) && !/[*<]/.test(name))
    expect(named.filter((name) => !existsSync(join(ROOT, dirname(path), name)))).toEqual([])
  })
})

function anchorsOf(path: string): string[] {
  return [...read(path).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  )
}

describe('README.md', () => {
  it('has every condition that anybody sets', () => {
    const set = sourceFiles()
      .filter((path) => /^(controller|machines|api)\//.test(path))
      .flatMap((path) => [
        ...readSource(path).matchAll(/type: '(\w+)',\s*status: [^,]*,\s*reason:/g),
        ...readSource(path).matchAll(/= step\(\s*'(\w+)'/g),
      ])
      .flatMap(([, type]) => type ?? [])
    const described = [...read('README.md').matchAll(/^\| (?:pool|instance|claim) +\| `(\w+)` \(/gm)]
    expect(described.flatMap(([, type]) => type ?? []).sort()).toEqual([...new Set(set)].sort())
  })
})

describe('controller/README.md', () => {
  it('has the lanes and their slots', () => {
    const lanes = [...read('controller/README.md').matchAll(/^\| `(\w+)` +\| (\d+) +\|/gm)]
    expect(Object.fromEntries(lanes.map(([, lane, slots]) => [lane, Number(slots)]))).toEqual(LANE_SLOTS)
  })
})
