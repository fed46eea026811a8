import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'

export interface Captured {
  status: number
  headers: OutgoingHttpHeaders
  body: Buffer
}

/**
 * Keeps what is written to `response` from the wire. At its end the response is as it was, with nothing sent, and
 * `then` sends something else, or breaks the connection.
 */
export function captured(response: ServerResponse, then: (answer: Captured) => void): void {
  const pieces: Buffer[] = []
  const answer: Captured = { status: 200, headers: {}, body: Buffer.alloc(0) }
  const { writeHead, write, end, flushHeaders } = response

  const keep = (args: unknown[]) => {
    const [chunk] = args
    if (typeof chunk === 'string' || chunk instanceof Uint8Array) pieces.push(Buffer.from(chunk as string))
    const done = args.find((arg) => typeof arg === 'function')
    if (done) queueMicrotask(() => done())
  }
  Object.assign(response, {
    flushHeaders() {},
    writeHead(status: number, ...rest: unknown[]) {
      answer.status = status
      const headers = rest.findLast((arg) => typeof arg === 'object' && arg !== null) ?? {}
      const pairs = Array.isArray(headers) ? pairsOf(headers) : Object.entries(headers)
      for (const [name, value] of pairs) answer.headers[name.toLowerCase()] = value
      return response
    },
    write(...args: unknown[]) {
      keep(args)
      return true
    },
    end(...args: unknown[]) {
      keep(args)
      Object.assign(response, { writeHead, write, end, flushHeaders })
      answer.body = Buffer.concat(pieces)
      then({ ...answer, headers: { ...response.getHeaders(), ...answer.headers } })
      return response
    },
  })
}

/** Of a flat list of names and values. */
function pairsOf(flat: string[]): [string, string][] {
  const pairs: [string, string][] = []
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at] ?? '', flat[at + 1] ?? ''])
  return pairs
}
