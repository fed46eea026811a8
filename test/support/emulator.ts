/** The outside world apart from any pool: Sprites on this machine and the repository that they build, for several processes. */
import { join } from 'node:path'
import { startEmulator } from '../../deploy/local/emulator/start.ts'
import { ensureStandinRepo } from '../../deploy/local/standin-repo.ts'
import { emulatedSprites } from './emulated-sprites.ts'
import { removeDataDir, temporaryFolder } from './pool-process.ts'

const TOKEN = 'org/1/2/a-token-of-this-test'

export async function startOutside() {
  const dataDir = temporaryFolder()
  const repo = await ensureStandinRepo({ dir: join(dataDir, 'openclaw-standin.git') })
  const emulator = await startEmulator({ dataDir: join(dataDir, 'sprites'), token: TOKEN })
  return {
    dataDir,
    sprites: emulatedSprites(emulator.url, TOKEN),
    /** Variables of a pool that builds there. */
    env: { SPRITE_TOKEN: TOKEN, SPRITES_API_URL: emulator.url, OPENCLAW_REPO_URL: repo.url },
    async remove() {
      await emulator.close()
      await removeDataDir(dataDir)
    },
  }
}
