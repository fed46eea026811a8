import type { AddressInfo } from 'node:net'
import { type ApiDeps, buildApp } from './app.ts'

export interface RunningApi {
  /** Where it answers; an address of all interfaces is shown as loopback. */
  url: string
  /** Takes no new connections, ends what waits after `closeWithinMs`, and resolves when the last answer is sent. */
  close(): Promise<void>
}

/** @param options.port 0: any free one. */
export async function startApi(
  deps: ApiDeps,
  { serves, ...options }: { host: string; port: number; serves: 'all' | 'health' },
): Promise<RunningApi> {
  const app = await buildApp(deps, { serves })
  try {
    await app.listen(options)
  } catch (error) {
    await app.close()
    throw error
  }
  const { port } = app.server.address() as AddressInfo // listening on TCP: never a path, never null
  const everywhere = options.host === '0.0.0.0' || options.host === '::'
  const host = everywhere ? '127.0.0.1' : options.host
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    close: () => app.close(),
  }
}
