import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)
const isLinux = process.platform === 'linux'
const PS_TIMEOUT_MS = 5_000

/**
 * When process `pid` was started, as a word that only this process of this boot of the machine has; null when there
 * is no such process. A pid alone proves nothing: the system gives it to the next one.
 *
 * Linux: read at once, before any `await`, so that a child which has just been spawned is still there, if only as a
 * zombie. macOS knows the time to the second only.
 */
export async function startOf(pid: number): Promise<string | null> {
  if (isLinux) return linuxStart(pid)
  try {
    const { stdout } = await run('ps', ['-o', 'lstart=', '-p', String(pid)], { timeout: PS_TIMEOUT_MS })
    return stdout.trim() || null
  } catch {
    return null
  }
}

let bootId: string | undefined
function linuxStart(pid: number): string | null {
  try {
    bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Field 22, counted from 1. The second one is the name in parentheses, which may hold blanks and parentheses.
    const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
    return startTicks === undefined ? null : `${bootId}/${startTicks}`
  } catch {
    return null
  }
}

/** What belongs to a Sprite: its home directory, and the process groups of its commands that still run. */
export interface Owned {
  homes: ReadonlySet<string>
  groups: ReadonlySet<number>
}

/**
 * The living processes that are owned: their environment says `SPRITE_HOME=<one of homes>`, to the letter, or they
 * are in one of the groups. The first finds whatever a command of the Sprite started, in whatever session it went,
 * unless it emptied its environment; the value is an absolute path in the data directory, which nothing else on the
 * machine has by chance. The second finds those with an empty environment that stayed in their group. One that did
 * both is not found.
 *
 * macOS shows the environment of most processes through `ps -E`, but not of the system's own binaries: there a
 * daemon that left its process group and is run by /bin/bash is not found either.
 */
export async function findOwned(owned: Owned): Promise<number[]> {
  if (owned.homes.size === 0 && owned.groups.size === 0) return []
  const found = isLinux ? await findOnLinux(owned) : await findByPs(owned)
  return found.filter((pid) => pid !== process.pid)
}

async function findOnLinux({ homes, groups }: Owned): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const found = await Promise.all(
    pids.map(async (pid) => {
      // Gone meanwhile, not ours to read, or a zombie (which has no environment): nothing to end.
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '')
      if (homes.has(spriteHomeIn(environment))) return pid
      return groups.size > 0 && groups.has(await linuxGroup(pid)) ? pid : null
    }),
  )
  return found.filter((pid) => pid !== null)
}

function spriteHomeIn(environment: string): string {
  const at = `\0${environment}`.indexOf('\0SPRITE_HOME=')
  if (at < 0) return ''
  const value = environment.slice(at + 'SPRITE_HOME='.length).split('\0', 1)[0] ?? ''
  return Buffer.from(value, 'latin1').toString('utf8')
}

/** 0 for what is gone or a zombie, which only its parent can clear away. */
async function linuxGroup(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')
  const [state, , group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return state === 'Z' || group === undefined ? 0 : Number(group)
}

async function findByPs({ homes, groups }: Owned): Promise<number[]> {
  const { stdout } = await run('ps', ['-axEww', '-o', 'pid=,pgid=,stat=,command='], {
    timeout: PS_TIMEOUT_MS,
    maxBuffer: 64 * 1_048_576,
  })
  const words = [...homes].map((home) => ` SPRITE_HOME=${home} `)
  return stdout.split('\n').flatMap((line) => {
    const [pid = 0, group = 0] = line.trim().split(/\s+/, 2).map(Number)
    const isZombie = /^\s*\d+\s+\d+\s+Z/.test(line)
    const isOwned = groups.has(group) || words.some((word) => `${line} `.includes(word))
    return pid > 1 && isOwned && !isZombie ? [pid] : []
  })
}
