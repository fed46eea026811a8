import { readFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { USUAL_SLEEP } from '../../deploy/local/emulator/power.ts'
import { SPRITE_PATHS, setupEnv, setupStatusSchema } from '../../deploy/sprite/templates.ts'
import { virtualClock } from '../support/virtual-clock.ts'
import { startOpenclawWorld } from './conformance/openclaw.ts'
import { isRunning, until } from './emulator-world.ts'

const HOME = '/home/sprite'
const SLEEPER = '#!/bin/sh\necho up\nexec sleep 6000\n'
const { warmAfterMs, coldAfterMs } = USUAL_SLEEP

/** The memory engine, on a clock of the test's own. */
async function withSprite(config: { setupMs?: number } = {}) {
  const clock = virtualClock()
  const world = await startOpenclawWorld('memory', { ...config, clock, sleepTimes: USUAL_SLEEP })
  const { url } = await world.sprites.create({ name: 's', labels: [] })
  const status = async () => (await world.sprites.get('s'))?.status

  /** Moves time on in small steps until the answer is there. */
  async function inTime<T>(answer: Promise<T>, limitMs = 60_000): Promise<T> {
    let isOver = false
    const over = answer.finally(() => {
      isOver = true
    })
    over.catch(() => {})
    for (let passed = 0; passed < limitMs && !isOver; passed += 100) await clock.advance(100)
    return Promise.race([over, Promise.reject(new Error(`nothing within ${limitMs} ms`))])
  }
  async function service(name: string): Promise<void> {
    await world.sprites.writeFile('s', `${HOME}/run.sh`, SLEEPER, { mode: '0755' })
    await inTime(world.sprites.putService('s', { name, cmd: `${HOME}/run.sh`, httpPort: 8080 }))
  }
  const serviceState = async () => (await world.json('GET', '/sprites/s/services')).body[0].state
  return { ...world, clock, url, status, inTime, service, serviceState }
}

describe('a Sprite that nobody talks to', () => {
  it('is warm after a minute or so, cold much later, and no read of the control plane wakes it', async () => {
    const world = await withSprite()
    await world.service('quiet') // keeps nobody awake
    await world.clock.advance(warmAfterMs - 1_000)
    expect(await world.status()).toBe('running')
    await world.clock.advance(1_000)
    expect(await world.status()).toBe('warm')
    await world.sprites.listServices('s')
    await world.sprites.listCheckpoints('s')
    expect((await world.sprites.list('')).sprites).toMatchObject([{ status: 'warm' }])
    expect((await world.json('GET', '/sprites/s/check')).body).toMatchObject({ status: 'hibernated' })
    expect((await world.json('GET', '/sprites')).body).toMatchObject({ running: 0, warm: 1, cold: 0 })
    await world.clock.advance(coldAfterMs)
    expect(await world.status()).toBe('cold')
  })

  it('is kept awake by an attached command, and by a build that holds a task', async () => {
    const world = await withSprite({ setupMs: 300_000 })
    const socket = world.socket('/sprites/s/exec?cmd=sleep&cmd=6000')
    await new Promise((resolve) => socket.once('message', resolve))
    await world.clock.advance(10 * warmAfterMs)
    expect(await world.status()).toBe('running')
    socket.terminate()
    await until(async () => {
      await world.clock.advance(warmAfterMs)
      expect(await world.status()).toBe('warm')
    })

    const request = { attempt: 'a', repo: world.repo, ref: 'staging', commit: null }
    await world.inTime(world.sprites.writeFile('s', SPRITE_PATHS.setupScript, '#', { mode: '0755' }))
    await world.sprites.writeFile('s', SPRITE_PATHS.setupEnv, setupEnv(request), { mode: '0644' })
    await world.sprites.exec('s', ['bash', SPRITE_PATHS.setupScript])
    await world.clock.advance(295_000)
    expect(await world.status()).toBe('running')
    const look = async () => {
      const bytes = await world.sprites.readFile('s', SPRITE_PATHS.setupStatus)
      return setupStatusSchema.parse(JSON.parse(Buffer.from(bytes ?? []).toString()))
    }
    expect(await look()).toMatchObject({ phase: 'workspace', exit: null })
    await world.clock.advance(10_000)
    expect(await look()).toMatchObject({ exit: 0 })
    await world.clock.advance(warmAfterMs)
    expect(await world.status()).toBe('warm')
  })
})

describe('waking', () => {
  it('from warm goes on where it stood: the same processes', async () => {
    const world = await withSprite()
    await world.service('quiet')
    const { pid } = await world.serviceState()
    await world.control.putToSleep('s', 'warm')
    expect(await world.inTime(world.sprites.exec('s', ['echo', 'hi']))).toMatchObject({ stdout: 'hi\n' })
    expect(await world.status()).toBe('running')
    expect(await world.serviceState()).toMatchObject({ pid, status: 'running' })
  })

  it('from cold is a boot: services start anew, other commands are gone', async () => {
    const world = await withSprite()
    await world.service('quiet')
    const { pid } = await world.serviceState()
    await world.control.putToSleep('s', 'cold')
    expect(await world.status()).toBe('cold')
    await world.inTime(world.sprites.exec('s', ['true']))
    const woken = await world.serviceState()
    expect(woken.status).toBe('running')
    expect(woken.pid).not.toBe(pid)
  })

  it('takes its time, and a request to the public URL does it', async () => {
    const world = await withSprite()
    await world.control.putToSleep('s', 'cold')
    const asked = fetch(`${world.url}/convos/status`).catch(() => 'cut') // nobody listens: it would hang
    await world.clock.advance(0)
    expect(await world.status()).toBe('cold')
    await until(async () => {
      await world.clock.advance(500)
      expect(await world.status()).toBe('running')
    })
    await world.control.putToSleep('s', 'warm')
    expect(await asked).toBe('cut')
  })

  it('is not done by the file API: a call to a cold Sprite hangs until something else wakes it', async () => {
    const world = await withSprite()
    await world.control.putToSleep('s', 'cold')
    const written = world.sprites.writeFile('s', `${HOME}/f`, 'x', { mode: '0600' })
    await world.clock.advance(30_000)
    expect(await world.status()).toBe('cold')
    await world.inTime(world.sprites.exec('s', ['true']))
    await world.inTime(written)
    expect(await world.inTime(world.sprites.readFile('s', `${HOME}/f`))).not.toBeNull()
  })
})

describe('falling asleep', () => {
  it('breaks sockets: a command loses its client without an exit code, and ends since nobody watches it', async () => {
    const world = await withSprite()
    const running = world.sprites.exec('s', ['sleep', '6000'], { timeoutMs: 600_000 })
    await until(async () => expect((await world.json('GET', '/sprites/s/exec')).body.count).toBe(1))
    await world.control.putToSleep('s', 'warm')
    expect(await running).toEqual({ exitCode: null, stdout: '', stderr: '' })
    await until(async () => {
      await world.clock.advance(10_000)
      expect((await world.json('GET', '/sprites/s/exec')).body.count).toBe(0)
    })
  })
})

describe.each(['memory', 'process'] as const)(
  'the gateway of a Sprite that slept, in the %s engine',
  (engine) => {
    it('hears nothing after a warm wake, until it is started again, and everything after a boot', async () => {
      const world = await startOpenclawWorld(engine)
      const { url, key } = await world.claw('s')
      const { pid } = (await world.json('GET', '/sprites/s/services/gateway')).body.state
      await world.gateway.converse(url, key, { name: 'A', env: 'dev' }, { timeoutMs: 10_000 })
      expect(await world.gateway.status(url, key)).toMatchObject({ streaming: true })

      await world.control.putToSleep('s', 'warm')
      expect(await world.sprites.get('s')).toMatchObject({ status: 'warm' })
      expect(await world.gateway.status(url, key)).toMatchObject({ kind: 'up', streaming: false })
      expect((await world.json('GET', '/sprites/s/services/gateway')).body.state.pid).toBe(pid)
      await world.sprites.restartService('s', 'gateway')
      await until(async () =>
        expect(await world.gateway.status(url, key, { timeoutMs: 300 })).toMatchObject({
          conversationId: expect.any(String),
          streaming: true,
        }),
      )

      await world.control.putToSleep('s', 'cold')
      if (engine === 'process') expect(await isRunning(pid)).toBe(false)
      await until(async () =>
        expect(await world.gateway.status(url, key, { timeoutMs: 1_000 })).toMatchObject({ streaming: true }),
      )
    })
  },
)

it('stands still in the process engine while it is warm', async () => {
  const world = await startOpenclawWorld('process')
  await world.create('s')
  await world.write(
    's',
    `${HOME}/count.sh`,
    '#!/bin/sh\nwhile :; do echo x >>ticks; sleep 0.02; done\n',
    '0755',
  )
  await world.lines('PUT', '/sprites/s/services/count?duration=1ms', { cmd: `${HOME}/count.sh` })
  const disk = `${world.dataDir}/sprites/s/disk/home/sprite/ticks`
  const ticks = async () => (await readFile(disk, 'utf8')).length
  await until(async () => expect(await ticks()).toBeGreaterThan(2))
  await world.control.putToSleep('s', 'warm')
  const before = await ticks()
  await new Promise((resolve) => setTimeout(resolve, 200)) // time in which it would have counted
  expect(await ticks()).toBe(before)
  await world.sprites.exec('s', ['true'])
  await until(async () => expect(await ticks()).toBeGreaterThan(before))
})
