/** A reader of server-sent events, as a browser is one. */
export interface Message {
  id: string
  // biome-ignore lint/suspicious/noExplicitAny: bodies are what the tests assert about
  data: any
}

export type EventStream = Awaited<ReturnType<typeof openEventStream>>

/** ms. Events come when they have happened, and the stream looks by itself each two seconds. */
const PATIENCE_MS = 15_000

export async function openEventStream(url: string, key: string, lastEventId?: string) {
  const leave = new AbortController()
  const response = await fetch(url, {
    headers: {
      authorization: `Bearer ${key}`,
      ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
    },
    signal: leave.signal,
  })
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  let ended = false

  async function more(): Promise<void> {
    const timer = setTimeout(() => leave.abort(new Error(`no message within ${PATIENCE_MS} ms`)), PATIENCE_MS)
    const chunk = await reader?.read()
    clearTimeout(timer)
    ended = chunk?.done !== false
    text += chunk?.value ?? ''
  }

  return {
    status: response.status,
    headers: response.headers,
    /** The next one that is an event. @throws Error when none comes in time, or the stream has ended. */
    async next(): Promise<Message> {
      for (;;) {
        const end = text.indexOf('\n\n')
        if (end < 0) {
          if (ended) throw new Error('the stream has ended')
          await more()
          continue
        }
        const lines = text.slice(0, end).split('\n')
        text = text.slice(end + 2)
        const field = (name: string) =>
          lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2)
        const data = field('data')
        if (data !== undefined) return { id: field('id') ?? '', data: JSON.parse(data) }
      }
    },
    /** Resolves when the server ends it. */
    async over(): Promise<void> {
      while (!ended) await more()
    },
    leave: () => leave.abort(),
  }
}
