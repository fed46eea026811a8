// openclaw.json, read afresh whenever it is needed: whoever writes it from outside needs no restart for a new key.
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const pathOf = (home) => join(home, '.openclaw/openclaw.json')

export const readConfig = (home) => JSON.parse(readFileSync(pathOf(home), 'utf8'))

/** The channel's part; empty while the file is away or half written by others. */
export function readChannel(home) {
  try {
    return readConfig(home).channels?.convos ?? {}
  } catch {
    return {}
  }
}

/** Adds to the channel's part and keeps every key that is not known here. */
export function updateChannel(home, change) {
  const config = readConfig(home)
  config.channels = { ...config.channels, convos: { ...config.channels?.convos, ...change } }
  const path = pathOf(home)
  writeFileSync(`${path}.gateway`, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 })
  renameSync(`${path}.gateway`, path)
  if (config.gateway?.reload?.mode !== 'off') {
    console.error('openclaw: config changed, restarting: write EPIPE')
    process.exit(1)
  }
}
