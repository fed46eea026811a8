import type { IncomingMessage } from 'node:http'
import { WebSocket } from 'ws'
import { DeadlineExceeded } from '../../specs/clock.ts'
import type { ExecResult } from './client.ts'
import { SpritesRejected, SpritesUnavailable } from './errors.ts'
import { type CallSeen, type HttpConfig, segment } from './http.ts'
import { toError } from './refusal.ts'
import { failureWord } from './scrub.ts'

/** Kept of each stream; what comes after it is dropped, the exit code still counts. */
const MOST_OUTPUT_BYTES = 1024 * 1024
/** One frame. The server's are far smaller; beyond it the connection counts as cut. */
const MOST_FRAME_BYTES = 8 * 1024 * 1024
/** argv stands in the URL, and the provider's edge answers 414 from about 64 KB on. */
const LONGEST_URL = 60_000
/** The server keeps the socket for 5 to 10 s after the exit: nobody waits for its part of the goodbye. */
const GOODBYE_MS = 1_000
const MOST_REFUSAL_BYTES = 64 * 1024

/** The first byte of every binary frame. Text frames (session, ports) are not needed and not read. */
const FRAME = { stdout: 1, stderr: 2, exit: 3 } as const

export interface ExecCall {
  name: string
  argv: readonly string[]
  handshakeMs: number
  bodyMs: number
  signal: AbortSignal | undefined
}

/**
 * Runs one command over a WebSocket, without a terminal, a shell or a stdin: a command that reads its input sees
 * the end at once. argv is visible in the Sprite and in logs on the way, so nothing secret belongs in it.
 *
 * It is over at the exit frame. A socket that closes without one says nothing about the command: `exitCode`
 * null. A refused or unanswered handshake throws, and the command did not start. Too late throws
 * `SpritesUnavailable`; the command lives on for about 10 s.
 *
 * The socket is one of `ws`, not the global one. That one hides the status of a refused handshake, sends it
 * twice on a 401, bounds no frame, and cannot be torn down: against a server that ignores the closing
 * handshake its connection stays open for as long as the process lives.
 */
export async function exec(config: HttpConfig, call: ExecCall): Promise<ExecResult> {
  const url = execUrl(config.baseUrl, call)
  const startedAt = config.clock.monotonic()
  let seen: CallSeen['status'] = 'error'
  try {
    return await run(url, config, call, (status) => {
      seen = status
    })
  } finally {
    config.observeCall?.({ operation: 'exec', status: seen, ms: config.clock.monotonic() - startedAt })
  }
}

function execUrl(baseUrl: string, { name, argv }: ExecCall): string {
  if (argv.length === 0) throw new SpritesRejected('exec', name, null, { detail: 'no command' })
  const query = new URLSearchParams(argv.map((word) => ['cmd', word]))
  const base = baseUrl.replace(/\/+$/, '').replace(/^http/i, 'ws')
  const url = `${base}/v1/sprites/${segment('exec', name, name)}/exec?${query}`
  if (url.length > LONGEST_URL) throw new SpritesRejected('exec', name, null, { detail: 'argv is too long' })
  return url
}

function run(
  url: string,
  { token, clock }: HttpConfig,
  { name, handshakeMs, bodyMs, signal }: ExecCall,
  onStatus: (status: number) => void,
): Promise<ExecResult> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const socket = new WebSocket(url, {
      headers: { authorization: `Bearer ${token}` },
      maxPayload: MOST_FRAME_BYTES,
      perMessageDeflate: false,
      followRedirects: false,
    })
    const stdout = outputBuffer()
    const stderr = outputBuffer()
    let settled = false
    let opened = false
    let failure: unknown = null
    let cancelLimit = limit('handshake', handshakeMs)

    function limit(part: string, ms: number): () => void {
      return clock.after(ms, () => {
        const cause = new DeadlineExceeded(`sprites exec ${part}`, ms)
        fail(
          new SpritesUnavailable('exec', name, null, { detail: `${part} not done within ${ms} ms`, cause }),
        )
      })
    }
    /** First come, first served: false when the call has already ended. */
    function settle(): boolean {
      if (settled) return false
      settled = true
      cancelLimit()
      signal?.removeEventListener('abort', onAbort)
      return true
    }
    function fail(error: unknown): void {
      if (settle()) reject(error)
      socket.terminate()
    }
    function finish(exitCode: number | null): void {
      if (!settle()) return
      const cancelGoodbye = clock.after(GOODBYE_MS, () => socket.terminate())
      socket.once('close', cancelGoodbye)
      if (socket.readyState === WebSocket.CLOSED) cancelGoodbye()
      else socket.close(1000)
      if (exitCode !== null) onStatus(101)
      resolve({ exitCode, stdout: stdout.text(), stderr: stderr.text() })
    }
    const onAbort = () => fail(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })

    socket.on('open', () => {
      opened = true
      cancelLimit()
      cancelLimit = limit('command', bodyMs)
    })
    socket.on('unexpected-response', (request, response) => {
      readRefusal(response, (text) => {
        const header = (key: string) => {
          const value = response.headers[key]
          return typeof value === 'string' ? value : null
        }
        const status = response.statusCode ?? 0
        const answer = { operation: 'exec', subject: name, looksFor: 'sprite', status, header, text } as const
        onStatus(status)
        request.destroy()
        fail(toError(answer, { token, nowMs: clock.now() }))
      })
    })
    socket.on('message', (data, isBinary) => {
      if (!isBinary || settled) return
      const frame = data as Buffer // what `ws` hands out unless its binaryType is changed
      const payload = frame.subarray(1)
      if (frame[0] === FRAME.stdout) stdout.add(payload)
      else if (frame[0] === FRAME.stderr) stderr.add(payload)
      else if (frame[0] === FRAME.exit && payload[0] !== undefined) finish(payload[0]) // one byte
    })
    socket.on('error', (error) => {
      failure = error // 'close' follows
    })
    socket.on('close', () => {
      if (opened) finish(null)
      else fail(new SpritesUnavailable('exec', name, null, { detail: failureWord(failure) }))
    })
  })
}

/** Calls back once, at the end or the cut, with the first of what came; the handshake's deadline ends the others. */
function readRefusal(response: IncomingMessage, then: (text: string) => void): void {
  const body = outputBuffer(MOST_REFUSAL_BYTES)
  response.on('data', (chunk: Buffer) => body.add(chunk))
  response.once('error', () => {}) // 'close' follows
  response.once('close', () => then(body.text()))
}

/** Keeps the first `most` bytes. Decoded at the end, since a character may be split between two frames. */
function outputBuffer(most = MOST_OUTPUT_BYTES) {
  const parts: Buffer[] = []
  let size = 0
  return {
    add(part: Buffer): void {
      const kept = part.subarray(0, most - size)
      if (kept.length === 0) return
      parts.push(Buffer.from(kept)) // a copy: a view would keep the whole frame alive
      size += kept.length
    },
    text: () => Buffer.concat(parts, size).toString('utf8'),
  }
}
