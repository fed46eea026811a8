/** An emulator in a temporary folder, and short ways to talk to it. For the tests of the emulator only. */
import { mkdtemp, readFile, realpath, rm } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished, vi } from 'vitest'
import { WebSocket } from 'ws'
import { type EmulatorConfig, startEmulator } from '../../deploy/local/emulator/start.ts'

export const TOKEN = 'org/1/2/a-token-of-this-test'

/** Removed at the end of the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'emulator-')))
  onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
  return folder
}

export type World = Awaited<ReturnType<typeof startWorld>>

/** Ended at the end of the test. */
export async function startWorld(config: Partial<EmulatorConfig> = {}) {
  const dataDir = config.dataDir ?? join(await temporaryFolder(), 'data')
  const emulator = await startEmulator({ ...config, token: TOKEN, dataDir })
  let isOpen = true
  const close = async () => {
    if (isOpen) await emulator.close()
    isOpen = false
  }
  onTestFinished(close)
  return { ...talkTo(emulator.url), dataDir, close }
}

/** Of one test at most 20 s: nothing here takes longer than a few, and a hang must not look like patience. */
const LIMIT_MS = 20_000

export function talkTo(base: string) {
  async function call(method: string, path: string, body?: unknown): Promise<Response> {
    return fetch(`${base}/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${TOKEN}` },
      redirect: 'manual',
      signal: AbortSignal.timeout(LIMIT_MS),
      ...(body === undefined ? {} : { body: body instanceof Uint8Array ? body : JSON.stringify(body) }),
    })
  }

  async function json(method: string, path: string, body?: unknown) {
    const response = await call(method, path, body)
    const text = await response.text()
    return { status: response.status, body: text === '' ? null : JSON.parse(text) }
  }

  async function lines(method: string, path: string, body?: unknown): Promise<Line[]> {
    const response = await call(method, path, body)
    const text = await response.text()
    if (response.status !== 200) throw new Error(`${response.status} ${text}`)
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
  }

  function socket(path: string, headers: Record<string, string> = { authorization: `Bearer ${TOKEN}` }) {
    return new WebSocket(`${base.replace('http', 'ws')}/v1${path}`, { headers })
  }

  return {
    base,
    call,
    json,
    lines,
    socket,
    async create(name: string, more: object = {}): Promise<Wire> {
      const { status, body } = await json('POST', '/sprites', { name, ...more })
      if (status !== 201) throw new Error(`create ${name}: ${status} ${JSON.stringify(body)}`)
      return body
    },
    /** Over HTTP, to its end. */
    async run(name: string, argv: string[], query: Record<string, string> = {}): Promise<Ran> {
      const params = new URLSearchParams([...argv.map((word) => ['cmd', word]), ...Object.entries(query)])
      const response = await call('POST', `/sprites/${name}/exec?${params}`)
      if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`)
      return readFrames(response)
    },
    bash(name: string, script: string, query: Record<string, string> = {}): Promise<Ran> {
      return this.run(name, ['bash', '-c', script], query)
    },
    write: (name: string, path: string, text: string, mode = '0644') =>
      json(
        'PUT',
        `/sprites/${name}/fs/write?${new URLSearchParams({ path, workingDir: '/', mode, mkdirParents: 'true' })}`,
        Buffer.from(text),
      ),
    read: async (name: string, path: string) => {
      const response = await call(
        'GET',
        `/sprites/${name}/fs/read?${new URLSearchParams({ path, workingDir: '/' })}`,
      )
      return { status: response.status, text: await response.text() }
    },
    list: (name: string, path: string) =>
      json('GET', `/sprites/${name}/fs/list?${new URLSearchParams({ path, workingDir: '/' })}`),
  }
}

export interface Wire {
  id: string
  name: string
  url: string
  url_settings: { auth: string }
  labels: string[]
  status: string
}
export interface Line {
  type: string
  data?: string
  error?: string
  exit_code?: number
  timestamp?: number
}
export interface Ran {
  /** null: the stream ended without an exit frame. */
  code: number | null
  stdout: string
  stderr: string
}

/** Small outputs only: each chunk of the wire is one frame, as long as nothing splits it. */
async function readFrames(response: Response): Promise<Ran> {
  const ran: Ran = { code: null, stdout: '', stderr: '' }
  for await (const bytes of response.body ?? []) {
    const text = Buffer.from(bytes.subarray(1)).toString('utf8')
    if (bytes[0] === 1) ran.stdout += text
    else if (bytes[0] === 2) ran.stderr += text
    else ran.code = bytes[1] ?? null
  }
  return ran
}

/** What `fetch` does not let a caller say: any Host, any Origin. */
export function rawStatus(url: string, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { headers, agent: false, timeout: LIMIT_MS }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    request.on('error', reject).end()
  })
}

/** Whether a process runs; a zombie that nobody has cleared away does not. */
export async function isRunning(pid: number): Promise<boolean> {
  if (process.platform === 'linux') {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    return stat !== '' && !/\) Z /.test(stat)
  }
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

export const until = <T>(check: () => T | Promise<T>): Promise<T> =>
  vi.waitFor(check, { timeout: LIMIT_MS, interval: 20 })

export async function untilGone(pid: number): Promise<void> {
  await until(async () => {
    if (await isRunning(pid)) throw new Error(`process ${pid} still runs`)
  })
}
