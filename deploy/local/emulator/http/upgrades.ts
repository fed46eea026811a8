import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { sleep } from '../../../../specs/clock.ts'
import { Refusal } from '../engine.ts'
import { sendUpgradeRefusal } from './answer.ts'
import { serveExecSocket } from './exec-socket.ts'
import { matchPath } from './router.ts'
import type { SurfaceConfig } from './server.ts'
import { openSession } from './session-routes.ts'
import type { Sessions } from './sessions.ts'

const FRAME_LIMIT_BYTES = 16 * 1_048_576

/** The sockets of the API: a new command, or one that runs already. Throws `Refusal` for what is to be told by HTTP. */
export function createUpgrades(config: SurfaceConfig, sessions: Sessions) {
  const { engine, interference, options } = config
  const { faults, aftermath, clock, latencyMs } = interference
  const sockets = new WebSocketServer({ noServer: true, maxPayload: FRAME_LIMIT_BYTES })
  const raw = new Set<Duplex>() // not answered yet: neither server knows them

  async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, url: URL): Promise<void> {
    const query = url.searchParams
    const found =
      matchPath('/v1/sprites/:name/exec', url.pathname) ??
      matchPath('/v1/sprites/:name/exec/:id', url.pathname)
    if (!found) throw new Refusal(404, { error: 'not found' })
    const name = found.name ?? ''
    const id = found.id ?? query.get('id') // older runtimes name it in the query
    const operation = id === null ? 'exec' : 'session.attach'

    const holdMs = (latencyMs[operation] ?? 0) + (faults.take(['hold'], operation, name)?.ms ?? 0)
    raw.add(socket)
    socket.once('close', () => raw.delete(socket))
    if (holdMs > 0) await sleep(clock, holdMs)
    const instead = faults.take(['hang', 'cut', 'refuse'], operation, name)
    if (aftermath.hangs(operation, name) || instead?.kind === 'hang') {
      socket.once('end', () => socket.destroy()).resume() // else nobody sees that its client gave up
      return
    }
    if (instead?.kind === 'cut') return void socket.destroy()
    if (instead?.kind === 'refuse') return sendUpgradeRefusal(socket, instead.status, instead.body)

    const release = await engine.power(name).hold(() => socket.destroy())
    socket.once('close', release)
    if (socket.destroyed) release()
    const session =
      id === null ? await openSession({ engine, sessions, name, query }) : sessions.get(name, id)
    serveExecSocket({ request, socket, head, sockets, session, sprite: name, faults, clock, options })
  }

  return {
    upgrade,
    close() {
      for (const socket of sockets.clients) socket.terminate()
      for (const socket of raw) socket.destroy()
    },
  }
}
