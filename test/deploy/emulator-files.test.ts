import { mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { startWorld, temporaryFolder } from './emulator-world.ts'

async function withSprite() {
  const world = await startWorld()
  await world.create('s')
  return { ...world, disk: join(world.dataDir, 'sprites/s/disk') }
}

describe('the file API', () => {
  it('writes bytes with a mode, makes parents, and reads the same bytes', async () => {
    const world = await withSprite()
    const bytes = Buffer.from([0, 255, 10, 13, 0])
    const query = 'path=/home/sprite/a/b/c.bin&workingDir=/&mode=0600&mkdirParents=true&mkdir=true'
    const written = await world.json('PUT', `/sprites/s/fs/write?${query}`, bytes)
    expect(written).toEqual({ status: 200, body: { path: '/home/sprite/a/b/c.bin', size: 5, mode: '0600' } })
    const read = await world.call('GET', '/sprites/s/fs/read?path=c.bin&workingDir=/home/sprite/a/b')
    expect(Buffer.from(await read.arrayBuffer())).toEqual(bytes)
    expect((await stat(join(world.disk, 'home/sprite/a/b/c.bin'))).mode & 0o777).toBe(0o600)
  })

  it('changes the mode of an old file only when one is named', async () => {
    const world = await withSprite()
    await world.write('s', '/home/sprite/f', 'one', '0600')
    await world.json('PUT', '/sprites/s/fs/write?path=/home/sprite/f&workingDir=/', Buffer.from('two'))
    const { body } = await world.list('s', '/home/sprite/f')
    expect(body.entries).toEqual([
      {
        name: 'f',
        path: '/home/sprite/f',
        type: 'file',
        size: 3,
        mode: '0600',
        modTime: expect.any(String),
        isDir: false,
      },
    ])
  })

  it('says that a path is missing by 404 without a code', async () => {
    const world = await withSprite()
    const missing = { status: 404, body: { error: 'no such file or directory' } }
    for (const path of ['/nowhere', '/nowhere/below']) {
      const query = `path=${path}&workingDir=/`
      expect(await world.json('GET', `/sprites/s/fs/read?${query}`)).toEqual(missing)
      expect(await world.json('GET', `/sprites/s/fs/list?${query}`)).toEqual(missing)
      expect(await world.json('DELETE', `/sprites/s/fs/delete?${query}`)).toEqual(missing)
    }
    expect(
      await world.json('PUT', '/sprites/s/fs/write?path=/no/parent&workingDir=/', Buffer.from('')),
    ).toEqual(missing)
    expect(
      await world.json('POST', '/sprites/s/fs/rename', { source: '/a', dest: '/b', workingDir: '/' }),
    ).toEqual(missing)
  })

  it('lists an empty directory as null', async () => {
    const world = await withSprite()
    expect((await world.list('s', '/tmp')).body).toEqual({ path: '/tmp', entries: null, count: 0 })
  })

  it('lists below a directory when asked to, and by pattern', async () => {
    const world = await withSprite()
    for (const path of ['/tmp/a.txt', '/tmp/d/b.txt', '/tmp/d/c.log']) await world.write('s', path, 'x')
    const paths = async (more: string) => {
      const { body } = await world.json('GET', `/sprites/s/fs/list?path=/tmp&workingDir=/${more}`)
      return body.entries.map(({ path }: { path: string }) => path)
    }
    expect(await paths('')).toEqual(['/tmp/a.txt', '/tmp/d'])
    expect(await paths('&recursive=true')).toEqual(['/tmp/a.txt', '/tmp/d', '/tmp/d/b.txt', '/tmp/d/c.log'])
    expect(await paths('&recursive=true&pattern=*.txt')).toEqual(['/tmp/a.txt', '/tmp/d/b.txt'])
  })

  it('renames over an old file, copies, changes modes and deletes', async () => {
    const world = await withSprite()
    await world.write('s', '/tmp/a', 'new')
    await world.write('s', '/tmp/b', 'old')
    expect(
      (await world.json('POST', '/sprites/s/fs/rename', { source: 'a', dest: 'b', workingDir: '/tmp' }))
        .status,
    ).toBe(200)
    expect((await world.read('s', '/tmp/b')).text).toBe('new')
    expect((await world.read('s', '/tmp/a')).status).toBe(404)

    const copied = await world.json('POST', '/sprites/s/fs/copy', {
      source: '/tmp/b',
      dest: '/tmp/c',
      workingDir: '/',
    })
    expect(copied.body).toMatchObject({ count: 1, totalBytes: 3 })

    await world.write('s', '/tmp/d/e', 'x')
    const changed = await world.json('POST', '/sprites/s/fs/chmod', {
      path: '/tmp/d',
      workingDir: '/',
      mode: '0700',
      recursive: true,
    })
    expect(changed.body).toEqual({ affected: ['/tmp/d', '/tmp/d/e'], count: 2 })
    expect((await stat(join(world.disk, 'tmp/d/e'))).mode & 0o777).toBe(0o700)

    expect(await world.json('DELETE', '/sprites/s/fs/delete?path=/tmp/d&workingDir=/')).toMatchObject({
      status: 409,
      body: { code: 'ENOTEMPTY' },
    })
    expect(
      await world.json('DELETE', '/sprites/s/fs/delete?path=/tmp/d&workingDir=/&recursive=true'),
    ).toEqual({
      status: 200,
      body: { deleted: ['/tmp/d'], count: 1 },
    })
    expect((await world.list('s', '/tmp/d')).status).toBe(404)
  })

  it.each([
    ['reading a directory', 'GET', 'read?path=/tmp&workingDir=/', 400],
    ['a file in the place of a directory', 'GET', 'read?path=/home/sprite/.profile/x&workingDir=/', 400],
    ['no path', 'GET', 'read?workingDir=/', 400],
    ['a mode that is none', 'PUT', 'write?path=/tmp/x&workingDir=/&mode=99', 400],
    ['a zero byte', 'GET', 'read?path=/tmp/%00&workingDir=/', 400],
  ])('refuses %s', async (_, method, rest, status) => {
    const world = await withSprite()
    const answer = await world.json(method, `/sprites/s/fs/${rest}`)
    expect(answer.status).toBe(status)
  })
})

describe('a pipe', () => {
  it('is neither read nor written, and holds nothing up', async () => {
    const world = await withSprite()
    await world.bash('s', 'mkfifo pipe')
    expect((await world.read('s', '/home/sprite/pipe')).status).toBe(400)
    expect((await world.write('s', '/home/sprite/pipe', 'x')).status).toBe(400)
    expect((await world.write('s', '/home/sprite/f', 'x')).status).toBe(200)
  })
})

describe('the walls', () => {
  it("keeps every path below the Sprite's root, however many .. it has", async () => {
    const world = await withSprite()
    await world.write('s', '/../../../../../../tmp/inside', 'x')
    await world.write('s', '/home/sprite/../../../../../tmp/also', 'x')
    expect(await readFile(join(world.disk, 'tmp/inside'), 'utf8')).toBe('x')
    expect(await readFile(join(world.disk, 'tmp/also'), 'utf8')).toBe('x')
  })

  it('follows no link that leads out, for no call', async () => {
    const world = await withSprite()
    const outside = await temporaryFolder()
    await writeFile(join(outside, 'secret'), 'kept')
    await symlink(outside, join(world.disk, 'tmp/dir'))
    await symlink(join(outside, 'secret'), join(world.disk, 'tmp/file'))
    await symlink(join(outside, 'new'), join(world.disk, 'tmp/dangling'))
    const denied = { status: 403, body: { error: 'permission denied', code: 'EACCES' } }

    for (const path of ['/tmp/dir/secret', '/tmp/file', '/tmp/dangling', '/tmp/dir/made']) {
      expect(await world.json('GET', `/sprites/s/fs/read?path=${path}&workingDir=/`)).toEqual(denied)
      expect(await world.write('s', path, 'changed')).toEqual(denied)
      expect(await world.json('POST', '/sprites/s/fs/chmod', { path, mode: '0777' })).toEqual(denied)
      expect(await world.json('POST', '/sprites/s/fs/copy', { source: path, dest: '/tmp/copy' })).toEqual(
        denied,
      )
    }
    expect(await world.list('s', '/tmp/dir/')).toMatchObject({ body: { entries: [{ type: 'symlink' }] } })
    for (const path of ['/tmp/dir/secret', '/tmp/dir/x']) {
      expect(await world.json('DELETE', `/sprites/s/fs/delete?path=${path}&workingDir=/`)).toEqual(denied)
      expect(await world.json('POST', '/sprites/s/fs/rename', { source: path, dest: '/tmp/stolen' })).toEqual(
        denied,
      )
      expect(
        await world.json('POST', '/sprites/s/fs/rename', { source: '/home/sprite/.profile', dest: path }),
      ).toEqual(denied)
    }
    expect(await world.json('POST', '/sprites/s/exec?cmd=pwd&dir=/tmp/dir')).toMatchObject({ status: 403 })
    expect(await readFile(join(outside, 'secret'), 'utf8')).toBe('kept')
    await expect(stat(join(outside, 'new'))).rejects.toThrow('ENOENT')
    await expect(stat(join(outside, 'made'))).rejects.toThrow('ENOENT')
  })

  it('deletes a link, never what it points at', async () => {
    const world = await withSprite()
    const outside = await temporaryFolder()
    await mkdir(join(outside, 'd'))
    await symlink(join(outside, 'd'), join(world.disk, 'tmp/link'))
    expect(
      (await world.json('DELETE', '/sprites/s/fs/delete?path=/tmp/link&workingDir=/&recursive=true')).status,
    ).toBe(200)
    expect((await stat(join(outside, 'd'))).isDirectory()).toBe(true)
  })

  it('never takes the root itself away', async () => {
    const world = await withSprite()
    expect(
      (await world.json('DELETE', '/sprites/s/fs/delete?path=/&workingDir=/&recursive=true')).status,
    ).toBe(403)
  })
})
