import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Random } from '../specs/random.ts'

const Keys = z.object({ apiKey: z.string().min(16), emulatorToken: z.string().min(16) })
export type Keys = z.infer<typeof Keys>

/** Made up at the first start and kept, mode 0600, so that a link that was saved goes on working. */
export async function keptKeys(dataDir: string, random: Random): Promise<Keys> {
  const path = join(dataDir, 'keys.json')
  const kept = await readFile(path, 'utf8').then(
    (text) => Keys.safeParse(JSON.parse(text)).data,
    () => undefined,
  )
  if (kept) return kept
  await mkdir(dataDir, { recursive: true })
  const made: Keys = { apiKey: random.secret(), emulatorToken: random.secret() }
  await writeFile(`${path}.new`, `${JSON.stringify(made)}\n`, { mode: 0o600 })
  await rename(`${path}.new`, path)
  return made
}
