/** What the commands know of the API: its address, a key, and what its errors mean. */

export interface Client {
  url: string
  // biome-ignore lint/suspicious/noExplicitAny: answers are shown or picked from, and a missing field prints as such
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<any>
}

/** Says in one line what went wrong and what to do; anything else that is thrown is a bug. */
export class CliError extends Error {
  override readonly name = 'CliError'
  /** 1: it was tried and failed. 2: it was called wrongly. */
  readonly exitCode: 1 | 2
  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message)
    this.exitCode = exitCode
  }
}

/** ms. Longer than the longest wait that the API grants. */
const LIMIT_MS = 620_000

export function createClient(fetch: typeof globalThis.fetch, url: string, key: string | undefined): Client {
  if (!URL.canParse(url)) throw new CliError(`POOL_URL is not an address: ${url}`, 2)
  return {
    url,
    async call(method, path, body, headers = {}) {
      const answer = await fetch(new URL(path, url), {
        method,
        headers: {
          ...(key && { authorization: `Bearer ${key}` }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        redirect: 'error', // the key is for this address and no other
        signal: AbortSignal.timeout(LIMIT_MS),
      }).catch((error: unknown) => {
        const timedOut = error instanceof Error && error.name === 'TimeoutError'
        throw new CliError(
          timedOut
            ? `${url} did not answer within ${LIMIT_MS / 1000} s`
            : `no pool answers at ${url}: is it running, is POOL_URL right?`,
        )
      })
      const text = await answer.text()
      const content = parse(text)
      if (answer.ok) return content ?? text
      if (answer.status === 401)
        throw new CliError(
          `${url} ${key ? 'does not take this key' : 'asks for a key'}: set POOL_API_KEY to the key of that pool`,
        )
      const said = (content as { error?: unknown } | undefined)?.error
      throw new CliError(
        typeof said === 'string' ? said : `${method} ${path}: ${url} answered ${answer.status}`,
      )
    },
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
