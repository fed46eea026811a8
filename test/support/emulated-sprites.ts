/** The emulator as somebody else on the same account sees it: what is there, whatever the pool believes. */

const LIMIT_MS = 20_000
const HOME = '/home/sprite'

export type EmulatedSprites = ReturnType<typeof emulatedSprites>

export function emulatedSprites(base: string, token: string) {
  const call = (method: string, path: string, body?: string) =>
    fetch(`${base}/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(LIMIT_MS),
      ...(body !== undefined && { body }),
    })
  // biome-ignore lint/suspicious/noExplicitAny: the wire's own shapes, which the tests assert about
  async function json(method: string, path: string, body?: object): Promise<any> {
    const response = await call(method, path, body && JSON.stringify(body))
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
    return response.status === 204 ? null : response.json()
  }
  const at = (path: string) =>
    new URLSearchParams({ path: path.startsWith('/') ? path : `${HOME}/${path}`, workingDir: '/' })

  return {
    base,
    token,
    async names(): Promise<string[]> {
      const names: string[] = []
      let next: string | null = ''
      while (next !== null) {
        const query = new URLSearchParams({ max_results: '100', ...(next && { continuation_token: next }) })
        const page = await json('GET', `/sprites?${query}`)
        names.push(...page.sprites.map(({ name }: { name: string }) => name))
        next = page.has_more ? page.next_continuation_token : null
      }
      return names.sort()
    },
    async get(name: string): Promise<{ id: string; url: string; labels: string[] } | null> {
      const response = await call('GET', `/sprites/${name}`)
      if (response.status === 404) return null
      if (!response.ok) throw new Error(`GET ${name}: ${response.status}`)
      return (await response.json()) as { id: string; url: string; labels: string[] }
    },
    create: (name: string, labels: string[] = []) => json('POST', '/sprites', { name, labels }),
    async remove(name: string) {
      const response = await call('DELETE', `/sprites/${name}`)
      if (!response.ok) throw new Error(`DELETE ${name}: ${response.status}`)
    },
    /** A file's bytes; null: there is none. A path that does not begin with `/` is below the home. */
    async read(name: string, path: string): Promise<Buffer | null> {
      const response = await call('GET', `/sprites/${name}/fs/read?${at(path)}`)
      if (response.status === 404) return null
      if (!response.ok) throw new Error(`read ${name} ${path}: ${response.status} ${await response.text()}`)
      return Buffer.from(await response.arrayBuffer())
    },
    async write(name: string, path: string, content: string) {
      const response = await call('PUT', `/sprites/${name}/fs/write?${at(path)}&mkdirParents=true`, content)
      if (!response.ok) throw new Error(`write ${name} ${path}: ${response.status}`)
    },
    /** Names of what a folder holds; null: there is no such folder. */
    async list(name: string, path: string): Promise<string[] | null> {
      const response = await call('GET', `/sprites/${name}/fs/list?${at(path)}`)
      if (response.status === 404) return null
      if (!response.ok) throw new Error(`list ${name} ${path}: ${response.status}`)
      const { entries } = (await response.json()) as { entries: { name: string }[] | null }
      return (entries ?? []).map((entry) => entry.name) // null: an empty folder
    },
    /** Runs a command inside, to its end. */
    async run(name: string, ...argv: string[]) {
      const response = await call(
        'POST',
        `/sprites/${name}/exec?${new URLSearchParams(argv.map((word) => ['cmd', word]))}`,
      )
      if (!response.ok)
        throw new Error(`run ${argv[0]} in ${name}: ${response.status} ${await response.text()}`)
      await response.arrayBuffer()
    },
    checkpoints: async (name: string): Promise<{ id: string; comment: string }[]> =>
      json('GET', `/sprites/${name}/checkpoints`),
    services: async (name: string): Promise<{ name: string }[]> => json('GET', `/sprites/${name}/services`),
  }
}
