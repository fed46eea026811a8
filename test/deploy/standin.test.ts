import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { runGit } from '../../deploy/local/git.ts'
import { commitStandin, ensureStandinRepo } from '../../deploy/local/standin-repo.ts'
import { dotEnv, openclawJson, setupEnv } from '../../deploy/sprite/templates.ts'
import { createSpriteFolder, type SpriteFolder } from '../support/sprite-folder.ts'

const KEY = 'gateway-key-of-this-life'
const BOUND = {
  error: 'Instance already bound to a conversation. Terminate process and provision a new one.',
}

/** One disk that setup.sh built; each test has a home of its own on it. */
let sprite: SpriteFolder
let repoDir: string

beforeAll(async () => {
  repoDir = join(await mkdtemp(join(tmpdir(), 'standin-')), 'openclaw.git')
  const { url } = await ensureStandinRepo({ dir: repoDir })
  const commit = await version({})
  sprite = await createSpriteFolder()
  await sprite.write(
    'home/sprite/.clawpool/setup.env',
    setupEnv({ attempt: 'a', repo: url, ref: 'staging', commit }),
  )
  await sprite.setup()
  expect(await sprite.until(({ exit }) => exit !== null)).toMatchObject({ exit: 0 })
})
afterAll(async () => {
  await sprite.remove()
  await rm(dirname(repoDir), { recursive: true, force: true })
})

const SETTINGS = {
  bootMs: 0,
  buildMs: 0,
  failBuild: false,
  neverReady: false,
  failClaims: false,
  extraField: false,
}

const version = (settings: object) =>
  commitStandin({
    dir: repoDir,
    branch: 'staging',
    files: { 'standin.json': JSON.stringify({ ...SETTINGS, ...settings }) },
    message: 'a version',
  })

/** Behaves as another version from the next start on; the build only copies, so its outcome is not repeated. */
async function behave(settings: object) {
  await sprite.write('openclaw/standin.json', JSON.stringify({ ...SETTINGS, ...settings }))
  onTestFinished(() => sprite.write('openclaw/standin.json', JSON.stringify(SETTINGS)))
}

let home: string
let gateway: ChildProcess | null = null
let base: string

/** Starts the gateway as its service would, and waits until it listens. */
async function start(
  options: { listens?: boolean } = {},
): Promise<{ output: () => string; child: ChildProcess }> {
  const port = await freePort()
  base = `http://127.0.0.1:${port}`
  const child = spawn('bash', [join(sprite.dir, 'gateway.sh')], {
    env: { ...sprite.env, SPRITE_HOME: home, SPRITE_PORT_8080: String(port) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  gateway = child
  let output = ''
  const listening = new Promise<void>((resolve, reject) => {
    const onData = (chunk: string) => {
      output += chunk
      if (output.includes('listening')) resolve()
    }
    child.stdout.setEncoding('utf8').on('data', onData)
    child.stderr.setEncoding('utf8').on('data', onData)
    child.once('exit', () => reject(new Error(`the gateway ended: ${output}`)))
  })
  if (options.listens === false) listening.catch(() => {})
  else await listening
  return { output: () => output, child }
}

async function stop() {
  const child = gateway
  gateway = null
  if (!child || child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

async function call(method: string, path: string, body?: unknown, key: string | null = KEY) {
  const response = await fetch(base + path, {
    method,
    headers: key === null ? {} : { authorization: `Bearer ${key}` },
    body: body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  })
  return { status: response.status, body: JSON.parse(await response.text()) }
}

const post = (path: string, body?: unknown, key?: string | null) => call('POST', path, body, key)
const status = async (key?: string | null) => call('GET', '/convos/status', undefined, key)
const config = async () => JSON.parse(await readFile(join(home, '.openclaw/openclaw.json'), 'utf8'))
const instructions = () => readFile(join(home, '.openclaw/workspace/INSTRUCTIONS.md'), 'utf8')

beforeEach(async () => {
  home = await mkdtemp(join(sprite.root, 'home/other-'))
  await mkdir(join(home, '.openclaw'))
  const content = openclawJson({ xmtpEnv: 'dev', gatewayKey: KEY, gatewayToken: 'token' })
  await writeFile(join(home, '.openclaw/openclaw.json'), content, { mode: 0o600 })
  onTestFinished(stop)
})

describe('the gateway', () => {
  it('is ready and unbound, and checks method, then key, then state, then body', async () => {
    await start()
    expect(await status()).toEqual({
      status: 200,
      body: { ready: true, conversation: null, streaming: false },
    })
    expect(await post('/convos/status', {}, null)).toEqual({
      status: 405,
      body: { error: 'Method Not Allowed' },
    })
    expect(await status(null)).toEqual({ status: 401, body: { error: 'Unauthorized' } })
    expect(await post('/convos/conversation', '{', 'wrong')).toMatchObject({ status: 401 })
    expect(await post('/convos/rename', '{')).toEqual({
      status: 400,
      body: { error: 'No active conversation' },
    })
    expect((await post('/convos/join', '{')).status).toBe(500)
    await post('/convos/conversation')
    expect(await post('/convos/join', '{')).toEqual({ status: 409, body: BOUND })
  })

  it('creates a conversation: instructions byte for byte, an identity, a link, ids in the config', async () => {
    await start()
    const text = `"quotes" 'single' $(touch x) \`id\`\nINSTREOF\n${'🦞 lobster\r\n'.repeat(20_000)}`
    const body = { name: 'Ada', profileName: 'Ada', env: 'dev', instructions: text }
    const { status: code, body: answer } = await post('/convos/conversation', body)
    expect(code).toBe(200)
    expect(answer).toEqual({
      conversationId: expect.stringMatching(/^[0-9a-f]{32}$/),
      inviteUrl: `https://dev.convos.org/v2?i=${answer.inviteSlug}`,
      inviteSlug: expect.stringMatching(/^[\w-]{40}$/),
    })
    expect(await instructions()).toBe(text)
    expect(await readdir(join(home, '.convos/identities'))).toHaveLength(1)
    expect((await config()).channels.convos).toMatchObject({
      poolApiKey: KEY,
      ownerConversationId: answer.conversationId,
      identityId: expect.any(String),
    })
    expect((await config()).gateway.auth.token).toBe('token')
    expect((await stat(join(home, '.openclaw/openclaw.json'))).mode & 0o777).toBe(0o600)
    const bound = { ready: true, conversation: { id: answer.conversationId }, streaming: true }
    expect((await status()).body).toEqual(bound)
  })

  it('makes links of the domain that the request asks for', async () => {
    await start()
    const { body } = await post('/convos/conversation', { env: 'production' })
    expect(body.inviteUrl).toBe(`https://popup.convos.org/v2?i=${body.inviteSlug}`)
  })

  it('reads its key from the file at each request, and is open without one', async () => {
    await start()
    const fresh = openclawJson({ xmtpEnv: 'dev', gatewayKey: 'fresh', gatewayToken: 'token' })
    await writeFile(join(home, '.openclaw/openclaw.json'), fresh)
    expect([(await status()).status, (await status('fresh')).status]).toEqual([401, 200])
    await writeFile(join(home, '.openclaw/openclaw.json'), fresh.replace('"fresh"', '""'))
    expect((await status(null)).status).toBe(200)
  })

  it('is bound again after a restart, even after it exploded', async () => {
    await start()
    const { body } = await post('/convos/conversation', {})
    expect(await post('/convos/explode')).toEqual({ status: 200, body: { ok: true, exploded: true } })
    expect((await status()).body.conversation).toBeNull()
    await stop()
    await start()
    expect((await status()).body.conversation).toEqual({ id: body.conversationId })
    expect(await post('/convos/conversation', {})).toEqual({ status: 409, body: BOUND })
  })

  it('sends, renames and locks while it is bound', async () => {
    await start()
    await post('/convos/conversation', {})
    expect(await post('/convos/conversation/send', { message: 'hi' })).toMatchObject({
      status: 200,
      body: { success: true, messageId: expect.any(String) },
    })
    expect((await post('/convos/conversation/send', { message: 1 })).status).toBe(400)
    expect(await post('/convos/rename', { name: 'New' })).toEqual({ status: 200, body: { ok: true } })
    expect((await post('/convos/lock', {})).body).toEqual({ ok: true, locked: true })
    expect((await post('/convos/lock', { unlock: true })).body).toEqual({ ok: true, locked: false })
  })

  it('answers 500 to a body over 1 MB', async () => {
    await start()
    expect(await post('/convos/conversation', { instructions: 'x'.repeat(1_048_577) })).toEqual({
      status: 500,
      body: { error: 'Request body too large' },
    })
    expect((await status()).body.conversation).toBeNull()
  })

  it('reads the model key from .env and never shows it', async () => {
    await writeFile(join(home, '.openclaw/.env'), dotEnv({ anthropicApiKey: 'sk-ant-canary' }))
    const { output } = await start()
    expect(output()).toContain('model key present')
    expect(output()).not.toContain('canary')
  })

  it('does not start without a usable config', async () => {
    await rm(join(home, '.openclaw/openclaw.json'))
    await expect(start()).rejects.toThrow('openclaw.json is missing or not JSON')
  })
})

describe('joining', () => {
  const join_ = (slug: string) =>
    post('/convos/join', { inviteUrl: `https://dev.convos.org/v2?i=${slug}`, env: 'dev' })

  it('joins by a link, and by the same link the same conversation', async () => {
    await start()
    expect((await post('/convos/join', { inviteUrl: 7 })).body).toEqual({
      error: 'inviteUrl (string) is required',
    })
    const joined = await join_('abc')
    expect(joined).toMatchObject({ status: 200, body: { status: 'joined' } })
    expect((await status()).body.conversation).toEqual({ id: joined.body.conversationId })
    expect(await join_('abc')).toEqual({ status: 409, body: BOUND })
  })

  it('waits as often as the slug says, and makes an identity each time', async () => {
    await start()
    const waiting = { status: 200, body: { status: 'waiting_for_acceptance' } }
    expect([await join_('wait-2-x'), await join_('wait-2-x')]).toEqual([waiting, waiting])
    expect((await status()).body.conversation).toBeNull()
    expect((await join_('wait-2-x')).body.status).toBe('joined')
    expect(await readdir(join(home, '.convos/identities'))).toHaveLength(3)
  })

  it('fails by a slug that says so', async () => {
    await start()
    expect((await join_('fail')).status).toBe(500)
    expect((await join_('never')).body).toEqual({ status: 'waiting_for_acceptance' })
  })
})

describe('a version', () => {
  it('fails claims after it wrote the instructions', async () => {
    await behave({ failClaims: true })
    await start()
    expect((await post('/convos/conversation', { instructions: 'left behind' })).status).toBe(500)
    expect((await status()).body.conversation).toBeNull()
    expect(await instructions()).toBe('left behind')
  })

  it('lives and never listens', async () => {
    await behave({ neverReady: true })
    const { child, output } = await start({ listens: false })
    const said = AbortSignal.timeout(5000)
    while (!output().includes('starting')) await once(child.stdout ?? child, 'data', { signal: said })
    await expect(status()).rejects.toThrow()
    expect(child.exitCode).toBeNull()
  })

  it.each([
    [true, 'formal'],
    [false, undefined],
  ])('knows one field more: %s', async (extraField, tone) => {
    await behave({ extraField })
    await start()
    await post('/convos/conversation', { tone: 'formal' })
    const [file = ''] = await readdir(join(home, '.convos/identities'))
    const identity = JSON.parse(await readFile(join(home, '.convos/identities', file), 'utf8'))
    expect(identity.tone).toBe(tone)
  })
})

describe('the repository', () => {
  async function fresh() {
    const folder = await mkdtemp(join(tmpdir(), 'standin-repo-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    return join(folder, 'openclaw.git')
  }
  const head = (dir: string, ref = 'staging') => readFile(join(dir, 'refs/heads', ref), 'utf8')

  it('is the same commit wherever it is made, and making it again changes nothing', async () => {
    const [one, two] = [await fresh(), await fresh()]
    expect(await ensureStandinRepo({ dir: one })).toEqual({
      url: `file://${one}`,
      branches: ['staging', 'main'],
    })
    await ensureStandinRepo({ dir: two })
    expect(await head(one)).toBe(await head(two))
    expect(await head(one)).toBe(await head(one, 'main'))
    await ensureStandinRepo({ dir: one })
    expect(await head(one)).toBe(await head(two))
  })

  it('may be made by several at once', async () => {
    const dir = await fresh()
    await Promise.all([1, 2, 3].map(() => ensureStandinRepo({ dir })))
    expect(await readdir(dirname(dir))).toEqual(['openclaw.git'])
  })

  it('keeps what was committed on a branch while the sources are the same', async () => {
    const dir = await fresh()
    await ensureStandinRepo({ dir })
    const commit = await commitStandin({ dir, branch: 'main', files: { 'a/b.txt': 'text' }, message: 'more' })
    expect(commit).toMatch(/^[0-9a-f]{40}$/)
    await ensureStandinRepo({ dir })
    expect((await head(dir, 'main')).trim()).toBe(commit)
  })

  it('gets a commit on each branch when the sources have changed since', async () => {
    const dir = await fresh()
    await ensureStandinRepo({ dir })
    const other = await commitStandin({
      dir,
      branch: 'main',
      files: { 'build.js': 'old' },
      message: 'older sources',
    })
    await runGit(dir, ['update-ref', 'refs/standin/template', other])
    await ensureStandinRepo({ dir })
    expect(await runGit(dir, ['rev-parse', 'main~1'])).toBe(other)
    expect(await runGit(dir, ['diff', '--stat', 'main', 'staging'])).toBe('')
    const settled = await head(dir, 'main')
    await ensureStandinRepo({ dir })
    expect(await head(dir, 'main')).toBe(settled)
  })

  it('cannot be at a path that setup.env does not carry', async () => {
    await expect(ensureStandinRepo({ dir: '/tmp/with blank/repo' })).rejects.toThrow(/choose a path/)
  })
})

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (typeof address !== 'object' || address === null) throw new Error('no port')
  return address.port
}
