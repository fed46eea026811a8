import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex, Readable } from 'node:stream'
import { answerFailure, createDoor, type DoorConfig, forwardedHeaders } from './door.ts'
import { sendJson } from './http/answer.ts'
import { appPortOf, listenOnPair } from './ports.ts'

const LOOPBACK = '127.0.0.1'

export interface PublicUrl {
  url: string
  port: number
  /** What the app inside must bind on 127.0.0.1. */
  appPort: number
  close(): Promise<void>
}

/** A door with a port of its own, and a real app on the port beside it. */
export async function openPublicUrl(
  config: Omit<DoorConfig, 'url'> & { preferredPort: number | null },
): Promise<PublicUrl> {
  const { auth } = config
  const server = createServer()
  const raw = new Set<Duplex>() // upgraded connections: the server no longer knows them
  const port = await listenOnPair(server, config.preferredPort)
  const appPort = appPortOf(port)
  const url = `http://${LOOPBACK}:${port}`
  const door = createDoor({ ...config, url: () => url })

  function forward(request: IncomingMessage, response: ServerResponse, input: Readable): void {
    const { method, url: path } = request
    // No agent: a kept-alive connection to an app that was restarted would fail the next request.
    const onward = httpRequest({ host: LOOPBACK, port: appPort, method, path, agent: false })
    const headers = forwardedHeaders(request, auth())
    const isReplayed = input !== request // its length may be another one
    for (let at = 0; at + 1 < headers.length; at += 2) {
      const [name = '', value = ''] = [headers[at], headers[at + 1]]
      if (isReplayed && /^(content-length|transfer-encoding|expect)$/i.test(name)) continue
      onward.appendHeader(name, value)
    }
    onward.once('response', (answer) => {
      answer.once('error', () => response.destroy())
      try {
        response.writeHead(answer.statusCode ?? 502, answer.statusMessage, answer.rawHeaders)
        answer.pipe(response)
      } catch {
        response.destroy() // the app's headers may be read but not written
      }
    })
    onward.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') return door.hang(request.socket)
      if (response.headersSent) return void response.destroy()
      response
        .writeHead(502, { 'content-type': 'text/html', connection: 'close' })
        .end('<h1>502 Bad Gateway</h1>\n')
    })
    response.once('close', () => onward.destroy())
    input.pipe(onward)
  }

  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    door
      .pass(request, response, request.url ?? '/', (input) => {
        try {
          forward(request, response, input)
        } catch {
          sendJson(response, 400, { error: 'malformed request' }) // a path that may come in but not go out again
        }
      })
      .catch((error: unknown) => answerFailure(request, response, error))
  })

  async function passUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    if (!door.letsIn(request, socket)) return
    const release = await door.hold(socket)
    socket.once('close', release)
    if (socket.destroyed) return release()
    const app: Socket = connect(appPort, LOOPBACK)
    app.once('connect', () => {
      app.write(
        `${request.method} ${request.url} HTTP/1.1\r\n${headLines(forwardedHeaders(request, auth()))}\r\n`,
      )
      app.write(head)
      app.pipe(socket).pipe(app)
      app.once('close', () => socket.destroy())
    })
    app.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') door.hang(socket)
      else socket.destroy()
    })
    socket.once('close', () => app.destroy())
  }

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    raw.add(socket)
    socket.once('close', () => raw.delete(socket)).on('error', () => socket.destroy())
    passUpgrade(request, socket, head).catch(() => socket.destroy())
  })

  return {
    url,
    port,
    appPort,
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      for (const socket of raw) socket.destroy()
      await closed
    },
  }
}

function headLines(headers: string[]): string {
  let lines = ''
  for (let at = 0; at + 1 < headers.length; at += 2) lines += `${headers[at]}: ${headers[at + 1]}\r\n`
  return lines
}
