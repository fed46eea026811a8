/**
 * The git repository that stands in for OpenClaw's: made from `openclaw-standin/`, with the branches that the real
 * one has. A new commit in it is a new version of OpenClaw. The same sources give the same commit on every machine.
 */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { type GitOptions, runGit } from './git.ts'

const TEMPLATE = fileURLToPath(new URL('./openclaw-standin/', import.meta.url))
/** What a build leaves behind where somebody ran one in the sources. */
const BUILT = new Set(['dist', 'node_modules'])

const BRANCHES = ['staging', 'main'] as const
/** The last commit made from the sources, whatever was committed on the branches since. */
const TEMPLATE_REF = 'refs/standin/template'

const AUTHOR = 'Stand-in <standin@localhost>'
/** Seconds and zone: 2026-01-01, for every commit. */
const DATE = '1767225600 +0000'

export interface StandinRepo {
  /** A `file:` URL; a fetch may name any commit in it. */
  url: string
  branches: string[]
}

/**
 * Makes the bare repository `dir`, or adds a commit to each branch where the sources have changed since; else
 * changes nothing. A crash leaves either no repository or a whole one.
 *
 * The path ends up in `setup.env`, so it may hold A-Z a-z 0-9 . _ / : @ - only: throws where it does not, and the
 * caller picks another folder.
 */
export async function ensureStandinRepo(options: { dir: string; git?: string }): Promise<StandinRepo> {
  const dir = resolve(options.dir)
  const url = pathToFileURL(dir).href
  if (!/^[A-Za-z0-9._/:@-]+$/.test(url)) {
    throw new Error(
      `the stand-in repository cannot be at ${JSON.stringify(dir)}: choose a path of A-Z a-z 0-9 . _ / : @ - only`,
    )
  }
  const git: GitOptions = options.git === undefined ? {} : { git: options.git }
  if (existsSync(dir)) await refresh(dir, git)
  else await create(dir, git)
  return { url, branches: [...BRANCHES] }
}

/** Adds one commit to `branch` that writes `files` (path in the repository → content); returns its 40 hex digits. */
export async function commitStandin(options: {
  dir: string
  branch: string
  files: Record<string, string>
  message: string
  git?: string
}): Promise<string> {
  const git: GitOptions = options.git === undefined ? {} : { git: options.git }
  const files = Object.entries(options.files).map(([path, content]) => ({
    path,
    content: Buffer.from(content),
  }))
  const ref = `refs/heads/${options.branch}`
  const parent = await runGit(options.dir, ['rev-parse', '--verify', `${ref}^{commit}`], git)
  const commit = commitStream({ ref, parent, message: options.message, files, whole: false })
  await runGit(options.dir, ['fast-import', '--quiet'], { ...git, input: commit })
  return runGit(options.dir, ['rev-parse', '--verify', ref], git)
}

interface SourceFile {
  path: string
  content: Buffer
}

async function create(dir: string, git: GitOptions): Promise<void> {
  const files = await sourceFiles()
  await mkdir(dirname(dir), { recursive: true })
  const draft = `${dir}.new-${randomBytes(4).toString('hex')}`
  try {
    await runGit(draft, ['init', '--quiet', '--bare', '--template=', `--initial-branch=${BRANCHES[0]}`], git)
    // A build fetches one pinned commit, which need not be the head of a branch any more.
    await runGit(draft, ['config', 'uploadpack.allowAnySHA1InWant', 'true'], git)
    await runGit(draft, ['config', 'uploadpack.allowReachableSHA1InWant', 'true'], git)
    const message = templateMessage(files)
    const commits = BRANCHES.map((branch) =>
      commitStream({ ref: `refs/heads/${branch}`, parent: null, message, files, whole: true }),
    )
    const marker = commitStream({ ref: TEMPLATE_REF, parent: null, message, files, whole: true })
    await runGit(draft, ['fast-import', '--quiet'], { ...git, input: Buffer.concat([...commits, marker]) })
    await rename(draft, dir)
  } catch (error) {
    await rm(draft, { recursive: true, force: true })
    if (!existsSync(dir)) throw error // else somebody else made the same one meanwhile
  }
}

async function refresh(dir: string, git: GitOptions): Promise<void> {
  const files = await sourceFiles()
  const message = templateMessage(files)
  if ((await runGit(dir, ['log', '-1', '--format=%B', TEMPLATE_REF], git)) === message) return
  const stream: Buffer[] = []
  for (const ref of [...BRANCHES.map((branch) => `refs/heads/${branch}`), TEMPLATE_REF]) {
    const parent = await runGit(dir, ['rev-parse', '--verify', `${ref}^{commit}`], git)
    stream.push(commitStream({ ref, parent, message, files, whole: true }))
  }
  await runGit(dir, ['fast-import', '--quiet'], { ...git, input: Buffer.concat(stream) })
}

async function sourceFiles(): Promise<SourceFile[]> {
  const entries = await readdir(TEMPLATE, { recursive: true, withFileTypes: true })
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(TEMPLATE, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((path) => !path.split('/').some((part) => BUILT.has(part) || part.startsWith('.')))
    .sort()
  return Promise.all(paths.map(async (path) => ({ path, content: await readFile(join(TEMPLATE, path)) })))
}

/** Names the sources by their content, so that the repository itself tells which ones it holds. */
function templateMessage(files: SourceFile[]): string {
  const hash = createHash('sha256')
  for (const { path, content } of files) hash.update(`${path}\0${content.length}\0`).update(content)
  return `Stand-in ${hash.digest('hex').slice(0, 12)}`
}

/** One commit in the language of `git fast-import`. `whole` replaces the tree, otherwise the files are added to it. */
function commitStream(commit: {
  ref: string
  parent: string | null
  message: string
  files: SourceFile[]
  whole: boolean
}): Buffer {
  const head = [`commit ${commit.ref}`, `author ${AUTHOR} ${DATE}`, `committer ${AUTHOR} ${DATE}`]
  const parts: (string | Buffer)[] = [`${head.join('\n')}\n`, ...data(Buffer.from(commit.message))]
  if (commit.parent) parts.push(`from ${commit.parent}\n`)
  if (commit.whole) parts.push('deleteall\n')
  for (const { path, content } of commit.files) {
    if (!/^[A-Za-z0-9._/@-]+$/.test(path)) throw new Error(`not a path for a commit: ${JSON.stringify(path)}`)
    parts.push(`M 100644 inline ${path}\n`, ...data(content))
  }
  return Buffer.concat([...parts, '\n'].map((part) => (typeof part === 'string' ? Buffer.from(part) : part)))
}

const data = (content: Buffer): (string | Buffer)[] => [`data ${content.length}\n`, content, '\n']
