/**
 * A Sprite's disk in a temporary folder, as the process engine lays it out, and the tools that a laptop lacks as
 * stand-ins on PATH. For tests that run what is written into a Sprite for real.
 */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { vi } from 'vitest'
import { readSpriteFile, type SetupStatus, setupStatusSchema } from '../../deploy/sprite/templates.ts'

const STAND_INS = {
  pnpm: '[ "$1" != build ] || exec node build.js',
  bun: 'exit 0',
  npm: '[ "$*" != "config get prefix" ] || echo "$SPRITE_ROOT/usr/local"',
  'apt-get': 'exit 0',
  sudo: 'exec "$@"',
}

export interface Ended {
  code: number
  stdout: string
  stderr: string
}

export type SpriteFolder = Awaited<ReturnType<typeof createSpriteFolder>>

export async function createSpriteFolder() {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'sprite-')))
  const root = join(folder, 'disk')
  const home = join(root, 'home/sprite')
  const dir = join(home, '.clawpool')
  const tools = join(folder, 'tools')
  await mkdir(dir, { recursive: true })
  await mkdir(tools)
  for (const [name, body] of Object.entries(STAND_INS)) {
    await writeFile(join(tools, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  }
  for (const name of ['setup.sh', 'gateway.sh', 'joins.sh'] as const) {
    await writeFile(join(dir, name), readSpriteFile(name))
    await chmod(join(dir, name), 0o755)
  }

  const env: Record<string, string> = {
    HOME: home,
    PATH: [tools, dirname(process.execPath), '/usr/bin', '/bin', '/usr/sbin', '/sbin'].join(':'),
    USER: 'sprite',
    LANG: 'C.UTF-8',
    SPRITE_HOME: home,
    SPRITE_ROOT: root,
  }
  const groups = new Set<number>()

  /** Runs a program to its end as an exec would: 20 s at most, nothing on stdin. */
  function exec(argv: readonly string[], changes: Record<string, string> = {}): Promise<Ended> {
    const [file = '', ...args] = argv
    return new Promise((resolve) => {
      const options = { env: { ...env, ...changes }, timeout: 20_000, cwd: home }
      const child = execFile(file, args, options, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
        resolve({ code, stdout, stderr })
      })
      child.stdin?.end()
    })
  }

  const read = (path: string) => readFile(join(root, path), 'utf8')
  const status = async (): Promise<SetupStatus> =>
    setupStatusSchema.parse(JSON.parse(await readFile(join(dir, 'setup.json'), 'utf8')))

  /** Pid of the build that runs now, which leads a process group. */
  async function buildPid(): Promise<number> {
    const pid = Number((await readFile(join(dir, 'setup.pid'), 'utf8')).split(' ')[0])
    groups.add(pid)
    return pid
  }

  return {
    root,
    home,
    dir,
    env,
    exec,
    read,
    status,
    buildPid,
    write: (path: string, content: string) => writeFile(join(root, path), content),
    setup: (changes?: Record<string, string>) => exec(['bash', join(dir, 'setup.sh')], changes),
    /** Waits for a status that satisfies `check`, 20 s at most; says the last one when none did. */
    until: (check: (status: SetupStatus) => boolean): Promise<SetupStatus> =>
      vi.waitFor(
        async () => {
          const now = await status()
          if (!check(now)) throw new Error(`still ${JSON.stringify(now)}`)
          return now
        },
        { timeout: 20_000, interval: 20 },
      ),
    /** Ends what builds of this folder still run and removes it. */
    async remove() {
      await buildPid().catch(() => 0) // no build runs
      for (const group of groups) endGroup(group)
      await rm(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** Whether a process runs. One that has ended and that nobody has waited for yet does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !(
      existsSync('/proc/self') && / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\)/, ''))
    )
  } catch {
    return false
  }
}

function endGroup(pid: number) {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // it has ended already
  }
}
