import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const ROOT = new URL('..', import.meta.url)

/** `<package version>+<commit>`: differs for every commit deployed. The commit is null where nothing tells it. */
export function readVersion(env: Record<string, string | undefined>): {
  version: string
  commit: string | null
} {
  const { version } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as { version: string }
  const commit = env.GIT_COMMIT || env.RAILWAY_GIT_COMMIT_SHA || fromGit()
  return { version: commit ? `${version}+${commit.slice(0, 7)}` : version, commit }
}

function fromGit(): string | null {
  try {
    return execFileSync('git', ['rev-parse', 'HEAD'], {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 5_000,
    }).trim()
  } catch {
    return null // no git, or not a checkout: a container
  }
}
