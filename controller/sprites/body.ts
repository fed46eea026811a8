/** The other side sent more than this call may hold. */
export class BodyTooLarge extends Error {
  override readonly name = 'BodyTooLarge'
  constructor(limit: number) {
    super(`more than ${limit} bytes`)
  }
}

/** The whole body, or `BodyTooLarge`. It is cancelled on every path, so that its connection is free or closed. */
export async function readBody(body: ReadableStream<Uint8Array> | null, limit: number): Promise<Uint8Array> {
  if (!body) return new Uint8Array()
  const reader = body.getReader()
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return Buffer.concat(chunks, size)
      size += value.byteLength
      if (size > limit) throw new BodyTooLarge(limit)
      chunks.push(value)
    }
  } finally {
    reader.cancel().catch(() => {}) // a body that failed cannot be cancelled, and need not be
  }
}

/** Only an object is an answer; null stands for everything else: pages, text, half an answer. */
export function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}

/** Edges answer with pages of their own, under any status. */
export function isPage(contentType: string | null, text = ''): boolean {
  return (
    (contentType ?? '').toLowerCase().includes('text/html') || /^\s*<(!doctype|html|head|body)\b/i.test(text)
  )
}
