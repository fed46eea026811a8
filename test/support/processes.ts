import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export interface Found {
  pid: number
  command: string
}

const read = (path: string) => {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return '' // it has ended, or belongs to somebody else
  }
}

/** Every process that has `folder` in its environment, its command line or as its working directory; Linux only. */
export function processesOf(folder: string): Found[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => !/\) Z /.test(read(`/proc/${pid}/stat`)))
    .filter((pid) =>
      [read(`/proc/${pid}/environ`), read(`/proc/${pid}/cmdline`), cwd(pid)].some(names(folder)),
    )
    .map((pid) => ({
      pid: Number(pid),
      command: read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').slice(0, 200),
    }))
}

const names = (folder: string) => (text: string) => text.includes(folder)

function cwd(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return ''
  }
}
