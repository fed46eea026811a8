/** A caller of a pool's API that asserts little and tells much: what every system test asks the pool by. */
import { vi } from 'vitest'
import type { Counts } from '../../specs/instance.ts'
import { until } from './until.ts'

export interface Answer {
  status: number
  headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: bodies are what the tests assert about
  body: any
  text: string
}

/** ms. Longer than any wait that the API offers by default. */
const ANSWER_LIMIT_MS = 120_000
/** ms. A build takes about eight seconds on two free cores, and they are seldom free. */
export const BUILD_LIMIT_MS = 90_000
// A deadline of ours says what did not come; the runner's would say nothing.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

export type PoolClient = ReturnType<typeof poolClient>

export function poolClient(url: string, key: string | null) {
  /** Any answer; an object as body is sent as JSON, a string as it is. */
  async function ask(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(key && { authorization: `Bearer ${key}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.includes('json')
    return {
      status: response.status,
      headers: response.headers,
      body: isJson ? JSON.parse(text) : null,
      text,
    }
  }

  /** The body of an answer that must be a yes. */
  async function get(method: string, path: string, body?: unknown, headers?: Record<string, string>) {
    const answer = await ask(method, path, body, headers)
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`)
    return answer.body
  }

  const counts = (): Promise<Counts> => get('GET', '/api/pool/counts')
  // biome-ignore lint/suspicious/noExplicitAny: as above
  const instances = async (): Promise<any[]> => (await get('GET', '/api/pool/status')).instances
  return {
    url,
    ask,
    get,
    counts,
    instances,
    claim: (body: object, headers?: Record<string, string>) =>
      ask('POST', '/api/pool/claim', { agentName: 'Ada', instructions: 'Be kind.', ...body }, headers),
    events: async (query = '') =>
      (await get('GET', `/api/pool/events?limit=1000${query}`)).items as {
        type: string
        reason: string
        message: string
        actor: string
      }[],
    /** Waits until the counts are these; words left out may be anything. */
    settle: (wanted: Partial<Counts>, deadlineMs = BUILD_LIMIT_MS) => {
      let seen: Counts | undefined
      const differs = () => Object.entries(wanted).some(([word, n]) => seen?.[word as keyof Counts] !== n)
      return until(
        async () => {
          seen = await counts()
          if (differs()) throw new Error(JSON.stringify(seen))
          return seen
        },
        { what: `settled at ${JSON.stringify(wanted)}`, deadlineMs, everyMs: 200 },
      )
    },
  }
}
