/** git, with none of the user's configuration: what it makes is the same on every machine. */
import { spawn } from 'node:child_process'
import { devNull } from 'node:os'
import { type Clock, DeadlineExceeded, systemClock } from '../../specs/clock.ts'

const GIT_TIMEOUT_MS = 30_000
const OUTPUT_LIMIT = 1_000_000

export interface GitOptions {
  /** The program; by default whatever `git` is on PATH. */
  git?: string
  input?: string | Buffer
  clock?: Clock
}

/** Runs git on the bare repository `dir` and returns its stdout, trimmed. Throws with what git said. */
export function runGit(dir: string, args: readonly string[], options: GitOptions = {}): Promise<string> {
  const { git = 'git', input = '', clock = systemClock } = options
  return new Promise((resolve, reject) => {
    const child = spawn(git, ['-c', 'safe.directory=*', '-c', 'gc.auto=0', '--git-dir', dir, ...args], {
      env: {
        PATH: process.env.PATH ?? '',
        HOME: dir,
        LC_ALL: 'C',
        GIT_CONFIG_GLOBAL: devNull,
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_TERMINAL_PROMPT: '0',
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const operation = `git ${args[0] ?? ''}`
    let stdout = ''
    let stderr = ''
    const cancel = clock.after(GIT_TIMEOUT_MS, () => {
      child.kill('SIGKILL')
      reject(new DeadlineExceeded(operation, GIT_TIMEOUT_MS))
    })
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      if (stdout.length < OUTPUT_LIMIT) stdout += chunk
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      if (stderr.length < OUTPUT_LIMIT) stderr += chunk
    })
    child.stdin.on('error', () => {}) // git ended before it read everything: its exit code says why
    child.on('error', (cause) => {
      cancel()
      reject(new Error(`${operation}: cannot be run`, { cause }))
    })
    child.on('close', (code) => {
      cancel()
      if (code === 0) resolve(stdout.trim())
      else reject(new Error(`${operation}: ${stderr.trim().slice(-500) || `exit code ${code}`}`))
    })
    child.stdin.end(input)
  })
}
