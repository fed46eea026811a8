import { sleep } from '../../../../specs/clock.ts'
import { createGateway } from './gateway.ts'
import { readConfig } from './gateway-config.ts'
import type { Machine, Program } from './machine.ts'
import { builtCommit } from './setup.ts'

/** A process that has nothing to do; ends by a signal only. */
const forever = (signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))

/** `gateway.sh`: boots for as long as the built version does, then holds port 8080 until it ends. */
export const runGateway =
  (machine: Machine): Program =>
  async ({ write }, { signal }) => {
    const commit = builtCommit(machine)
    if (commit === null) {
      await write(2, '/usr/local/bin/openclaw: No such file or directory\n')
      return 127
    }
    const fail = async (message: string) => {
      await write(2, `openclaw: ${message}\n`)
      return 1
    }
    const config = readConfig(machine.disk)
    if (config === null) return fail('openclaw.json is missing or not JSON')
    if (config.gateway?.mode !== 'local') return fail('gateway.mode must be "local"')
    if (config.gateway.bind === 'lan' && !config.gateway.auth?.token)
      return fail('refusing to bind to lan without auth')

    const behaviour = machine.repository.behaviourOf(commit)
    await write(1, 'openclaw gateway starting\n')
    if (behaviour.neverReady) {
      await forever(signal)
      return 143
    }
    if (behaviour.bootMs > 0) await sleep(machine.clock, behaviour.bootMs, signal)
    if (machine.gateway !== null) return fail('cannot listen on 0.0.0.0:8080: EADDRINUSE')

    const crashed = Promise.withResolvers<void>()
    const gateway = createGateway({
      disk: machine.disk,
      random: machine.random,
      behaviour,
      crash: () => crashed.resolve(),
    })
    machine.gateway = gateway
    signal.addEventListener('abort', () => {
      if (machine.gateway === gateway) machine.gateway = null
    })
    await write(1, 'openclaw gateway listening on 0.0.0.0:8080\n')
    await Promise.race([crashed.promise, forever(signal)])
    return fail('config changed, restarting: write EPIPE')
  }
