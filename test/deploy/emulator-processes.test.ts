import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { DataDirInUse } from '../../deploy/local/emulator/data-dir.ts'
import { checkTools, startEmulator } from '../../deploy/local/emulator/start.ts'
import { isRunning, startWorld, TOKEN, talkTo, temporaryFolder, until } from './emulator-world.ts'

const DETACHED = 'setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!'
const SERVICE = '#!/bin/sh\nexec sleep 1000\n'

/** An emulator in a process of its own, which the test kills; ended with the test in any case. */
async function startChild(dataDir: string) {
  const script = fileURLToPath(new URL('./emulator-child.ts', import.meta.url))
  const child = spawn(process.execPath, [script, dataDir, TOKEN], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [first] = await once(child.stdout, 'data', { signal: AbortSignal.timeout(20_000) })
  return {
    ...talkTo(String(first).trim()),
    async kill() {
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

describe('the end of an emulator', () => {
  it('ends every process of every Sprite, also those that left their session', async () => {
    const world = await startWorld()
    const pids: number[] = []
    for (const name of ['a', 'b']) {
      await world.create(name)
      await world.write(name, '/home/sprite/run.sh', SERVICE, '0755')
      await world.lines('PUT', `/sprites/${name}/services/web?duration=1ms`, { cmd: '/home/sprite/run.sh' })
      pids.push((await world.json('GET', `/sprites/${name}/services/web`)).body.state.pid)
      pids.push(Number((await world.bash(name, DETACHED)).stdout))
    }
    for (const pid of pids) expect(await isRunning(pid)).toBe(true)
    await world.close()
    for (const pid of pids) expect(await isRunning(pid)).toBe(false)
  })

  it('waits for what ignores TERM, and then kills it', async () => {
    const world = await startWorld()
    await world.create('a')
    const { stdout } = await world.bash(
      'a',
      'setsid bash -c "trap : TERM; while :; do sleep 0.1; done" </dev/null >/dev/null 2>&1 & echo $!; sleep 0.2',
    )
    await world.close()
    expect(await isRunning(Number(stdout))).toBe(false)
  })

  it('ends what emptied its environment but stayed in the group of a running command', async () => {
    const world = await startWorld()
    await world.create('a')
    await world.write(
      'a',
      '/home/sprite/run.sh',
      '#!/bin/bash\nenv -i sleep 1000 &\necho $! >pid\nwait\n',
      '0755',
    )
    await world.lines('PUT', '/sprites/a/services/web?duration=1ms', { cmd: '/home/sprite/run.sh' })
    const pid = await until(async () => {
      const { status, text } = await world.read('a', '/home/sprite/pid')
      expect([status, text]).toEqual([200, expect.stringMatching(/^\d+\n$/)])
      return Number(text)
    })
    await world.close()
    expect(await isRunning(pid)).toBe(false)
  })

  it('keeps Sprites, URLs, files, checkpoints and services for the next one', async () => {
    const world = await startWorld()
    const made = await world.create('a', { labels: ['x'] })
    await world.write('a', '/home/sprite/run.sh', SERVICE, '0755')
    for (const name of ['on', 'off']) {
      await world.lines('PUT', `/sprites/a/services/${name}?duration=1ms`, { cmd: '/home/sprite/run.sh' })
    }
    await world.lines('POST', '/sprites/a/services/off/stop')
    await world.lines('POST', '/sprites/a/checkpoint', { comment: 'kept' })
    await world.close()

    const next = await startWorld({ dataDir: world.dataDir })
    expect(next.base).toBe(world.base)
    expect((await next.json('GET', '/sprites/a')).body).toEqual({
      ...made,
      last_running_at: expect.any(String),
    })
    expect((await next.read('a', '/home/sprite/run.sh')).text).toBe(SERVICE)
    expect((await next.json('GET', '/sprites/a/checkpoints/v1')).body.comment).toBe('kept')
    const services = (await next.json('GET', '/sprites/a/services')).body
    expect(
      services.map(({ name, state }: { name: string; state: { status: string } }) => [name, state.status]),
    ).toEqual([
      ['on', 'running'],
      ['off', 'stopped'],
    ])
  })

  it('gives a Sprite another URL when its port was taken meanwhile', async () => {
    const world = await startWorld()
    const made = await world.create('a')
    await world.close()
    const squatter = createServer().listen(Number(new URL(made.url).port), '127.0.0.1')
    await once(squatter, 'listening')
    onTestFinished(() => void squatter.close())
    const next = await startWorld({ dataDir: world.dataDir })
    const { url, id } = (await next.json('GET', '/sprites/a')).body
    expect(id).toBe(made.id)
    expect(url).not.toBe(made.url)
  })
})

describe('an emulator that was killed', () => {
  it('is followed by one that ends what it left, and brings the services back', async () => {
    const dataDir = join(await temporaryFolder(), 'data')
    const killed = await startChild(dataDir)
    await killed.create('a')
    await killed.write('a', '/home/sprite/run.sh', SERVICE, '0755')
    await killed.lines('PUT', '/sprites/a/services/web?duration=1ms', { cmd: '/home/sprite/run.sh' })
    const service = (await killed.json('GET', '/sprites/a/services/web')).body.state.pid
    const detached = Number((await killed.bash('a', DETACHED)).stdout)
    const running = killed.bash('a', 'echo $$ >pid; exec env -i /usr/bin/sleep 1000').catch(() => null)
    const command = await until(async () => {
      const { text } = await killed.read('a', '/home/sprite/pid')
      expect(text).toMatch(/^\d+\n$/)
      return Number(text)
    })
    await killed.kill()
    await running
    for (const pid of [service, detached, command]) expect(await isRunning(pid)).toBe(true)

    const next = await startWorld({ dataDir })
    for (const pid of [service, detached, command]) expect(await isRunning(pid)).toBe(false)
    const { state } = (await next.json('GET', '/sprites/a/services/web')).body
    expect(state.status).toBe('running')
    expect(state.pid).not.toBe(service)
  })

  it('leaves alone a process that only has the number of an old one', async () => {
    const world = await startWorld()
    await world.create('a')
    await world.close()
    const stranger = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' })
    onTestFinished(() => void stranger.kill('SIGKILL'))
    await writeFile(join(world.dataDir, 'sprites/a/processes', String(stranger.pid)), 'another boot/123')
    await startWorld({ dataDir: world.dataDir })
    expect(await isRunning(stranger.pid ?? 0)).toBe(true)
    expect(await readdir(join(world.dataDir, 'sprites/a/processes'))).toEqual([])
  })

  it.each([
    ['before the swap', async (folder: string) => void (await mkdir(join(folder, 'disk.next'))), 'used'],
    ['while it copied', async (folder: string) => void (await mkdir(join(folder, 'disk.copying'))), 'used'],
    [
      'between the two renames',
      async (folder: string) => {
        await rename(join(folder, 'disk'), join(folder, 'disk.old'))
        await mkdir(join(folder, 'disk.next/home/sprite'), { recursive: true })
        await writeFile(join(folder, 'disk.next/home/sprite/state'), 'restored')
      },
      'restored',
    ],
    [
      'after both',
      async (folder: string) => {
        await mkdir(join(folder, 'disk.old/home'), { recursive: true })
      },
      'used',
    ],
  ])('in a restore, %s, leaves one whole disk', async (_, cut, expected) => {
    const world = await startWorld()
    await world.create('a')
    await world.write('a', '/home/sprite/state', 'used')
    await world.close()
    const folder = join(world.dataDir, 'sprites/a')
    await cut(folder)
    const next = await startWorld({ dataDir: world.dataDir })
    expect((await next.read('a', '/home/sprite/state')).text).toBe(expected)
    expect((await readdir(folder)).filter((name) => name.startsWith('disk'))).toEqual(['disk'])
  })

  it('in a create or a delete, leaves nothing of it', async () => {
    const world = await startWorld()
    await world.create('a')
    await world.close()
    await mkdir(join(world.dataDir, 'sprites/.new-1/disk'), { recursive: true })
    await rename(join(world.dataDir, 'sprites/a'), join(world.dataDir, 'sprites/.gone-1'))
    const next = await startWorld({ dataDir: world.dataDir })
    expect((await next.json('GET', '/sprites')).body.sprites).toEqual([])
    expect(await readdir(join(world.dataDir, 'sprites'))).toEqual([])
  })

  it('in a checkpoint, leaves no checkpoint', async () => {
    const world = await startWorld()
    await world.create('a')
    await mkdir(join(world.dataDir, 'sprites/a/checkpoints/partial-v1/disk'), { recursive: true })
    expect((await world.json('GET', '/sprites/a/checkpoints')).body).toHaveLength(1)
    expect((await world.lines('POST', '/sprites/a/checkpoint')).at(-1)?.data).toBe(
      'Checkpoint v1 created successfully',
    )
  })
})

describe('the data directory', () => {
  it('belongs to its owner alone', async () => {
    const world = await startWorld()
    expect((await stat(world.dataDir)).mode & 0o777).toBe(0o700)
  })

  it('is held by one emulator at a time, and says by which', async () => {
    const world = await startWorld()
    const second = startEmulator({ dataDir: world.dataDir, token: TOKEN })
    await expect(second).rejects.toThrow(DataDirInUse)
    await expect(second).rejects.toThrow(String(process.pid))
    await world.close()
    await startWorld({ dataDir: world.dataDir })
  })

  it('is given to exactly one of several that start at once, also after a crash', async () => {
    const dataDir = join(await temporaryFolder(), 'data')
    const killed = await startChild(dataDir)
    await killed.kill()
    expect(await readFile(join(dataDir, 'emulator.lock'), 'utf8')).toContain('pid')
    const starts = await Promise.allSettled([1, 2, 3, 4].map(() => startEmulator({ dataDir, token: TOKEN })))
    const started = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []))
    for (const emulator of started) await emulator.close()
    expect(started).toHaveLength(1)
  })

  it('is given back when the start fails', async () => {
    const dataDir = join(await temporaryFolder(), 'data')
    await mkdir(dataDir)
    await writeFile(join(dataDir, 'sprites'), 'in the way')
    await expect(startEmulator({ dataDir, token: TOKEN })).rejects.toThrow('EEXIST')
    await rm(join(dataDir, 'sprites'))
    await startWorld({ dataDir })
  })

  it('is the only place that is written to', async () => {
    const root = await temporaryFolder()
    const before = await stat('/usr/local/bin')
    const world = await startWorld({ dataDir: join(root, 'data') })
    await world.create('a')
    await world.bash(
      'a',
      'npm install -g pnpm; sudo apt-get install -y git; echo x >~/x; git config --global user.name x; git init -q r; cd r; git commit -q --allow-empty -m x --author "x <x@x>" || true',
    )
    await world.lines('POST', '/sprites/a/checkpoint')
    await world.lines('POST', '/sprites/a/checkpoints/v1/restore')
    await world.close()
    expect(await readdir(root)).toEqual(['data'])
    expect((await readdir(join(root, 'data'))).toSorted()).toEqual(['emulator.json', 'sprites', 'standins'])
    expect(await readdir(join(root, 'data/sprites'))).toEqual(['a'])
    expect((await stat('/usr/local/bin')).mtimeMs).toBe(before.mtimeMs)
  })

  it('may have blanks, quotes and dollars in its name', async () => {
    const world = await startWorld({ dataDir: join(await temporaryFolder(), `it's $HOME "here"`) })
    await world.create('a')
    const ran = await world.bash('a', 'npm install -g pnpm && pnpm -v && sudo node -p 1+1')
    expect(ran).toEqual({ code: 0, stdout: '10.23.0\n2\n', stderr: '' })
    await world.bash('a', DETACHED)
  })
})

describe('checkTools', () => {
  it('finds git and bash on this machine', async () => {
    expect(await checkTools()).toBe(null)
  })

  it('names what is missing in one sentence', async () => {
    expect(await checkTools([])).toBe(
      'The local Sprites need git and bash: install git and bash and start again.',
    )
  })
})
