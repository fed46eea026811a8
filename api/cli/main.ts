#!/usr/bin/env node
/** `clawpool`: a client of the API like any other. Nothing here reaches a database or a Sprite. */

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline/promises'
import { parseEnv } from 'node:util'
import { run } from './run.ts'

/** `.env` of the folder it is called in, where there is one; the real environment wins. */
function environment(): Record<string, string | undefined> {
  try {
    return { ...parseEnv(readFileSync('.env', 'utf8')), ...process.env }
  } catch {
    return process.env
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
