#!/usr/bin/env node
/** `clawpool`: a client of the API like any other. Nothing here reaches a database or a Sprite. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { parseEnv } from 'node:util'
import { run } from './run.ts'

/**
 * `.env` of the folder it is called in, where there is one; the real environment wins. Where neither says which pool nor
 * which key, it is the pool that `npm start` runs in this folder, with the key that it made up and keeps there.
 */
function environment(): Record<string, string | undefined> {
  const env = { ...fileOf('.env', parseEnv), ...process.env }
  if (env.POOL_URL || env.POOL_API_KEY) return env
  const kept = fileOf(join(env.POOL_DATA_DIR || '.data', 'keys.json'), (text) => JSON.parse(text))
  return typeof kept.apiKey === 'string' ? { ...env, POOL_API_KEY: kept.apiKey } : env
}

function fileOf(
  path: string,
  parse: (text: string) => Record<string, unknown>,
): Record<string, string | undefined> {
  try {
    return parse(readFileSync(path, 'utf8')) as Record<string, string | undefined>
  } catch {
    return {} // not there, or not ours to read
  }
}

async function prompt(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return await terminal.question(question)
  } finally {
    terminal.close()
  }
}

process.exitCode = await run(process.argv.slice(2), {
  env: environment(),
  fetch: globalThis.fetch,
  out: (line) => console.log(line),
  err: (line) => console.error(line),
  prompt: process.stdin.isTTY ? prompt : null,
})
