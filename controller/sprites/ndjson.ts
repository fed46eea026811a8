import type { Clock } from '../../specs/clock.ts'
import { DeadlineExceeded } from '../../specs/clock.ts'

/** One line. `text` is what the provider says to people (`data`, `error` or `message`). */
export interface Line {
  type: string
  text: string
}

/**
 * Why reading ended: `stopped` by us, `closed` by the other side at an end, `cut` (reset), `idle` (nothing for
 * that long), `total` (the call's own deadline), `full` (more bytes than any honest stream has).
 */
export type StreamStop = 'stopped' | 'closed' | 'cut' | 'idle' | 'total' | 'full'

const LONGEST_LINE = 64 * 1024
const MOST_BYTES = 8 * 1024 * 1024

/**
 * Reads line by line until one of the above. Streams of this provider fail inside a 200, end without a last
 * word, and stay open over a restart, so no end is an error here: the caller judges by the lines it saw.
 * A line that is not a JSON object is kept as `info`: prose changes between versions. `onLine` returning
 * 'stop' ends it. Throws the signal's reason when that aborts, unless it is a deadline: that is `total`.
 */
export async function readNdjson(
  body: ReadableStream<Uint8Array> | null,
  limits: { clock: Clock; idleMs: number; signal: AbortSignal },
  onLine: (line: Line) => 'stop' | undefined,
): Promise<StreamStop> {
  if (!body) return 'closed'
  const reader = body.getReader()
  const lines = lineSplitter()
  let ended: StreamStop = 'closed'
  let size = 0
  try {
    for (;;) {
      const cancelIdle = limits.clock.after(limits.idleMs, () => {
        ended = 'idle'
        reader.cancel().catch(() => {}) // ends the pending read
      })
      const read = await reader
        .read()
        .catch(() => 'failed' as const)
        .finally(cancelIdle)
      const failed = read === 'failed'
      const { aborted, reason } = limits.signal
      if (failed && aborted && !(reason instanceof DeadlineExceeded)) throw reason
      for (const line of failed || read.done ? lines.rest() : lines.push(read.value))
        if (onLine(line) === 'stop') return 'stopped'
      if (failed) return aborted ? 'total' : 'cut'
      if (read.done) return ended
      size += read.value.byteLength
      if (size > MOST_BYTES) return 'full'
    }
  } finally {
    reader.cancel().catch(() => {}) // a body that failed cannot be cancelled, and need not be
  }
}

function lineSplitter() {
  const decoder = new TextDecoder()
  let pending = ''
  let skipping = false // inside a line that was too long: its head was reported, its tail is dropped

  function take(end: boolean): Line[] {
    const parts = pending.split('\n')
    pending = end ? '' : (parts.pop() ?? '')
    const found: Line[] = []
    for (const part of parts) {
      if (!skipping && part.trim()) found.push(parse(part.slice(0, LONGEST_LINE)))
      skipping = false
    }
    if (pending.length > LONGEST_LINE) {
      if (!skipping) found.push({ type: 'info', text: pending.slice(0, LONGEST_LINE) })
      skipping = true
      pending = ''
    }
    return found
  }

  return {
    push(chunk: Uint8Array): Line[] {
      pending += decoder.decode(chunk, { stream: true })
      return take(false)
    },
    /** What came after the last newline. */
    rest(): Line[] {
      pending += decoder.decode()
      return take(true)
    },
  }
}

function parse(raw: string): Line {
  let json: unknown
  try {
    json = JSON.parse(raw)
  } catch {
    return { type: 'info', text: raw.trim() }
  }
  if (typeof json !== 'object' || json === null) return { type: 'info', text: raw.trim() }
  const { type, data, error, message } = json as Record<string, unknown>
  const text = [error, data, message].find((part) => typeof part === 'string' && part !== '')
  return {
    type: typeof type === 'string' ? type : error ? 'error' : 'info',
    text: typeof text === 'string' ? text : '',
  }
}
