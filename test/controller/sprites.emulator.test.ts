import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createGatewayClient } from '../../controller/gateway/client.ts'
import { createSpritesClient, type SpritesClient } from '../../controller/sprites/client.ts'
import { type Emulator, startEmulator } from '../../deploy/local/emulator/start.ts'
import { systemClock } from '../../specs/clock.ts'

let folder: string
let emulator: Emulator
let client: SpritesClient

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sprites-client-'))
  emulator = await startEmulator({ dataDir: join(folder, 'data'), token: 'org/1/2/of-this-test' })
  client = createSpritesClient({ baseUrl: emulator.url, token: emulator.token, clock: systemClock })
})
afterAll(async () => {
  await emulator.close()
  await rm(folder, { recursive: true, force: true, maxRetries: 5 })
})

it('leads a Sprite through a whole life on real processes', async () => {
  const name = 'claw-test-life'
  const home = '/home/sprite'
  expect(await client.get(name)).toBeNull()
  const made = await client.create({ name, labels: ['pool:x'] })
  expect(made).toMatchObject({ name, urlAuth: 'public', labels: ['pool:x'] })
  await expect(client.create({ name, labels: [] })).rejects.toMatchObject({ name: 'SpriteExists' })
  expect(await client.get(name)).toMatchObject({ id: made.id, url: made.url })
  expect((await client.list('claw-test-')).sprites.map((entry) => entry.name)).toEqual([name])

  const script = '#!/bin/sh\necho "up"\nexec sleep 600\n'
  await client.writeFile(name, `${home}/app/run.sh.1`, script, { mode: '0755' })
  await client.renameFile(name, `${home}/app/run.sh.1`, `${home}/app/run.sh`)
  expect(Buffer.from((await client.readFile(name, `${home}/app/run.sh`)) ?? []).toString()).toBe(script)
  expect(await client.listFiles(name, `${home}/app`)).toMatchObject([
    { name: 'run.sh', mode: '0755', isDir: false },
  ])
  expect(await client.listFiles(name, `${home}/nowhere`)).toBeNull()
  expect(await client.readFile(name, `${home}/nowhere`)).toBeNull()

  expect(await client.exec(name, ['sh', '-c', 'cat; echo out; echo bad >&2; exit 7'])).toEqual({
    exitCode: 7,
    stdout: 'out\n',
    stderr: 'bad\n',
  })

  const saved = await client.createCheckpoint(name, 'golden 1')
  expect(saved.outcome).not.toBe('error')
  const [golden] = (await client.listCheckpoints(name)).filter(({ comment }) => comment === 'golden 1')
  await client.writeFile(name, `${home}/canary`, 'x', { mode: '0600' })

  await client.putService(name, { name: 'gateway', cmd: `${home}/app/run.sh`, httpPort: 8080 })
  expect(await client.listServices(name)).toMatchObject([
    { name: 'gateway', httpPort: 8080, status: 'running' },
  ])
  await client.restartService(name, 'gateway')
  expect(await client.serviceLogs(name, 'gateway', 5)).toContain('up')
  const gateway = createGatewayClient({ clock: systemClock })
  expect(await gateway.status(made.url, null, { timeoutMs: 100 })).toMatchObject({ kind: 'down' }) // nobody listens
  await client.removeService(name, 'gateway')
  await client.removeService(name, 'gateway')
  expect(await client.listServices(name)).toEqual([])

  const back = await client.restoreCheckpoint(name, golden?.id ?? 'none')
  expect(back.outcome).toBe('complete')
  expect((await client.listFiles(name, home))?.map((entry) => entry.name)).not.toContain('canary')
  await client.removeFile(name, `${home}/app/run.sh`)
  await client.removeFile(name, `${home}/app/run.sh`)
  expect(await client.listFiles(name, `${home}/app`)).toEqual([])

  expect(await client.restoreCheckpoint(name, 'v99')).toMatchObject({ outcome: 'error' })
  const noService = { name: 'SpriteMissing', what: 'service' }
  await expect(client.restartService(name, 'none')).rejects.toMatchObject(noService)
  expect(await client.remove(name)).toBe('deleted')
  expect(await client.remove(name)).toBe('absent')
  await expect(client.listFiles(name, home)).rejects.toMatchObject({ name: 'SpriteMissing', what: 'sprite' })
  await expect(client.exec(name, ['true'])).rejects.toMatchObject({ name: 'SpriteMissing', what: 'sprite' })
})
