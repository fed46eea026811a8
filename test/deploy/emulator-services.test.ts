import { describe, expect, it } from 'vitest'
import { isRunning, type Line, startWorld, TOKEN, until, untilGone, type World } from './emulator-world.ts'

const TICKS = '#!/bin/sh\necho up\necho warn >&2\nexec sleep 1000\n'
const CRASHES = '#!/bin/sh\necho once >>"$HOME/starts"\nexit 3\n'

async function withService(script: string, more: object = {}, query = 'duration=300ms') {
  const world = await startWorld()
  await world.create('s')
  await world.write('s', '/home/sprite/run.sh', script, '0755')
  const body = { cmd: '/home/sprite/run.sh', args: [], needs: [], ...more }
  const events = await world.lines('PUT', `/sprites/s/services/web?${query}`, body)
  return { world, events }
}

const stateOf = async (world: World, name = 'web') =>
  (await world.json('GET', `/sprites/s/services/${name}`)).body.state

/** Without what the service prints, which comes whenever it comes. */
const acts = (events: Line[]) => events.map(({ type }) => type).filter((type) => !type.startsWith('std'))

describe('a service', () => {
  it('starts with the PUT, which tells what happens until the time asked for is over', async () => {
    const { events } = await withService(TICKS)
    expect(events[0]).toEqual({ type: 'started', timestamp: expect.any(Number) })
    expect(events.filter(({ type }) => type === 'stdout').map(({ data }) => data)).toEqual(['up\n'])
    expect(events.filter(({ type }) => type === 'stderr').map(({ data }) => data)).toEqual(['warn\n'])
    expect(events.at(-1)).toMatchObject({
      type: 'complete',
      log_files: { combined: '/.sprite/logs/services/web.log' },
    })
    const span = (events.at(-1)?.timestamp ?? 0) - (events[0]?.timestamp ?? 0)
    expect(span).toBeGreaterThanOrEqual(250)
  })

  it('shows its definition as it was sent, and its state', async () => {
    const { world } = await withService(TICKS, { env: { A: 'b' }, http_port: 8080 })
    const one = (await world.json('GET', '/sprites/s/services/web')).body
    expect(one).toMatchObject({
      name: 'web',
      cmd: '/home/sprite/run.sh',
      args: [],
      env: { A: 'b' },
      needs: null,
      http_port: 8080,
      state: {
        name: 'web',
        status: 'running',
        error: '',
        restart_count: 0,
        next_restart_at: '0001-01-01T00:00:00Z',
      },
    })
    expect(await isRunning(one.state.pid)).toBe(true)
    expect((await world.json('GET', '/sprites/s/services')).body).toEqual([{ ...one, needs: [] }])
  })

  it('runs in its directory with its own variables over those of the Sprite', async () => {
    const { events } = await withService('#!/bin/sh\necho "$A $USER $(pwd) $1"\nexec sleep 1000', {
      env: { A: 'b' },
      dir: '/home/sprite',
      args: ['/home/sprite/arg'],
    })
    const home = expect.stringMatching(/^b sprite (\/.*\/disk\/home\/sprite) \1\/arg\n$/)
    expect(events.find(({ type }) => type === 'stdout')?.data).toEqual(home)
  })

  it('is replaced by another PUT: one process, the new one', async () => {
    const { world } = await withService(TICKS)
    const before = await stateOf(world)
    await world.lines('PUT', '/sprites/s/services/web?duration=1ms', {
      cmd: '/home/sprite/run.sh',
      args: ['2'],
    })
    const after = await stateOf(world)
    expect(after.pid).not.toBe(before.pid)
    expect(await isRunning(before.pid)).toBe(false)
    expect((await world.json('GET', '/sprites/s/services')).body).toHaveLength(1)
  })

  it('is refused an HTTP port that another service has', async () => {
    const { world } = await withService(TICKS, { http_port: 8080 })
    const body = { cmd: '/home/sprite/run.sh', args: [], needs: [], http_port: 8080 }
    expect(await world.json('PUT', '/sprites/s/services/second', body)).toEqual({
      status: 409,
      body: { error: 'another service already has an HTTP port configured' },
    })
    expect((await world.lines('PUT', '/sprites/s/services/web?duration=1ms', body)).at(-1)?.type).toBe(
      'complete',
    )
  })

  it('starts again after a crash, later each time, and counts', async () => {
    const { world, events } = await withService(CRASHES)
    expect(events.map(({ type }) => type)).toEqual(['started', 'exit', 'complete'])
    expect(events[1]).toMatchObject({ exit_code: 3 })
    expect(await stateOf(world)).toMatchObject({ status: 'failed', error: 'exited with code 3', pid: 0 })
    await until(async () => expect((await stateOf(world)).restart_count).toBe(2))
    expect((await world.read('s', '/home/sprite/starts')).text).toBe('once\nonce\nonce\n')
    const { next_restart_at } = await stateOf(world)
    expect(Date.parse(next_restart_at)).toBeGreaterThan(Date.now() + 2_000)
  })

  it('starts again when its process is killed from outside', async () => {
    const { world } = await withService(TICKS)
    const { pid } = await stateOf(world)
    process.kill(pid, 'SIGKILL')
    await until(async () =>
      expect(await stateOf(world)).toMatchObject({ status: 'running', restart_count: 1 }),
    )
    expect((await stateOf(world)).pid).not.toBe(pid)
  })

  it('takes its children along when it crashes, as they may hold its port', async () => {
    const { world } = await withService('#!/bin/bash\nsleep 1000 &\necho $! >child\nwait\n')
    const child = Number((await world.read('s', '/home/sprite/child')).text)
    expect(await isRunning(child)).toBe(true)
    process.kill((await stateOf(world)).pid, 'SIGKILL')
    await untilGone(child)
  })

  it('is tried again when its program is missing', async () => {
    const world = await startWorld()
    await world.create('s')
    const events = await world.lines('PUT', '/sprites/s/services/web?duration=1ms', {
      cmd: '/home/sprite/later.sh',
    })
    expect(events.map(({ type }) => type)).toEqual(['error', 'complete'])
    expect((await stateOf(world)).status).toBe('failed')
    await world.write('s', '/home/sprite/later.sh', TICKS, '0755')
    await until(async () => expect((await stateOf(world)).status).toBe('running'))
  })

  it('is failed, not stopped, after a stop, and stays so', async () => {
    const { world } = await withService(TICKS)
    const { pid } = await stateOf(world)
    const events = await world.lines('POST', '/sprites/s/services/web/stop')
    expect(acts(events)).toEqual(['stopping', 'stopped', 'complete'])
    expect(events.find(({ type }) => type === 'stopped')).toMatchObject({ exit_code: 143 })
    expect(await isRunning(pid)).toBe(false)
    expect(await stateOf(world)).toMatchObject({
      status: 'failed',
      error: 'exited with code 143',
      pid: 0,
      next_restart_at: '0001-01-01T00:00:00Z',
    })
  })

  it('is killed when it ignores TERM for longer than the stop waits', async () => {
    const { world } = await withService('#!/bin/bash\ntrap : TERM\necho up\nwhile :; do sleep 0.1; done')
    const events = await world.lines('POST', '/sprites/s/services/web/stop?timeout=300ms')
    expect(events.find(({ type }) => type === 'stopped')).toMatchObject({ exit_code: 137 })
  })

  it('starts and restarts when told to', async () => {
    const { world } = await withService(TICKS)
    await world.lines('POST', '/sprites/s/services/web/stop')
    const started = await world.lines('POST', '/sprites/s/services/web/start?duration=1ms')
    expect(started[0]?.type).toBe('started')
    const before = await stateOf(world)
    const restarted = await world.lines('POST', '/sprites/s/services/web/restart?duration=1ms')
    expect(acts(restarted).slice(0, 3)).toEqual(['stopping', 'stopped', 'started'])
    expect((await stateOf(world)).pid).not.toBe(before.pid)
    expect(await isRunning(before.pid)).toBe(false)
  })

  it('gets a signal, after which it runs afresh', async () => {
    const { world } = await withService(TICKS)
    const { pid } = await stateOf(world)
    expect(
      (await world.json('POST', '/sprites/s/services/signal', { name: 'web', signal: 'TERM' })).status,
    ).toBe(204)
    await until(async () =>
      expect(await stateOf(world)).toMatchObject({ status: 'running', restart_count: 1 }),
    )
    expect((await stateOf(world)).pid).not.toBe(pid)
    expect(
      (await world.json('POST', '/sprites/s/services/signal', { name: 'no', signal: 'TERM' })).status,
    ).toBe(404)
    expect(
      (await world.json('POST', '/sprites/s/services/signal', { name: 'web', signal: 'XX' })).status,
    ).toBe(400)
  })

  it('keeps its log after it was deleted, readable as a file and as a stream', async () => {
    const { world } = await withService(TICKS)
    const logs = await world.lines('GET', '/sprites/s/services/web/logs?lines=1')
    expect(logs.map(({ type }) => type)).toEqual(['stdout', 'complete'])
    expect(logs[0]?.data).toMatch(/^(up|warn)\n$/)
    const { pid } = await stateOf(world)
    expect((await world.call('DELETE', '/sprites/s/services/web')).status).toBe(204)
    expect(await isRunning(pid)).toBe(false)
    expect((await world.json('DELETE', '/sprites/s/services/web')).status).toBe(404)
    expect((await world.read('s', '/.sprite/logs/services/web.log')).text.split('\n').toSorted()).toEqual([
      '',
      'up',
      'warn',
    ])
  })

  it('goes on when whoever watches its start hangs up', async () => {
    const world = await startWorld()
    await world.create('s')
    await world.write('s', '/home/sprite/run.sh', TICKS, '0755')
    const cut = new AbortController()
    const response = await fetch(`${world.base}/v1/sprites/s/services/web?duration=60s`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${TOKEN}` },
      body: JSON.stringify({ cmd: '/home/sprite/run.sh' }),
      signal: cut.signal,
    })
    await response.body?.getReader().read()
    cut.abort()
    await until(async () => expect((await stateOf(world)).status).toBe('running'))
  })

  it.each([
    ['no command', 'web', {}],
    ['a command that is no text', 'web', { cmd: 3 }],
    ['a name with a slash', 'a%2Fb', { cmd: 'true' }],
    ['a time that is none', 'web?duration=soon', { cmd: 'true' }],
  ])('is refused with %s', async (_, path, body) => {
    const world = await startWorld()
    await world.create('s')
    expect((await world.json('PUT', `/sprites/s/services/${path}`, body)).status).toBe(400)
    expect((await world.json('GET', '/sprites/s/services')).body).toEqual([])
  })
})

describe('services and restores', () => {
  it('come back with a checkpoint that holds them, as new processes', async () => {
    const { world } = await withService(TICKS)
    await world.lines('POST', '/sprites/s/checkpoint')
    const before = await stateOf(world)
    await world.call('DELETE', '/sprites/s/services/web')
    await world.lines('POST', '/sprites/s/checkpoints/v1/restore')
    const after = await stateOf(world)
    expect(after).toMatchObject({ status: 'running', restart_count: 0 })
    expect(after.pid).not.toBe(before.pid)
  })

  it('are gone with a restore to a checkpoint that holds none', async () => {
    const world = await startWorld()
    await world.create('s')
    await world.write('s', '/home/sprite/run.sh', TICKS, '0755')
    await world.lines('POST', '/sprites/s/checkpoint')
    await world.lines('PUT', '/sprites/s/services/web?duration=1ms', { cmd: '/home/sprite/run.sh' })
    const { pid } = await stateOf(world)
    await world.lines('POST', '/sprites/s/checkpoints/v1/restore')
    expect((await world.json('GET', '/sprites/s/services')).body).toEqual([])
    expect(await isRunning(pid)).toBe(false)
  })

  it('lose only themselves when their file on the disk is spoiled', async () => {
    const { world } = await withService(TICKS)
    await world.write('s', '/.sprite/services.json', 'spoiled')
    await world.lines('POST', '/sprites/s/checkpoint')
    expect((await world.lines('POST', '/sprites/s/checkpoints/v1/restore')).at(-1)?.type).toBe('complete')
    expect((await world.json('GET', '/sprites/s/services')).body).toEqual([])
  })
})
