import { lstat, readdir, readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { isRunning, startWorld, until } from './emulator-world.ts'

async function withSprite() {
  const world = await startWorld()
  const sprite = await world.create('s', { labels: ['kept'], url_settings: { auth: 'public' } })
  return { ...world, sprite, folder: join(world.dataDir, 'sprites/s') }
}

describe('a checkpoint', () => {
  it('is made in a stream of prose, as it was recorded', async () => {
    const world = await withSprite()
    const lines = await world.lines('POST', '/sprites/s/checkpoint', { comment: 'golden' })
    expect(lines.map(({ type, data }) => [type, data?.replace(/\d{4}-.*$/, '<time>')])).toEqual([
      ['info', 'Creating checkpoint...'],
      ['info', 'Checkpoint created successfully'],
      ['info', '\nCheckpoint Details:'],
      ['info', '  ID: v1'],
      ['info', '  Created: <time>'],
      ['info', '  Path: checkpoints/v1'],
      ['info', '\nTo restore this checkpoint:'],
      ['complete', 'Checkpoint v1 created successfully'],
    ])
  })

  it('is found in the list by its comment, beside an entry that stands for the running disk', async () => {
    const world = await withSprite()
    await world.lines('POST', '/sprites/s/checkpoint', { comment: 'one' })
    await world.lines('POST', '/sprites/s/checkpoint')
    const { body } = await world.json('GET', '/sprites/s/checkpoints?includeAuto=true')
    expect(body.map(({ id, comment }: { id: string; comment: string }) => [id, comment])).toEqual([
      ['Current', ''],
      ['v2', ''],
      ['v1', 'one'],
    ])
    expect((await world.json('GET', '/sprites/s/checkpoints/v1')).body).toMatchObject({
      id: 'v1',
      comment: 'one',
    })
    expect((await world.json('GET', '/sprites/s/checkpoints/v3')).status).toBe(404)
  })

  it('is counted for each Sprite apart, and gone with it', async () => {
    const world = await withSprite()
    await world.create('t')
    for (const name of ['s', 't']) {
      const lines = await world.lines('POST', `/sprites/${name}/checkpoint`)
      expect(lines.at(-1)?.data).toBe('Checkpoint v1 created successfully')
    }
    await world.call('DELETE', '/sprites/t')
    await world.create('t')
    expect((await world.json('GET', '/sprites/t/checkpoints')).body).toHaveLength(1)
  })

  it('passes over sockets and pipes, which are no content', async () => {
    const world = await withSprite()
    await world.bash(
      's',
      'mkfifo pipe; node -e \'require("net").createServer().listen("sock", () => process.exit(0))\'; echo x >file',
    )
    await world.bash(
      's',
      'node -e \'require("net").createServer().listen("live")\' </dev/null >/dev/null 2>&1 & sleep 0.1',
    )
    expect((await world.lines('POST', '/sprites/s/checkpoint')).at(-1)?.type).toBe('complete')
    expect((await readdir(join(world.folder, 'checkpoints/v1/disk/home/sprite'))).toSorted()).toEqual([
      '.profile',
      'file',
    ])
  })

  it('does not stop what runs for longer than the copy takes', async () => {
    const world = await withSprite()
    const { stdout } = await world.bash(
      's',
      'setsid bash -c "while :; do date +%N >beat; sleep 0.02; done" </dev/null >/dev/null 2>&1 & echo $!',
    )
    await world.lines('POST', '/sprites/s/checkpoint')
    const before = (await world.read('s', '/home/sprite/beat')).text
    await until(async () => expect((await world.read('s', '/home/sprite/beat')).text).not.toBe(before))
    expect(await isRunning(Number(stdout))).toBe(true)
  })
})

describe('a restore', () => {
  it('brings the disk back as it was: contents, modes, times and links', async () => {
    const world = await withSprite()
    await world.bash(
      's',
      'umask 022; echo golden >f; chmod 600 f; ln -s f link; mkdir d; touch -d "2020-01-01T00:00:00Z" d/old; chmod 555 d; mkdir empty; echo 1 >"$SPRITE_ROOT/usr/local/bin/tool"',
    )
    await world.lines('POST', '/sprites/s/checkpoint', { comment: 'golden' })
    await world.bash(
      's',
      'echo used >f; rm link; chmod 755 d; rm -r d empty; mkdir -p .convos; rm "$SPRITE_ROOT/usr/local/bin/tool"',
    )

    const lines = await world.lines('POST', '/sprites/s/checkpoints/v1/restore')
    expect(lines.map(({ type }) => type)).toEqual(['info', 'complete'])

    const home = join(world.folder, 'disk/home/sprite')
    expect((await readdir(home)).toSorted()).toEqual(['.profile', 'd', 'empty', 'f', 'link'])
    expect((await world.read('s', '/home/sprite/f')).text).toBe('golden\n')
    expect((await stat(join(home, 'f'))).mode & 0o777).toBe(0o600)
    expect((await stat(join(home, 'd'))).mode & 0o777).toBe(0o555)
    expect((await stat(join(home, 'd/old'))).mtime.toISOString()).toBe('2020-01-01T00:00:00.000Z')
    expect((await lstat(join(home, 'link'))).isSymbolicLink()).toBe(true)
    expect(await readlink(join(home, 'link'))).toBe('f')
    expect((await world.read('s', '/usr/local/bin/tool')).text).toBe('1\n')
    expect((await readdir(world.folder)).toSorted()).toEqual([
      'checkpoints',
      'disk',
      'logs',
      'processes',
      'sprite.json',
    ])
  })

  it('can be made again from the same checkpoint', async () => {
    const world = await withSprite()
    await world.lines('POST', '/sprites/s/checkpoint')
    for (const word of ['one', 'two']) {
      await world.write('s', '/home/sprite/used', word)
      expect((await world.lines('POST', '/sprites/s/checkpoints/v1/restore')).at(-1)?.type).toBe('complete')
      expect((await world.read('s', '/home/sprite/used')).status).toBe(404)
    }
  })

  it('keeps id, URL, labels and settings', async () => {
    const world = await withSprite()
    await world.lines('POST', '/sprites/s/checkpoint')
    await world.lines('POST', '/sprites/s/checkpoints/v1/restore')
    expect((await world.json('GET', '/sprites/s')).body).toEqual(world.sprite)
  })

  it('ends every process first, also those that left their session, their group, or ignore TERM', async () => {
    const world = await withSprite()
    await world.lines('POST', '/sprites/s/checkpoint')
    const scripts = [
      'setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!',
      'sleep 1000 </dev/null >/dev/null 2>&1 & echo $!',
      'setsid bash -c "trap : TERM; while :; do sleep 0.2; done" </dev/null >/dev/null 2>&1 & echo $!',
      'set -m; (cd /; sleep 1000) </dev/null >/dev/null 2>&1 & echo $!',
    ]
    const pids = await Promise.all(
      scripts.map(async (script) => Number((await world.bash('s', script)).stdout)),
    )
    for (const pid of pids) expect(await isRunning(pid)).toBe(true)
    const running = world.bash('s', 'echo $$; sleep 1000').catch(() => null)

    await world.lines('POST', '/sprites/s/checkpoints/v1/restore')
    for (const pid of pids) expect(await isRunning(pid)).toBe(false)
    expect((await running)?.code ?? null).toBe(null)
  })

  it('does not touch the processes of another Sprite', async () => {
    const world = await withSprite()
    await world.create('s2')
    const { stdout } = await world.bash('s2', 'setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!')
    await world.lines('POST', '/sprites/s/checkpoint')
    await world.lines('POST', '/sprites/s/checkpoints/v1/restore')
    await world.call('DELETE', '/sprites/s')
    expect(await isRunning(Number(stdout))).toBe(true)
  })

  it('fails inside the stream for an id of another Sprite, and changes nothing', async () => {
    const world = await withSprite()
    await world.create('t')
    await world.lines('POST', '/sprites/t/checkpoint')
    await world.write('s', '/home/sprite/f', 'kept')
    const { stdout } = await world.bash('s', 'setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!')
    const lines = await world.lines('POST', '/sprites/s/checkpoints/v1/restore')
    expect(lines.at(-1)).toMatchObject({
      type: 'error',
      error: expect.stringContaining('checkpoints/v1 not found'),
    })
    expect((await world.read('s', '/home/sprite/f')).text).toBe('kept')
    expect(await isRunning(Number(stdout))).toBe(true)
    expect((await world.json('POST', '/sprites/s/checkpoints/Current/restore')).status).toBe(404)
  })

  it('takes its turn: what is asked for meanwhile happens before it or after it, never in between', async () => {
    const world = await withSprite()
    await world.lines('POST', '/sprites/s/checkpoint')
    const [restored, ran, written] = await Promise.all([
      world.lines('POST', '/sprites/s/checkpoints/v1/restore'),
      world.bash('s', 'echo x >after && cat after'),
      world.write('s', '/home/sprite/written', 'y'),
    ])
    expect(restored.at(-1)?.type).toBe('complete')
    expect([0, null]).toContain(ran.code) // null: it ran first, and was ended
    expect(written.status).toBe(200)
    expect((await world.list('s', '/home/sprite')).status).toBe(200)
  })
})
