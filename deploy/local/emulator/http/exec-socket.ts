import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { RawData, WebSocket, WebSocketServer } from 'ws'
import { z } from 'zod'
import { type Clock, sleep } from '../../../../specs/clock.ts'
import type { ExecSession, OutputSink } from '../engine.ts'
import type { Faults } from '../faults/faults.ts'
import { EXIT_FRAME } from './exec-routes.ts'
import type { SurfaceOptions } from './router.ts'
import type { Session } from './sessions.ts'

const STDIN_FRAME = 0
const STDIN_END_FRAME = 4
const NORMAL_CLOSURE = 1000
const signalMessage = z.object({ type: z.literal('signal'), signal: z.string() })

interface SocketCall {
  request: IncomingMessage
  socket: Duplex
  head: Buffer
  sockets: WebSocketServer
  session: Session
  sprite: string
  faults: Faults
  clock: Clock
  options: SurfaceOptions
}

/**
 * Joins a socket to a command that runs already, so one that cannot start was refused as plain HTTP. Binary frames carry
 * their stream in the first byte; text frames are JSON, `session_info` comes first. A command that lost its Sprite
 * (restore, delete) loses its socket without an exit frame: nobody knows how it ended.
 */
export function serveExecSocket(call: SocketCall): void {
  const { request, socket, head, sockets, session, sprite, faults, clock } = call
  if (socket.destroyed) {
    session.attach(() => {})() // hung up meanwhile: whatever it prints goes nowhere
    return
  }
  const muteMs = faults.take(['mute'], 'exec', sprite)?.ms ?? 0
  const muted = muteMs > 0 ? sleep(clock, muteMs) : null
  sockets.handleUpgrade(request, socket, head, (client) => {
    const output: OutputSink = async (stream, bytes) => {
      await muted
      await send(client, Buffer.concat([Buffer.from([stream]), bytes]))
    }
    client.on('error', () => client.terminate())
    client.on('message', (data, isBinary) => receive(session.exec, data, isBinary))
    client.send(JSON.stringify(sessionInfo(session)))
    client.once('close', session.attach(output))
    void finish(client, call, muted)
  })
}

async function finish(
  client: WebSocket,
  { session, sprite, faults, clock, options }: SocketCall,
  muted: Promise<void> | null,
): Promise<void> {
  const code = await session.exited
  await muted
  if (code === null) return client.terminate()
  if (faults.take(['no-exit-frame'], 'exec', sprite)) return client.close(NORMAL_CLOSURE)
  if (faults.take(['lose', 'lie'], 'exec', sprite)) return client.terminate()
  await send(client, Buffer.from([EXIT_FRAME, code]))
  const cancel = clock.after(options.execLingerMs, () => client.close(NORMAL_CLOSURE))
  client.once('close', cancel)
}

/** Resolves when the bytes have left, which is what holds a fast command back for a slow client. */
function send(client: WebSocket, bytes: Buffer): Promise<void> {
  if (client.readyState !== client.OPEN) return Promise.resolve()
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

function sessionInfo(session: Session) {
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
