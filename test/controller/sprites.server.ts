import { createServer, type IncomingMessage, STATUS_CODES } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

/** What the server does with a request, written to the socket as it stands: also half an answer is one. */
export interface Reply {
  status: number
  headers?: Record<string, string>
  body?: string
  /** Announced beyond what is sent, before the socket is cut. */
  missingBytes?: number
}
export type Behaviour = Reply | 'hang' | 'cut'

/**
 * A server on a real socket that answers every request, also an upgrade, with one behaviour. `openSockets()`
 * counts what clients still hold.
 */
export async function startServer(behaviour: (request: IncomingMessage, body: Buffer) => Behaviour) {
  const sockets = new Set<Socket>()
  const server = createServer((request) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => write(request.socket, behaviour(request, Buffer.concat(chunks))))
  })
  server.on('upgrade', (request, socket) => {
    socket.resume()
    write(socket, behaviour(request, Buffer.alloc(0)))
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('end', () => socket.end())
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    server,
    url: `http://127.0.0.1:${port}`,
    openSockets: () => sockets.size,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function write(socket: Duplex, behaviour: Behaviour): void {
  if (behaviour === 'hang') return
  if (behaviour === 'cut') {
    socket.destroy()
    return
  }
  const { status, headers = {}, body = '', missingBytes = 0 } = behaviour
  const length = String(Buffer.byteLength(body) + missingBytes)
  const head = Object.entries({ ...headers, 'content-length': length, connection: 'close' })
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${head.map(([key, value]) => `${key}: ${value}\r\n`).join('')}\r\n${body}`,
  )
}

/** A loopback port on which nobody listens. */
export async function closedPort(): Promise<string> {
  const { url, close } = await startServer(() => 'hang')
  await close()
  return url
}

/** Resolves as soon as `holds`; fails after ten seconds. */
export async function eventually(holds: () => boolean, what: string): Promise<void> {
  const until = performance.now() + 10_000
  while (!holds()) {
    if (performance.now() > until) throw new Error(`not within ten seconds: ${what}`)
    await sleep(5)
  }
}
