import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createSpritesClient } from '../../controller/sprites/client.ts'
import { createFaults } from '../../deploy/local/emulator/faults/faults.ts'
import { FAULT_KINDS } from '../../deploy/local/emulator/faults/schema.ts'
import { seededRandom } from '../../deploy/local/emulator/faults/seeded-random.ts'
import { SPRITE_PATHS } from '../../deploy/sprite/templates.ts'
import { systemClock } from '../../specs/clock.ts'
import { ROOT } from '../support/sources.ts'
import { type OpenclawWorld, startOpenclawWorld } from './conformance/openclaw.ts'
import { TOKEN, until } from './emulator-world.ts'

const F = '/home/sprite/f'
const PAGE = '<html><body><h1>500</h1></body></html>'

/** Our client with little patience, as a sender that gives up. */
const hasty = (world: OpenclawWorld, ms = 200) =>
  createSpritesClient({
    baseUrl: world.base,
    token: TOKEN,
    clock: systemClock,
    timeouts: { readMs: ms, createMs: ms, changeMs: ms, fileMs: ms, restoreMs: ms, handshakeMs: ms },
  })
const unavailable = { name: 'SpritesUnavailable' }

describe.each(['memory', 'process'] as const)('faults of the %s engine', (engine) => {
  async function withSprite() {
    const world = await startOpenclawWorld(engine)
    await world.sprites.create({ name: 's', labels: [] })
    return world
  }

  describe('a request that is held past the death of its sender', () => {
    it('still creates', async () => {
      const world = await startOpenclawWorld(engine)
      await world.control.inject({ kind: 'hold', ms: 600, on: 'create', sprite: 'late' })
      await expect(hasty(world).create({ name: 'late', labels: ['x'] })).rejects.toMatchObject(unavailable)
      expect(await world.sprites.get('late')).toBeNull()
      await until(async () => expect(await world.sprites.get('late')).toMatchObject({ labels: ['x'] }))
      await world.control.expectMet()
    })

    it('still writes, renames and runs', async () => {
      const world = await withSprite()
      await world.control.inject({ kind: 'hold', ms: 500, on: ['fs.write', 'exec'], sprite: 's', times: 2 })
      await expect(hasty(world).writeFile('s', F, 'late', { mode: '0600' })).rejects.toMatchObject(
        unavailable,
      )
      await expect(hasty(world).exec('s', ['sh', '-c', 'echo ran >ran'])).rejects.toMatchObject(unavailable)
      await until(async () =>
        expect(Buffer.from((await world.sprites.readFile('s', F)) ?? []).toString()).toBe('late'),
      )
      await until(async () => expect(await world.sprites.readFile('s', '/home/sprite/ran')).not.toBeNull())
    })

    it('still restores', async () => {
      const world = await withSprite()
      await world.sprites.createCheckpoint('s', 'empty')
      await world.sprites.writeFile('s', F, 'x', { mode: '0600' })
      await world.control.inject({ kind: 'hold', ms: 500, on: 'checkpoint.restore' })
      await expect(hasty(world).restoreCheckpoint('s', 'v1')).rejects.toMatchObject(unavailable)
      expect(await world.sprites.readFile('s', F)).not.toBeNull()
      await until(async () => expect(await world.sprites.readFile('s', F)).toBeNull())
    })

    it('still makes a conversation, which nobody has the link of', async () => {
      const world = await startOpenclawWorld(engine)
      const { url, key } = await world.claw('s')
      await world.control.inject({ kind: 'hold', ms: 500, on: 'gateway.conversation', sprite: 's' })
      const asked = world.gateway.converse(url, key, { name: 'late' }, { timeoutMs: 200 })
      await expect(asked).rejects.toMatchObject({ name: 'GatewayUnknown' })
      expect(await world.gateway.status(url, key)).toMatchObject({ conversationId: null })
      await until(async () =>
        expect(await world.gateway.status(url, key)).toMatchObject({ conversationId: expect.any(String) }),
      )
    })
  })

  describe('the answer is not what happened', () => {
    it('to a create that says 500 by a page, and to one whose answer is lost', async () => {
      const world = await startOpenclawWorld(engine)
      await world.control.inject({ kind: 'lie', status: 500, body: PAGE, on: 'create', sprite: 'a' })
      await world.control.inject({ kind: 'lose', on: 'create', sprite: 'b' })
      await expect(world.sprites.create({ name: 'a', labels: [] })).rejects.toMatchObject({
        ...unavailable,
        status: 500,
      })
      await expect(world.sprites.create({ name: 'b', labels: [] })).rejects.toMatchObject(unavailable)
      expect((await world.sprites.list('')).sprites.map(({ name }) => name)).toEqual(['a', 'b'])
      await world.control.expectMet()
    })

    it('to a conversation that says 500 and is bound all the same', async () => {
      const world = await startOpenclawWorld(engine)
      const { url, key } = await world.claw('s')
      await world.control.inject({ kind: 'lie', status: 500, on: 'gateway.conversation' })
      await expect(world.gateway.converse(url, key, {}, { timeoutMs: 10_000 })).rejects.toMatchObject({
        status: 500,
      })
      expect(await world.gateway.status(url, key)).toMatchObject({ conversationId: expect.any(String) })
    })

    it('to a status that shows a dead stream, and a join that nobody accepts', async () => {
      const world = await startOpenclawWorld(engine)
      const { url, key } = await world.claw('s')
      await world.control.inject({ kind: 'never-accepted', on: 'gateway.join' })
      const join = () =>
        world.gateway.join(
          url,
          key,
          { inviteUrl: 'https://dev.convos.org/v2?i=x', env: 'dev' },
          { timeoutMs: 10_000 },
        )
      expect(await join()).toEqual({ status: 'waiting' })
      expect(await world.sprites.listFiles('s', `${SPRITE_PATHS.convos}/identities`)).toHaveLength(1) // it leaves a trace
      expect(await join()).toMatchObject({ status: 'joined' })
      await world.control.inject({ kind: 'not-streaming', on: 'gateway.status' })
      expect(await world.gateway.status(url, key)).toMatchObject({ kind: 'up', streaming: false })
      expect(await world.gateway.status(url, key)).toMatchObject({ kind: 'up', streaming: true })
    })
  })

  it('hides Sprites: for a time after their creation, from one list, in an incident', async () => {
    const { control, sprites } = await withSprite()
    await sprites.create({ name: 't', labels: [] })
    await control.inject({
      kind: 'refuse',
      status: 404,
      body: { error: 'sprite not found' },
      on: 'get',
      sprite: 's',
      times: 2,
    })
    expect([await sprites.get('s'), await sprites.get('t')]).toMatchObject([null, { name: 't' }])
    expect([await sprites.get('s'), await sprites.get('s')]).toMatchObject([null, { name: 's' }])

    await control.inject({ kind: 'omit', on: 'list', sprite: 's' })
    expect((await sprites.list('')).sprites.map(({ name }) => name)).toEqual(['t'])
    expect((await sprites.list('')).sprites.map(({ name }) => name)).toEqual(['s', 't'])

    for (const [as, look] of [
      [
        'unauthorized',
        async () => expect(sprites.get('s')).rejects.toMatchObject({ name: 'SpritesUnauthorized' }),
      ],
      ['not-found', async () => expect(await sprites.get('s')).toBeNull()],
      ['empty-list', async () => expect((await sprites.list('')).sprites).toEqual([])],
    ] as const) {
      const end = await control.incident(as)
      await look()
      await look()
      await end()
      expect((await sprites.list('')).sprites).toHaveLength(2)
    }
    await control.expectMet()
  })

  it('breaks commands: no exit code, silence, a refusal, a cut', async () => {
    const { control, sprites, ...world } = await withSprite()
    const run = () => sprites.exec('s', ['sh', '-c', 'echo out'])
    await control.inject({ kind: 'no-exit-frame', on: 'exec' })
    expect(await run()).toEqual({ exitCode: null, stdout: 'out\n', stderr: '' })
    await control.inject({ kind: 'lose', on: 'exec' })
    expect(await run()).toMatchObject({ exitCode: null })
    await control.inject({ kind: 'mute', ms: 500, on: 'exec' })
    await expect(sprites.exec('s', ['true'], { timeoutMs: 200 })).rejects.toMatchObject(unavailable)
    await control.inject({ kind: 'refuse', status: 503, on: 'exec' })
    await expect(run()).rejects.toMatchObject({ ...unavailable, status: 503 })
    await control.inject({ kind: 'cut', on: 'exec' })
    await expect(run()).rejects.toMatchObject(unavailable)
    await control.inject({ kind: 'hang', on: 'exec' })
    await expect(hasty({ ...world, control, sprites }).exec('s', ['true'])).rejects.toMatchObject(unavailable)
    await control.expectMet()
  })

  it('breaks files: hangs, and asks to come again', async () => {
    const world = await withSprite()
    await world.control.inject({ kind: 'hang', on: 'fs.read' })
    await expect(hasty(world).readFile('s', F)).rejects.toMatchObject(unavailable)
    const body = { error: 'service temporarily unavailable, please retry' }
    await world.control.inject({ kind: 'refuse', status: 503, body, on: ['fs.write', 'delete'], times: 2 })
    await expect(world.sprites.writeFile('s', F, 'x', { mode: '0600' })).rejects.toMatchObject(unavailable)
    await expect(world.sprites.remove('s')).rejects.toMatchObject(unavailable)
    expect(await world.sprites.readFile('s', F)).toBeNull()
    expect(await world.sprites.remove('s')).toBe('deleted')
  })

  describe('checkpoints and restores', () => {
    async function withCheckpoint() {
      const world = await withSprite()
      await world.sprites.createCheckpoint('s', 'empty')
      await world.sprites.writeFile('s', F, 'x', { mode: '0600' })
      return world
    }

    it('fail by a line inside a 200', async () => {
      const { control, sprites } = await withCheckpoint()
      await control.inject({ kind: 'error-line', on: ['checkpoint.create', 'checkpoint.restore'], times: 2 })
      await expect(sprites.createCheckpoint('s', 'no')).rejects.toMatchObject({ name: 'NothingToCheckpoint' })
      expect(await sprites.listCheckpoints('s')).toHaveLength(1)
      expect(await sprites.restoreCheckpoint('s', 'v1')).toMatchObject({ outcome: 'error' })
      expect(await sprites.readFile('s', F)).not.toBeNull()
    })

    it('happen, and their stream ends early or never', async () => {
      const { control, ...world } = await withCheckpoint()
      await control.inject({ kind: 'end-early', on: 'checkpoint.create' })
      expect(await world.sprites.createCheckpoint('s', 'silent')).toMatchObject({ outcome: 'ended' })
      expect(await world.sprites.listCheckpoints('s')).toHaveLength(2)
      await control.inject({ kind: 'stay-open', on: 'checkpoint.restore' })
      const patient = createSpritesClient({
        baseUrl: world.base,
        token: TOKEN,
        clock: systemClock,
        timeouts: { restoreIdleMs: 300 },
      })
      expect(await patient.restoreCheckpoint('s', 'v1')).toMatchObject({ outcome: 'ended' })
      await until(async () => expect(await world.sprites.readFile('s', F)).toBeNull())
    })

    it('are listed beside some that the platform made', async () => {
      const { control, sprites, ...world } = await withCheckpoint()
      await control.inject({ kind: 'auto-entries', on: 'checkpoint.list', times: 2 })
      const { body } = await world.json('GET', '/sprites/s/checkpoints')
      expect(body.map(({ id }: { id: string }) => id)).toEqual(['Current', 'v1', 'auto-1'])
      expect(await sprites.listCheckpoints('s')).toHaveLength(1)
    })

    it('leave files for a moment that can be listed and not read', async () => {
      const { control, sprites } = await withSprite()
      await sprites.writeFile('s', F, 'x', { mode: '0600' })
      await sprites.createCheckpoint('s', 'with')
      await control.inject({ kind: 'unsettled', ms: 400, on: 'checkpoint.restore' })
      await sprites.restoreCheckpoint('s', 'v1')
      expect((await sprites.listFiles('s', '/home/sprite'))?.some(({ name }) => name === 'f')).toBe(true)
      await expect(sprites.readFile('s', F)).rejects.toMatchObject({ status: 500 })
      await until(async () => expect(await sprites.readFile('s', F)).not.toBeNull())
    })

    it('ruin the Sprite, which goes on to look well from outside', async () => {
      const { control, ...world } = await withCheckpoint()
      await control.inject({ kind: 'ruin', on: 'checkpoint.restore' })
      const end = await world.sprites.restoreCheckpoint('s', 'v1')
      expect(end).toMatchObject({
        outcome: 'error',
        message: expect.stringContaining('overlay service tree'),
      })
      expect(await world.sprites.get('s')).toMatchObject({ status: 'running' })
      const impatient = hasty({ ...world, control })
      await expect(impatient.readFile('s', F)).rejects.toMatchObject(unavailable)
      await expect(impatient.exec('s', ['true'])).rejects.toMatchObject(unavailable)
      await expect(impatient.listCheckpoints('s')).rejects.toMatchObject(unavailable)
      expect(await world.sprites.remove('s')).toBe('deleted')
      await world.sprites.create({ name: 's', labels: [] })
      expect(await world.sprites.listFiles('s', '/home/sprite')).not.toBeNull()
    })

    it('leave a service in the books that does not run', async () => {
      const { control, sprites } = await withCheckpoint()
      await sprites.writeFile('s', '/home/sprite/run.sh', '#!/bin/sh\nexec sleep 600\n', { mode: '0755' })
      await sprites.putService('s', { name: 'gateway', cmd: '/home/sprite/run.sh', httpPort: 8080 })
      await control.inject({ kind: 'stale-services', on: 'checkpoint.restore' })
      await sprites.restoreCheckpoint('s', 'v1')
      expect(await sprites.listServices('s')).toMatchObject([{ name: 'gateway', status: 'running' }])
      await sprites.removeService('s', 'gateway')
      expect(await sprites.listServices('s')).toEqual([])
    })
  })

  it('lets a second service have an HTTP port', async () => {
    const { control, sprites } = await withSprite()
    await sprites.writeFile('s', '/home/sprite/run.sh', '#!/bin/sh\nexec sleep 600\n', { mode: '0755' })
    const put = (name: string) =>
      sprites.putService('s', { name, cmd: '/home/sprite/run.sh', httpPort: 8080 })
    await put('one')
    await expect(put('two')).rejects.toMatchObject({ name: 'SpritesRejected', status: 409 })
    await control.inject({ kind: 'second-port', on: 'service.put' })
    await put('two')
    expect(await sprites.listServices('s')).toHaveLength(2)
  })

  it('breaks the public URL: a hang, a page, a cut', async () => {
    const world = await startOpenclawWorld(engine)
    const { url, key } = await world.claw('s')
    for (const [fault, why] of [
      [{ kind: 'hang' }, 'not done within'],
      [{ kind: 'refuse', status: 502, body: '<h1>502 Bad Gateway</h1>' }, '502'],
      [{ kind: 'refuse', status: 200, body: PAGE }, 'a page'],
      [{ kind: 'cut' }, 'no answer'],
    ] as const) {
      await world.control.inject({ ...fault, on: 'gateway.status', sprite: 's' })
      const state = await world.gateway.status(url, key, { timeoutMs: 400 })
      expect(state).toMatchObject({ kind: 'down', why: expect.stringContaining(why) })
    }
    expect(await world.gateway.status(url, key)).toMatchObject({ kind: 'up' })
  })

  it('answers 429 without a word of when, and limits nothing else', async () => {
    const { control, sprites } = await withSprite()
    const body = { error: 'concurrent_sprite_limit_exceeded', limit: 3, current_count: 3 }
    await control.inject({ kind: 'refuse', status: 429, body, on: 'create' })
    await expect(sprites.create({ name: 't', labels: [] })).rejects.toMatchObject({
      name: 'SpritesRateLimited',
      code: 'concurrent',
      retryAfterMs: null,
    })
    expect(await sprites.create({ name: 't', labels: [] })).toMatchObject({ name: 't' })
  })

  it('is an error to whoever asked for it when it was never met', async () => {
    const { control, sprites } = await withSprite()
    const fault = await control.inject({ kind: 'hang', on: 'fs.read', sprite: 'another' })
    await sprites.readFile('s', F)
    expect(await fault.met()).toBe(0)
    await expect(control.expectMet()).rejects.toThrow(/never met: f1 hang on fs.read of another/)
    await control.clearFaults()
    await control.expectMet()
  })
})

describe('chance', () => {
  const meetings = (seed: string) => {
    const faults = createFaults(seededRandom(seed))
    faults.inject({ kind: 'hang', on: 'get', probability: 0.3, times: null })
    return Array.from({ length: 200 }, () => faults.take(['hang'], 'get', 'any') !== null)
  }

  it('is the same for the same seed, and as often as was asked for', () => {
    expect(meetings('a')).toEqual(meetings('a'))
    expect(meetings('a')).not.toEqual(meetings('b'))
    const met = meetings('a').filter(Boolean).length
    expect(met).toBeGreaterThan(40)
    expect(met).toBeLessThan(80)
  })

  it('meets so many as were asked for, each kind apart', () => {
    const faults = createFaults(seededRandom('x'))
    faults.inject({ kind: 'hang', on: ['get', 'list'], times: 2 })
    expect(faults.take(['cut'], 'get', null)).toBeNull()
    expect(faults.take(['hang', 'cut'], 'get', 's')).toMatchObject({ kind: 'hang' })
    expect(faults.take(['hang'], 'create', 's')).toBeNull()
    expect(faults.take(['hang'], 'list', null)).toMatchObject({ kind: 'hang' })
    expect(faults.take(['hang'], 'list', null)).toBeNull()
    expect(faults.list()).toMatchObject([{ met: 2 }])
  })
})

describe('the table of faults', () => {
  it('names every kind of fault that there is', async () => {
    const table = await readFile(join(ROOT, 'test/system/README.md'), 'utf8')
    expect(FAULT_KINDS.filter((kind) => !table.includes(`\`${kind}\``))).toEqual([])
    expect(FAULT_KINDS.length).toBeGreaterThan(15)
  })
})
