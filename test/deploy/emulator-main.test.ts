import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { createSpritesClient } from '../../controller/sprites/client.ts'
import { systemClock } from '../../specs/clock.ts'
import { ROOT } from '../support/sources.ts'
import { temporaryFolder, until } from './emulator-world.ts'

/** `npm run emulator`, without npm. */
async function run(...args: string[]) {
  const cwd = await temporaryFolder()
  const child = spawn(process.execPath, [join(ROOT, 'deploy/local/emulator/main.ts'), ...args], { cwd })
  onTestFinished(() => void child.kill('SIGKILL'))
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  const ended = once(child, 'close') as Promise<[number | null]>
  return { child, ended, output: () => output }
}

it.each(['memory', 'process'])(
  'starts the %s engine alone, prints where it is, and ends with Ctrl-C',
  async (engine) => {
    const { child, ended, output } = await run('--engine', engine)
    const said = (name: string) =>
      until(() => new RegExp(`${name}=(\\S+)`).exec(output())?.[1] ?? Promise.reject())
    const [baseUrl, token] = [await said('SPRITES_API_URL'), await said('SPRITE_TOKEN')]
    expect(token.length).toBeGreaterThan(30)
    const sprites = createSpritesClient({ baseUrl, token, clock: systemClock })
    await sprites.create({ name: 's', labels: [] })
    expect(await sprites.exec('s', ['echo', 'hi'])).toMatchObject({ stdout: 'hi\n' })
    const stranger = createSpritesClient({ baseUrl, token: 'another', clock: systemClock })
    await expect(stranger.get('s')).rejects.toMatchObject({ name: 'SpritesUnauthorized' })
    await said('OPENCLAW_REPO_URL')
    child.kill('SIGINT')
    expect(await ended).toEqual([0, null])
  },
)

it('says what it does not understand, and how to ask', async () => {
  const { ended, output } = await run('--engine', 'steam')
  expect((await ended)[0]).toBe(1)
  expect(output()).toContain('engine')
  expect(output()).toContain('npm run emulator -- [options]')
})
