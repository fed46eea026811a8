import { mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { commitStandin, ensureStandinRepo } from '../../deploy/local/standin-repo.ts'
import { SETUP_REFUSED, setupEnv } from '../../deploy/sprite/templates.ts'
import { createSpriteFolder, isAlive, type SpriteFolder } from '../support/sprite-folder.ts'

let repoDir: string
let repo: string
let head: string
let sprite: SpriteFolder

beforeAll(async () => {
  repoDir = join(await mkdtemp(join(tmpdir(), 'standin-')), 'openclaw.git')
  repo = (await ensureStandinRepo({ dir: repoDir })).url
  head = await version({})
})
afterAll(() => rm(join(repoDir, '..'), { recursive: true, force: true }))

beforeEach(async () => {
  const created = await createSpriteFolder()
  sprite = created
  onTestFinished(() => created.remove())
})

/** A commit on `staging` that behaves so. */
async function version(
  settings: Record<string, unknown>,
  files: Record<string, string> = {},
): Promise<string> {
  const standin = {
    bootMs: 0,
    buildMs: 0,
    failBuild: false,
    neverReady: false,
    failClaims: false,
    extraField: false,
    ...settings,
  }
  return commitStandin({
    dir: repoDir,
    branch: 'staging',
    files: { 'standin.json': JSON.stringify(standin), ...files },
    message: 'another version',
  })
}

async function ask(attempt: string, commit: string | null, ref = 'staging', from = repo) {
  await sprite.write('home/sprite/.clawpool/setup.env', setupEnv({ attempt, repo: from, ref, commit }))
}

async function start(attempt: string, commit: string | null, ref?: string, from?: string) {
  await ask(attempt, commit, ref, from)
  expect(await sprite.setup()).toEqual({ code: 0, stdout: '', stderr: '' })
}

/** A host of repositories that answers every request so, as `address:port`. */
async function hostThatAnswers(status: number): Promise<string> {
  const host = createServer((_, response) => {
    response.writeHead(status, { 'www-authenticate': 'Basic realm="git"' }).end()
  })
  await new Promise<void>((resolve) => host.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void host.close())
  return `127.0.0.1:${(host.address() as AddressInfo).port}`
}

describe('a build', () => {
  it('goes from the launch to an OpenClaw that can be started', async () => {
    const began = performance.now()
    await start('try-1', head)
    const status = await sprite.until(({ exit }) => exit !== null)

    expect(status).toMatchObject({
      attempt: 'try-1',
      phase: 'workspace',
      percent: 100,
      commit: head,
      home: sprite.home,
      exit: 0,
      error: null,
      takes: ['instructions', 'profileName', 'description', 'imageUrl', 'permissions', 'profileImage'],
    })
    expect(performance.now() - began).toBeLessThan(10_000) // about 1 s; the rest is for a busy machine
    expect(JSON.parse(await sprite.read('openclaw/extensions/convos/package.json'))).toMatchObject({
      devDependencies: { openclaw: '*' },
      peerDependencies: { openclaw: '*' },
    })
    expect((await stat(join(sprite.home, '.openclaw/workspace'))).isDirectory()).toBe(true)
    const openclaw = await sprite.exec([join(sprite.root, 'usr/local/bin/openclaw'), 'no', 'such', 'command'])
    expect(openclaw.stderr).toContain('unknown command: no such command')
  })

  it('builds what the ref is now where no commit is pinned', async () => {
    const newest = await version({ extraField: true })
    await start('try-1', null)
    expect(await sprite.until(({ exit }) => exit !== null)).toMatchObject({ exit: 0, commit: newest })
  })

  it('says that it has begun before the launcher returns, and outlives it', async () => {
    await start('try-1', await version({ buildMs: 1500 }))
    const first = await sprite.status()
    expect(first).toMatchObject({ attempt: 'try-1', exit: null, takes: [] })
    const last = await sprite.until(({ exit }) => exit !== null)
    expect(last.exit).toBe(0)
    expect(last.beat).toBeGreaterThan(first.beat)
  })

  it('removes instructions and identities that a build or an earlier try left', async () => {
    await sprite.exec(['mkdir', '-p', '.convos/identities', '.openclaw/workspace'])
    await sprite.write('home/sprite/.openclaw/workspace/INSTRUCTIONS.md', 'not for the next one')
    await start('try-1', head)
    expect((await sprite.until(({ exit }) => exit !== null)).exit).toBe(0)
    expect((await sprite.exec(['ls', '-A', '.openclaw/workspace'])).stdout).toBe('')
    expect((await sprite.exec(['ls', '-d', '.convos'])).code).not.toBe(0)
  })

  it('leaves out of `takes` what the extension only talks about', async () => {
    const source =
      '// instructions, profileName and permissions will come\nexport const a = (body) => body.imageUrl\n'
    const files = Object.fromEntries(
      ['index.js', 'conversation.js', 'http.js', 'config.js', 'cli.js'].map((name) => [
        `extensions/convos/${name}`,
        source,
      ]),
    )
    await start('try-1', await version({}, files))
    expect(await sprite.until(({ exit }) => exit !== null)).toMatchObject({ exit: 0, takes: ['imageUrl'] })
    await version({}, await sources()) // the branch is everybody's
  })

  it('beats while a phase is silent, and holds the Sprite awake until it ends', async () => {
    const calls: string[] = []
    const tasks = new Set<string>()
    const server = createServer((request, response) => {
      calls.push(`${request.method} ${request.url}`)
      const known = tasks.has('clawpool-setup')
      if (request.method === 'POST') tasks.add('clawpool-setup')
      response.writeHead(request.method === 'POST' ? 201 : known ? 200 : 404).end()
    })
    await sprite.exec(['mkdir', '-p', join(sprite.root, '.sprite')])
    await new Promise<void>((resolve) => server.listen(join(sprite.root, '.sprite/api.sock'), resolve))
    onTestFinished(() => void server.close())

    await start('try-1', await version({ buildMs: 11_000 }))
    const { beat } = await sprite.until(({ phase }) => phase === 'build')
    const later = await sprite.until((now) => now.beat > beat)
    expect(later).toMatchObject({ phase: 'build', exit: null })
    expect(await sprite.until(({ exit }) => exit !== null)).toMatchObject({ exit: 0 })
    expect(calls.slice(0, 2)).toEqual(['PUT /v1/tasks/clawpool-setup', 'POST /v1/tasks'])
    expect(calls.at(-1)).toBe('DELETE /v1/tasks/clawpool-setup')
  })
})

describe('a build that fails', () => {
  it('ends with its exit code, the phase and what was said last', async () => {
    await start('try-1', await version({ failBuild: true }))
    const { exit, error, phase } = await sprite.until((status) => status.exit !== null)
    expect({ exit, phase }).toEqual({ exit: 2, phase: 'build' })
    expect(error).toBe('build: src/entry.ts(1,1): error TS2304: Cannot find name "standin".')
  })

  it('reports any output as one short printable line', async () => {
    const noise = `console.error('\\u001b[31mred\\u001b[0m "quoted" back\\\\slash\\ttab \\u0007 ünï')
      console.error('https://user:word@example.com/x ' + 'y'.repeat(400) + ' the end')
      process.exit(7)`
    await start('try-1', await version({}, { 'build.js': noise }))
    const { exit, error } = await sprite.until((status) => status.exit !== null)
    await version({}, await sources())
    expect(exit).toBe(7)
    expect(error?.length).toBeLessThanOrEqual(300)
    expect(error).toMatch(/^build:[\x20-\x7e]+ the end$/)
    expect(await sprite.read('home/sprite/.clawpool/setup.log')).toContain('"quoted"')
  })

  it.each([
    ['a ref', null, 'no-such-branch'],
    ['a commit', 'f'.repeat(40), 'staging'],
  ])('names %s that is not there, and says that trying again cannot help', async (_, commit, ref) => {
    await start('try-1', commit, ref)
    const { exit, error } = await sprite.until((status) => status.exit !== null)
    expect(exit).toBe(SETUP_REFUSED)
    expect(error).toMatch(new RegExp(`^clone: .*${commit ?? ref}`))
  })

  it.each([
    [401, 'wants a name', SETUP_REFUSED],
    [404, 'has no such repository', SETUP_REFUSED],
    [403, 'has had enough of us', 1],
    [503, 'is in trouble', 1],
  ])('may be tried again or not by what its host answers: %d, which %s', async (status, _, expected) => {
    await start('try-1', null, 'staging', `http://${await hostThatAnswers(status)}/openclaw`)
    expect(await sprite.until(({ exit }) => exit !== null)).toMatchObject({ phase: 'clone', exit: expected })
  })

  it('is refused as well where it brings a name and a word that its host does not take', async () => {
    await start('try-1', null, 'staging', `http://user:canary-word@${await hostThatAnswers(401)}/openclaw`)
    const { exit, error } = await sprite.until((status) => status.exit !== null)
    expect(exit).toBe(SETUP_REFUSED)
    expect(error).toContain('Authentication failed')
    expect(error).not.toContain('canary-word')
  })
})

describe('one attempt', () => {
  it('is built once, however often it is started', async () => {
    await start('try-1', await version({ buildMs: 1500 }))
    const pid = await sprite.buildPid()
    const again = await Promise.all([sprite.setup(), sprite.setup(), sprite.setup()])
    expect(again.map(({ code }) => code)).toEqual([0, 0, 0])
    expect(await sprite.buildPid()).toBe(pid)

    await sprite.until(({ exit }) => exit === 0)
    const written = await sprite.read('home/sprite/.clawpool/setup.json')
    expect(await sprite.setup()).toMatchObject({ code: 0 })
    expect(await sprite.read('home/sprite/.clawpool/setup.json')).toBe(written)
  })

  it('runs once when it is started several times at once', async () => {
    await ask('try-1', await version({ buildMs: 500 }))
    const starts = await Promise.all([sprite.setup(), sprite.setup(), sprite.setup()])
    expect(starts.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
      Array(3).fill({ code: 0, stderr: '' }),
    )
    expect((await sprite.until(({ exit }) => exit !== null)).exit).toBe(0)
    const log = await sprite.read('home/sprite/.clawpool/setup.log')
    expect(log.match(/^== tools$/gm)).toHaveLength(1)
  })

  it('is taken up again after its build was killed, with a beat that goes on growing', async () => {
    await start('try-1', await version({ buildMs: 60_000 }))
    await sprite.until(({ phase }) => phase === 'build')
    const pid = await sprite.buildPid()
    const child = await childOf(pid)
    process.kill(pid, 'SIGKILL')
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 5000 })
    const { beat } = await sprite.status()
    expect(isAlive(child)).toBe(true) // what the killed build was running goes on

    await start('try-1', head)
    expect(isAlive(child)).toBe(false)
    const status = await sprite.until(({ exit }) => exit !== null)
    expect(status).toMatchObject({ exit: 0, commit: head })
    expect(status.beat).toBeGreaterThan(beat)
  })
})

describe('another attempt', () => {
  it('ends the build that runs, and all that it runs, before it begins', async () => {
    await start('try-1', await version({ buildMs: 60_000 }))
    await sprite.until(({ phase }) => phase === 'build')
    const pid = await sprite.buildPid()
    const child = await childOf(pid)

    await start('try-2', head)
    expect({ build: isAlive(pid), child: isAlive(child) }).toEqual({ build: false, child: false })
    expect(await sprite.until(({ exit }) => exit !== null)).toMatchObject({ attempt: 'try-2', exit: 0 })
  })

  it('ends the build that runs even when only setup.env names it', async () => {
    await start('try-1', await version({ buildMs: 1000 }))
    await sprite.until(({ phase }) => phase === 'build')
    const pid = await sprite.buildPid()
    await ask('try-2', head)
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 15_000 })
    expect(await sprite.status()).toMatchObject({ attempt: 'try-1', phase: 'build', exit: null })
  })

  it('leaves a process alone that merely got the old number', async () => {
    const bystander = process.pid
    await sprite.write('home/sprite/.clawpool/setup.pid', `${bystander} 1 try-1\n`)
    await start('try-2', head)
    expect((await sprite.until(({ exit }) => exit !== null)).exit).toBe(0)
    expect(isAlive(bystander)).toBe(true)
  })
})

describe('the launcher refuses', () => {
  it.each([
    ['no setup.env', null],
    ['a value that a shell would run', 'ATTEMPT=$(touch$IFS+ran)\nREPO=r\nREF=main\nCOMMIT=\n'],
    ['a value that is an option', 'ATTEMPT=a\nREPO=--upload-pack\nREF=main\nCOMMIT=\n'],
    ['an empty attempt', 'ATTEMPT=\nREPO=r\nREF=main\nCOMMIT=\n'],
    ['a repository in two words', 'ATTEMPT=a\nREPO=r s\nREF=main\nCOMMIT=\n'],
  ])('%s', async (_, content) => {
    if (content !== null) await sprite.write('home/sprite/.clawpool/setup.env', content)
    expect(await sprite.setup()).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('setup.env is missing'),
    })
    expect((await sprite.exec(['ls', '-A', '.'])).stdout).toBe('.clawpool\n')
  })

  it('an /openclaw that leads outside the folder', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'outside-'))
    onTestFinished(() => rm(outside, { recursive: true }))
    await writeFile(join(outside, 'mine'), 'untouched')
    await symlink(outside, join(sprite.root, 'openclaw'))
    await ask('try-1', head)
    expect(await sprite.setup()).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('outside SPRITE_ROOT'),
    })
    expect(await readFile(join(outside, 'mine'), 'utf8')).toBe('untouched')
  })

  it.each([
    ['a root that is the whole machine', { SPRITE_ROOT: '/' }],
    ['a root that is not there', { SPRITE_ROOT: '/no/such/folder' }],
    ['a home outside the root', { SPRITE_HOME: '/tmp' }],
    ['a root without a home', { SPRITE_HOME: '' }],
  ])('%s', async (_, changes) => {
    await ask('try-1', head)
    expect(await sprite.setup(changes)).toMatchObject({ code: 2, stdout: '' })
  })
})

/** The program that the running phase runs: the build's own child's child. */
async function childOf(pid: number): Promise<number> {
  return vi.waitFor(
    async () => {
      const { stdout } = await sprite.exec(['ps', '-A', '-o', 'pid=,pgid=,args='])
      const line = stdout.split('\n').find((row) => row.includes(` ${pid} `) && row.includes('build.js'))
      if (line === undefined) throw new Error(`no build.js in group ${pid}`)
      return Number(line.trim().split(' ')[0])
    },
    { timeout: 5000 },
  )
}

/** The stand-in's own files, to put back what a version changed. */
async function sources(): Promise<Record<string, string>> {
  const folder = new URL('../../deploy/local/openclaw-standin/', import.meta.url)
  const paths = [
    'build.js',
    ...['index', 'conversation', 'http', 'config', 'cli'].map((name) => `extensions/convos/${name}.js`),
  ]
  const files = paths.map(async (path) => [path, await readFile(new URL(path, folder), 'utf8')] as const)
  return Object.fromEntries(await Promise.all(files))
}
