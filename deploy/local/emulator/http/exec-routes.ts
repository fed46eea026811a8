import type { ServerResponse } from 'node:http'
import { parseDuration } from '../duration.ts'
import { type ExecCommand, type OutputStream, Refusal } from '../engine.ts'
import { sendEmpty } from './answer.ts'
import type { Route } from './router.ts'
import { RUNTIME_VERSION } from './runtime-version.ts'
import { openSession } from './session-routes.ts'

/** How long a command without a terminal outlives its client, when the client did not say. */
const RUN_AFTER_DISCONNECT_MS = 10_000
export const EXIT_FRAME = 3

/**
 * `POST /exec`: a stream of frames, each a type byte and its payload, with no length. A frame is one HTTP chunk, and
 * only that keeps them apart: whatever joins or splits chunks on the way breaks the protocol, here as there.
 */
export const execRoutes: Route[] = [
  {
    method: 'POST',
    operation: 'exec',
    asleep: 'wakes',
    path: '/v1/sprites/:name/exec',
    async handle({ input, response, params, query, engine, sessions }) {
      const session = await openSession({ engine, sessions, name: params.name ?? '', query })
      response.setHeader('content-type', 'application/octet-stream')
      response.flushHeaders()
      const detach = session.attach((stream, bytes) => writeFrame(response, stream, bytes))
      if (response.closed) detach()
      response.once('close', detach)
      input.on('data', (bytes: Buffer) => session.exec.writeStdin(bytes))
      input.on('end', () => session.exec.endStdin())
      const code = await session.exited
      if (code === null) return void response.destroy()
      await writeFrame(response, EXIT_FRAME, Buffer.from([code]))
      response.end()
    },
  },
  {
    method: 'HEAD',
    operation: 'get',
    path: '/v1/sprites/:name/exec',
    /** How the Go SDK learns the runtime's version. */
    handle({ response, params, engine }) {
      engine.get(params.name ?? '')
      response.setHeader('sprite-version', RUNTIME_VERSION)
      sendEmpty(response, 200)
    },
  },
]

function writeFrame(
  response: ServerResponse,
  type: OutputStream | typeof EXIT_FRAME,
  payload: Buffer,
): Promise<void> {
  if (response.destroyed) return Promise.resolve()
  return new Promise((resolve) => {
    response.once('close', resolve)
    response.write(Buffer.concat([Buffer.from([type]), payload]), () => {
      response.off('close', resolve)
      resolve()
    })
  })
}

/** ms; null: for ever. */
export function runAfterDisconnectMs(query: URLSearchParams): number | null {
  const text = query.get('max_run_after_disconnect')
  if (text === null) return RUN_AFTER_DISCONNECT_MS
  const ms = parseDuration(text)
  if (ms === null) throw new Refusal(400, { error: 'invalid max_run_after_disconnect' })
  return ms === 0 ? null : ms
}

/** The same query means the same command over HTTP and over a socket. */
export function commandOf(query: URLSearchParams): ExecCommand {
  const [first, ...rest] = query.getAll('cmd')
  if (first === undefined || first === '') throw new Refusal(400, { error: 'missing cmd' })
  if (query.get('tty') === 'true') throw new Refusal(400, { error: 'tty is not supported by this emulator' })
  const env: Record<string, string> = {}
  for (const pair of query.getAll('env')) {
    const at = pair.indexOf('=')
    if (at < 1) throw new Refusal(400, { error: 'invalid env' })
    env[pair.slice(0, at)] = pair.slice(at + 1)
  }
  if ([...query.values()].some((value) => value.includes('\0')))
    throw new Refusal(400, { error: 'invalid argument' })
  return {
    argv: [first, ...rest],
    path: query.get('path') || null,
    dir: query.get('dir') || null,
    env,
    stdin: query.get('stdin') === 'true',
  }
}
