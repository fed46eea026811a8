import { APIError, ExecError, SpritesClient } from '@fly/sprites'
import { expect, it } from 'vitest'
import { startWorld, TOKEN } from './emulator-world.ts'

async function withClient() {
  const world = await startWorld()
  return { ...world, client: new SpritesClient(TOKEN, { baseURL: world.base }) }
}

const SERVER = `require('node:http').createServer((q, r) => r.end('served')).listen(process.env.SPRITE_PORT_8080, '127.0.0.1')`

it('creates, reads, lists beyond one page, updates and deletes', async () => {
  const { client } = await withClient()
  const made = await client.createSprite('sdk-00', { labels: ['a'], urlSettings: { auth: 'public' } })
  expect(made).toMatchObject({
    name: 'sdk-00',
    labels: ['a'],
    status: 'running',
    urlSettings: { auth: 'public' },
  })
  for (let n = 1; n <= 51; n++) await client.createSprite(`sdk-${String(n).padStart(2, '0')}`)
  expect(await client.listAllSprites('sdk-')).toHaveLength(52)
  expect(await client.listAllSprites('other-')).toHaveLength(0)

  await client.updateSprite('sdk-00', { labels: ['b'] })
  expect(await client.getSprite('sdk-00')).toMatchObject({ id: made.id, labels: ['b'], url: made.url })
  await client.deleteSprite('sdk-00')
  const error = await client.getSprite('sdk-00').catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(APIError)
  expect(error).toMatchObject({ statusCode: 404, message: 'sprite not found' })
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
  expect(await sprite.execFileHTTP('cat', [], { input: 'fed' })).toEqual({
    stdout: 'fed',
    stderr: '',
    exitCode: 0,
  })

  const command = sprite.spawn('cat')
  const exited = new Promise((resolve) => command.on('exit', resolve))
  let echoed = ''
  command.stdout.on('data', (bytes: Buffer) => {
    echoed += bytes
  })
  command.on('spawn', () => command.stdin.end('typed'))
  expect([await exited, echoed]).toEqual([0, 'typed'])
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
  await (await sprite.createCheckpoint('golden')).processAll((message) => void texts.push(message.data ?? ''))
  expect(texts.join('\n')).toMatch(/^\s*ID: v1$/m)
  expect(await sprite.listCheckpoints()).toMatchObject([{ id: 'Current' }, { id: 'v1', comment: 'golden' }])

  await files.writeFile('/home/sprite/f', 'used')
  await (await sprite.restoreCheckpoint('v1')).processAll(() => {})
  expect(await files.readFile('/home/sprite/f', 'utf8')).toBe('golden')

  const types: string[] = []
  await (await sprite.restoreCheckpoint('v9')).processAll((message) => void types.push(message.type))
  expect(types).toEqual(['info', 'error'])
})

it('runs a service behind the URL', async () => {
  const { client } = await withClient()
  const sprite = await client.createSprite('sdk', { urlSettings: { auth: 'public' } })
  await sprite.filesystem('/').writeFile('/home/sprite/server.cjs', SERVER)
  const wish = { cmd: 'node', args: ['/home/sprite/server.cjs'], needs: [], httpPort: 8080 }
  const types: string[] = []
  await (await sprite.createService('web', wish, '500ms')).processAll((event) => void types.push(event.type))
  expect(types).toEqual(['started', 'complete'])
  expect(await sprite.listServices()).toMatchObject([
    { name: 'web', httpPort: 8080, state: { status: 'running' } },
  ])
  const { url } = await client.getSprite('sdk')
  expect(await (await fetch(url ?? '', { signal: AbortSignal.timeout(20_000) })).text()).toBe('served')

  await expect(sprite.createService('other', wish)).rejects.toThrow('Service conflict')
  await (await sprite.stopService('web')).processAll(() => {})
  expect((await sprite.getService('web')).state?.error).toBe('exited with code 143')
  await (await sprite.startService('web', '1ms')).processAll(() => {})
  await (await sprite.restartService('web', '1ms')).processAll(() => {})
  await sprite.deleteService('web')
  await expect(sprite.getService('web')).rejects.toThrow('Service not found')
})

it('is told of the creation limit by a typed error', async () => {
  const world = await startWorld({ createsPerMinute: 1 })
  const client = new SpritesClient(TOKEN, { baseURL: world.base })
  await client.createSprite('one')
  const error = await client.createSprite('two').catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(APIError)
  if (!(error instanceof APIError)) return
  expect(error.isCreationRateLimited()).toBe(true)
  expect(error.getRetryAfterSeconds()).toBeGreaterThan(50)
})
