import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { RawData, WebSocket, WebSocketServer } from 'ws'
import { z } from 'zod'
import type { Clock } from '../../../../specs/clock.ts'
import type { Engine, ExecSession } from '../engine.ts'
import { commandOf, EXIT_FRAME, runAfterDisconnectMs } from './exec-routes.ts'
import type { SurfaceOptions } from './router.ts'

const STDIN_FRAME = 0
const STDIN_END_FRAME = 4
const NORMAL_CLOSURE = 1000
const signalMessage = z.object({ type: z.literal('signal'), signal: z.string() })

interface SocketCall {
  request: IncomingMessage
  socket: Duplex
  head: Buffer
  sockets: WebSocketServer
  query: URLSearchParams
  name: string
  engine: Engine
  clock: Clock
  options: SurfaceOptions
}

/**
 * `WSS /exec`. The command runs before the upgrade is answered, so one that cannot start is refused as plain HTTP.
 * Binary frames carry their stream in the first byte; text frames are JSON, `session_info` comes first. A command
 * that lost its Sprite (restore, delete) loses its socket without an exit frame: nobody knows how it ended.
 */
export async function serveExecSocket(call: SocketCall): Promise<void> {
  const { request, socket, head, sockets, query, name, engine, clock, options } = call
  const afterMs = runAfterDisconnectMs(query)
  const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const opened = Promise.withResolvers<WebSocket | null>()
  const session = await engine.exec(name, commandOf(query), async (stream, bytes) => {
    await send(await opened.promise, Buffer.concat([Buffer.from([stream]), bytes]))
  })
  void gone.then(() => {
    opened.resolve(null) // hung up before the upgrade: whatever it prints goes nowhere
    if (afterMs === null) return
    const cancel = clock.after(afterMs, () => session.kill())
    void session.exited.then(cancel)
  })

  sockets.handleUpgrade(request, socket, head, (client) => {
    client.on('error', () => client.terminate())
    client.on('message', (data, isBinary) => receive(session, data, isBinary))
    client.send(JSON.stringify(sessionInfo(session)))
    opened.resolve(client)
    void finish(client, session, clock, options.execLingerMs)
  })
}

async function finish(
  client: WebSocket,
  session: ExecSession,
  clock: Clock,
  lingerMs: number,
): Promise<void> {
  const code = await session.exited
  if (code === null) return client.terminate()
  await send(client, Buffer.from([EXIT_FRAME, code]))
  const cancel = clock.after(lingerMs, () => client.close(NORMAL_CLOSURE))
  client.once('close', cancel)
}

/** Resolves when the bytes have left, which is what holds a fast command back for a slow client. */
function send(client: WebSocket | null, bytes: Buffer): Promise<void> {
  if (!client || client.readyState !== client.OPEN) return Promise.resolve()
  return new Promise((resolve) => client.send(bytes, () => resolve()))
}

function receive(session: ExecSession, data: RawData, isBinary: boolean): void {
  const bytes = Buffer.isBuffer(data) ? data : Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data)
  if (isBinary) {
    if (bytes[0] === STDIN_FRAME) session.writeStdin(bytes.subarray(1))
    if (bytes[0] === STDIN_END_FRAME) session.endStdin()
    return
  }
  const message = signalMessage.safeParse(jsonOrNull(bytes.toString('utf8')))
  if (message.success) session.signal(message.data.signal)
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function sessionInfo(session: ExecSession) {
  const created = Math.floor(session.startedAt / 1_000)
  return {
    type: 'session_info',
    session_id: session.id,
    command: session.command,
    created,
    cols: 80,
    rows: 24,
    is_owner: true,
    tty: false,
  }
}
