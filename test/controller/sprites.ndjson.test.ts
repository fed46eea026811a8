import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createSpritesClient } from '../../controller/sprites/client.ts'
import { type Line, readNdjson } from '../../controller/sprites/ndjson.ts'
import { systemClock } from '../../specs/clock.ts'
import { eventually } from './sprites.server.ts'

/** Long enough for a busy machine, and far below each test's own limit. */
const PLENTY_MS = 10_000

async function read(chunks: (string | Uint8Array)[], stopAt?: string) {
  const body = ReadableStream.from(
    chunks.map((part) => (typeof part === 'string' ? new TextEncoder().encode(part) : part)),
  )
  const lines: Line[] = []
  const limits = { clock: systemClock, idleMs: PLENTY_MS, signal: new AbortController().signal }
  const stop = await readNdjson(body as ReadableStream<Uint8Array>, limits, (line) => {
    lines.push(line)
    return line.type === stopAt ? 'stop' : undefined
  })
  return { stop, lines }
}

describe('lines', () => {
  it('come whole, however they were cut, also the last one without a newline', async () => {
    const bytes = new TextEncoder().encode(
      '{"type":"info","data":"🦞"}\r\n\n{"type":"error","error":"no"}\n{"type":"complete"}',
    )
    const single = await read([...bytes].map((byte) => new Uint8Array([byte])))
    expect(single).toEqual(await read([bytes]))
    expect(single).toEqual({
      stop: 'closed',
      lines: [
        { type: 'info', text: '🦞' },
        { type: 'error', text: 'no' },
        { type: 'complete', text: '' },
      ],
    })
  })

  it.each([
    ['prose', 'Checkpoint created', { type: 'info', text: 'Checkpoint created' }],
    ['half an object', '{"type":"comp', { type: 'info', text: '{"type":"comp' }],
    ['a JSON word', '"complete"', { type: 'info', text: '"complete"' }],
    ['an error without a type', '{"error":"boom"}', { type: 'error', text: 'boom' }],
    ['an object without a type', '{"data":"hm"}', { type: 'info', text: 'hm' }],
    ['a type that is no word', '{"type":7,"message":"hm"}', { type: 'info', text: 'hm' }],
  ])('of %s are kept', async (_, raw, line) => {
    expect((await read([`${raw}\n`])).lines).toEqual([line])
  })

  it('that never end are cut, and the next one is whole again', async () => {
    const { lines } = await read(['x'.repeat(100_000), 'y'.repeat(100_000), '\n{"type":"complete"}\n'])
    expect(lines.map(({ type, text }) => [type, text.length])).toEqual([
      ['info', 65_536],
      ['complete', 0],
    ])
  })

  it('stop being read when we say so', async () => {
    expect(await read(['{"type":"complete"}\n{"type":"error"}\n'], 'complete')).toEqual({
      stop: 'stopped',
      lines: [{ type: 'complete', text: '' }],
    })
  })

  it('are not read beyond 8 MB', async () => {
    expect((await read(Array.from({ length: 20 }, () => `${'x'.repeat(1_000_000)}\n`))).stop).toBe('full')
  })
})

describe('a restore stream on a real socket', () => {
  let server: Server
  let respond: (response: ServerResponse) => void
  let open = 0
  let baseUrl = ''

  beforeEach(async () => {
    open = 0
    server = createServer((_, response) => {
      open++
      response.on('close', () => open--) // its own connection: undici may hold a spare one for seconds
      response.writeHead(200, { 'content-type': 'application/x-ndjson' })
      respond(response)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterEach(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })

  const clientOf = (restoreIdleMs: number, restoreMs: number) =>
    createSpritesClient({ baseUrl, token: 't', clock: systemClock, timeouts: { restoreIdleMs, restoreMs } })

  it('that falls silent ends without a verdict, and its connection is closed', async () => {
    respond = (response) => void response.write('{"type":"info","data":"Restoring"}\n')
    const end = await clientOf(50, PLENTY_MS).restoreCheckpoint('a', 'v1')
    expect(end).toEqual({ outcome: 'ended', message: 'the stream fell silent' })
    await eventually(() => open === 0, 'the connection is closed')
  })

  it('that stays open after its verdict is not waited for', async () => {
    respond = (response) => void response.write('{"type":"complete","data":"Restored"}\n')
    const end = await clientOf(PLENTY_MS, PLENTY_MS).restoreCheckpoint('a', 'v1')
    expect(end).toEqual({ outcome: 'complete', message: 'Restored' })
    await eventually(() => open === 0, 'the connection is closed')
  })

  it('that chatters for ever ends at its deadline', async () => {
    let timer: NodeJS.Timeout | undefined
    respond = (response) => {
      timer = setInterval(() => response.write('{"type":"info","data":"still"}\n'), 5)
    }
    const end = await clientOf(PLENTY_MS, 150).restoreCheckpoint('a', 'v1')
    clearInterval(timer)
    expect(end).toEqual({ outcome: 'ended', message: 'not over within the time allowed' })
    await eventually(() => open === 0, 'the connection is closed')
  })

  it('that is reset ends without a verdict', async () => {
    respond = (response) =>
      void response.write('{"type":"info"}\n', () => setImmediate(() => response.destroy()))
    const end = await clientOf(PLENTY_MS, PLENTY_MS).restoreCheckpoint('a', 'v1')
    expect(end).toEqual({ outcome: 'ended', message: 'the connection was cut' })
  })

  it("that its caller gives up rejects with the caller's reason", async () => {
    const controller = new AbortController()
    const reason = new Error('shutting down')
    respond = (response) => void response.write('{"type":"info"}\n', () => controller.abort(reason))
    const pending = clientOf(PLENTY_MS, PLENTY_MS).restoreCheckpoint('a', 'v1', controller.signal)
    await expect(pending).rejects.toBe(reason)
    await eventually(() => open === 0, 'the connection is closed')
  })
})
