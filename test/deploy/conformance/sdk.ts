/** What both engines do alike in the eyes of the official SDK. */
import { APIError, ExecError, SpritesClient } from '@fly/sprites'
import { describe, expect, it } from 'vitest'
import { startWorld, TOKEN, until } from '../emulator-world.ts'
import type { EngineName } from './openclaw.ts'

const SLEEPER = '#!/bin/sh\necho up\nexec sleep 600\n'

export function sdkConformance(engine: EngineName): void {
  async function withClient(createsPerMinute: number | null = null) {
    const world = await startWorld({ engine, createsPerMinute })
    return { ...world, client: new SpritesClient(TOKEN, { baseURL: world.base }) }
  }

  describe(`the ${engine} engine, through the official SDK`, () => {
    it('creates, reads, lists beyond one page, updates and deletes', async () => {
      const { client } = await withClient()
      const made = await client.createSprite('sdk-00', { labels: ['a'], urlSettings: { auth: 'public' } })
      expect(made).toMatchObject({ name: 'sdk-00', labels: ['a'], urlSettings: { auth: 'public' } })
      for (let n = 1; n <= 51; n++) await client.createSprite(`sdk-${String(n).padStart(2, '0')}`)
      expect(await client.listAllSprites('sdk-')).toHaveLength(52)
      await client.updateSprite('sdk-00', { labels: ['b'] })
      expect(await client.getSprite('sdk-00')).toMatchObject({ id: made.id, labels: ['b'], url: made.url })
      expect(await client.checkSprite('sdk-00')).toMatchObject({ status: 'healthy' })
      await client.restartSprite('sdk-00')
      await client.upgradeSprite('sdk-00')
      await client.deleteSprite('sdk-00')
      const error = await client.getSprite('sdk-00').catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(APIError)
      expect(error).toMatchObject({ statusCode: 404, message: 'sprite not found' })
    })

    it('is told of both limits by typed errors', async () => {
      const { client } = await withClient(1)
      await client.createSprite('one')
      const rate = await client.createSprite('two').catch((reason: unknown) => reason)
      expect(rate).toBeInstanceOf(APIError)
      expect((rate as APIError).isCreationRateLimited()).toBe(true)
      expect((rate as APIError).getRetryAfterSeconds()).toBeGreaterThan(50)

      const full = await startWorld({ engine, runningLimit: 1 })
      const other = new SpritesClient(TOKEN, { baseURL: full.base })
      await other.createSprite('one')
      const limit = await other.createSprite('two').catch((reason: unknown) => reason)
      expect((limit as APIError).isConcurrentLimitExceeded()).toBe(true)
      expect(limit).toMatchObject({ limit: 1, currentCount: 1 })
    })

    it('runs commands with exit codes and both streams, over the socket and over HTTP', async () => {
      const { client } = await withClient()
      const sprite = await client.createSprite('sdk')
      const script = ['-c', 'echo out; echo err >&2; exit $0']
      expect(await sprite.execFile('bash', [...script, '0'])).toEqual({
        stdout: 'out\n',
        stderr: 'err\n',
        exitCode: 0,
      })
      const failed = await sprite.execFile('bash', [...script, '7']).catch((reason: unknown) => reason)
      expect(failed).toBeInstanceOf(ExecError)
      expect(failed).toMatchObject({ exitCode: 7, stdout: 'out\n', stderr: 'err\n' })
      expect(await sprite.execFileHTTP('cat', [], { input: 'fed' })).toMatchObject({
        stdout: 'fed',
        exitCode: 0,
      })

      const command = sprite.spawn('sleep', ['600'])
      command.on('error', () => {}) // the emulator's end may cut its goodbye
      const exited = new Promise((resolve) => command.on('exit', resolve))
      await until(async () => expect(await sprite.listSessions()).toHaveLength(1))
      const [session] = await sprite.listSessions()
      for await (const event of await sprite.killSession(session?.id ?? '')) void event
      expect(await exited).toBe(143)
    })

    it('works on files', async () => {
      const { client } = await withClient()
      const files = (await client.createSprite('sdk')).filesystem('/')
      await files.mkdir('/home/sprite/made/below', { recursive: true })
      await files.writeFile('/home/sprite/made/f', 'text', { mode: 0o600 })
      expect(await files.readFile('/home/sprite/made/f', 'utf8')).toBe('text')
      expect(await files.readdir('/home/sprite/made')).toEqual(['below', 'f'])
      expect((await files.stat('/home/sprite/made/f')).mode).toBe(0o600)
      await files.rename('/home/sprite/made/f', '/home/sprite/made/g')
      await files.copyFile('/home/sprite/made/g', '/home/sprite/made/h')
      await files.chmod('/home/sprite/made/h', 0o755)
      await files.appendFile('/home/sprite/made/h', ' more')
      expect(await files.readFile('/home/sprite/made/h', 'utf8')).toBe('text more')
      await files.rm('/home/sprite/made', { recursive: true })
      // As live: a missing path has no code, so the SDK says UNKNOWN.
      await expect(files.readFile('/home/sprite/made/h', 'utf8')).rejects.toMatchObject({ code: 'UNKNOWN' })
    })

    it('makes a checkpoint, restores it, and hears of a wrong one inside the stream', async () => {
      const { client } = await withClient()
      const sprite = await client.createSprite('sdk')
      const files = sprite.filesystem('/')
      await files.writeFile('/home/sprite/f', 'golden')
      const texts: string[] = []
      const made = await sprite.createCheckpoint('golden')
      await made.processAll((message) => void texts.push(message.data ?? ''))
      expect(texts.join('\n')).toMatch(/^\s*ID: v1$/m)
      expect(await sprite.listCheckpoints()).toMatchObject([
        { id: 'Current' },
        { id: 'v1', comment: 'golden' },
      ])
      await files.writeFile('/home/sprite/f', 'used')
      await (await sprite.restoreCheckpoint('v1')).processAll(() => {})
      expect(await files.readFile('/home/sprite/f', 'utf8')).toBe('golden')
      const types: string[] = []
      await (await sprite.restoreCheckpoint('v9')).processAll((message) => void types.push(message.type))
      expect(types).toEqual(['info', 'error'])
    })

    it('runs services', async () => {
      const { client } = await withClient()
      const sprite = await client.createSprite('sdk')
      await sprite.filesystem('/').writeFile('/home/sprite/up.sh', SLEEPER, { mode: 0o755 })
      const wish = { cmd: '/home/sprite/up.sh', args: [], needs: [], httpPort: 8080 }
      const types: string[] = []
      await (await sprite.createService('web', wish, '300ms')).processAll(
        (event) => void types.push(event.type),
      )
      expect(types).toEqual(['started', 'stdout', 'complete'])
      expect(await sprite.listServices()).toMatchObject([
        { name: 'web', httpPort: 8080, state: { status: 'running' } },
      ])
      await expect(sprite.createService('other', wish)).rejects.toThrow('Service conflict')
      await (await sprite.stopService('web')).processAll(() => {})
      expect((await sprite.getService('web')).state?.error).toBe('exited with code 143')
      await (await sprite.startService('web', '1ms')).processAll(() => {})
      await (await sprite.restartService('web', '1ms')).processAll(() => {})
      await sprite.deleteService('web')
      await expect(sprite.getService('web')).rejects.toThrow('Service not found')
    })
  })
}
