// `openclaw gateway run --port N`: reads its two files as OpenClaw does, boots for a while, then serves the channel.
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs, parseEnv } from 'node:util'
import { readConfig } from '../extensions/convos/config.js'
import { createConvos } from '../extensions/convos/index.js'

const fail = (message) => {
  console.error(`openclaw: ${message}`)
  process.exit(1)
}

const { positionals, values } = parseArgs({ allowPositionals: true, options: { port: { type: 'string' } } })
if (positionals.join(' ') !== 'gateway run') fail(`unknown command: ${positionals.join(' ')}`)

const home = process.env.HOME || homedir()
const envFile = join(home, '.openclaw/.env')
const fromFile = existsSync(envFile) ? parseEnv(readFileSync(envFile, 'utf8')) : {}
const env = { ...fromFile, ...process.env } // the file never overrides the environment

let config
try {
  config = readConfig(home)
} catch {
  fail('openclaw.json is missing or not JSON')
}
if (config.gateway?.mode !== 'local') fail('gateway.mode must be "local"')
if (config.gateway.bind === 'lan' && !config.gateway.auth?.token) fail('refusing to bind to lan without auth')

const settings = JSON.parse(readFileSync(new URL('../standin.json', import.meta.url), 'utf8'))
console.log(`openclaw gateway starting, model key ${env.ANTHROPIC_API_KEY ? 'present' : 'missing'}`)
await sleep(settings.neverReady ? 2_147_483_647 : settings.bootMs) // never ready: alive, and nothing listens

const convos = createConvos({ home, settings })
const server = createServer((request, response) => {
  convos(request, response).catch((error) => {
    console.error(`openclaw: ${error.message}`)
    response.destroy()
  })
})
// Many Sprites share a laptop: there each has a port of its own, on loopback only.
const own = process.env.SPRITE_PORT_8080
const address = own
  ? { host: '127.0.0.1', port: Number(own) }
  : { host: '0.0.0.0', port: Number(values.port ?? config.gateway.port) }
server.on('error', (error) => fail(`cannot listen on ${address.host}:${address.port}: ${error.code}`))
server.listen(address, () => console.log(`openclaw gateway listening on ${address.host}:${address.port}`))
