import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'

const LOOPBACK = '127.0.0.1'
/** Below the ports that Linux (32768 up) and macOS (49152 up) hand out by themselves: nothing takes them by chance. */
const FIRST_PORT = 20_000
const LAST_PORT = 32_000
const TRIES = 200

/** Listens on `preferred` when it is free, else on any port of the range. Resolves to the port. */
export async function listenOnLoopback(server: Server, preferred: number | null): Promise<number> {
  for (const port of candidates(preferred)) {
    if (await tryListen(server, port)) return port
  }
  throw new Error(`no free loopback port between ${FIRST_PORT} and ${LAST_PORT}`)
}

/**
 * Listens on an even port whose odd neighbour is free too, and resolves to the even one. The neighbour is for the
 * app behind it: as every emulator takes pairs, holding the even port keeps other emulators off the odd one while
 * the app is not running.
 */
export async function listenOnPair(server: Server, preferred: number | null): Promise<number> {
  for (const port of candidates(preferred)) {
    const even = port - (port % 2)
    if (!(await tryListen(server, even))) continue
    if (await isFree(even + 1)) return even
    server.close()
    await once(server, 'close')
  }
  throw new Error(`no free pair of loopback ports between ${FIRST_PORT} and ${LAST_PORT}`)
}

export const appPortOf = (urlPort: number): number => urlPort + 1

function* candidates(preferred: number | null): Generator<number> {
  if (preferred !== null) yield preferred
  for (let n = 0; n < TRIES; n++) yield randomInt(FIRST_PORT, LAST_PORT)
}

/** False when the port is taken, or not ours to take. */
function tryListen(server: Server, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => {
      server.off('listening', onListening)
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false)
      else reject(error)
    }
    const onListening = () => {
      server.off('error', onError)
      resolve(true)
    }
    server.once('error', onError).once('listening', onListening).listen(port, LOOPBACK)
  })
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer()
  if (!(await tryListen(probe, port))) return false
  probe.close()
  await once(probe, 'close')
  return true
}
