import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { run } from '../../api/cli/run.ts'
import { CONFIG, KEY, startWorld, type World } from './support.ts'

const MAIN = join(import.meta.dirname, '../../api/cli/main.ts')

let world: World
let url: string
beforeAll(async () => {
  world = await startWorld()
  url = await world.app.listen({ host: '127.0.0.1', port: 0 })
})
afterEach(() => world.stage.clear())
afterAll(() => world?.close())

/** A command in this process. */
async function clawpool(args: string[], options: { env?: Record<string, string>; typed?: string } = {}) {
  const out: string[] = []
  const err: string[] = []
  const code = await run(args, {
    env: { POOL_URL: url, POOL_API_KEY: KEY, ...options.env },
    fetch: globalThis.fetch,
    out: (line) => out.push(line),
    err: (line) => err.push(line),
    prompt: options.typed === undefined ? null : async () => options.typed ?? '',
  })
  return { code, out: out.join('\n'), err: err.join('\n') }
}

/** Lets operations end well, one after the other, as long as `work` goes on. */
async function whileFinishing<T>(kinds: ('drain' | 'action')[], work: Promise<T>): Promise<T> {
  for (const kind of kinds) await world.stage.finish(kind, { done: 2, result: { outcome: 'destroyed' } })
  return work
}

describe('commands', () => {
  it('show what the API says', async () => {
    await world.stage.shelve(1)
    expect(JSON.parse((await clawpool(['counts'])).out)).toMatchObject({ idle: 1 })
    expect(JSON.parse((await clawpool(['status'])).out)).toMatchObject({ name: 'default' })
    expect(JSON.parse((await clawpool(['version'])).out)).toMatchObject({ environment: 'dev' })
    expect(JSON.parse((await clawpool(['spec', 'get'])).out)).toMatchObject({ minIdle: 2 })
  })

  it('claim prints the invite link', async () => {
    await world.stage.shelve(1)
    const [{ code, out }] = await Promise.all([clawpool(['claim', 'Ada', 'Help.']), world.stage.deliver()])
    expect(code).toBe(0)
    expect(JSON.parse(out).inviteUrl).toMatch(/^https:\/\/dev\.convos\.org\//)
  })

  it('spec set takes a merge patch', async () => {
    const { code, out } = await clawpool(['spec', 'set', '{"minIdle": 4}'])
    expect([code, JSON.parse(out).spec.minIdle]).toEqual([0, 4])
    await clawpool(['spec', 'set', '{"minIdle": 2}'])
  })

  it('destroy follows its operation to the end', async () => {
    const [id = ''] = await world.stage.shelve(1)
    const { code, out } = await whileFinishing(['action'], clawpool(['destroy', id]))
    expect([code, out]).toEqual([0, `${id}: destroyed`])
  })

  it.each([
    [[], 2],
    [['help'], 0],
    [['nonsense'], 2],
    [['constructor'], 2],
    [['drain', 'many'], 2],
    [['drain', '1', '2'], 2],
    [['recycle'], 2],
    [['spec', 'set', '{'], 2],
    [['counts', '--nonsense'], 2],
    [['destroy', 'nosuchinstan'], 1],
    [['claim', 'Ada', 'Help.'], 1],
  ])('%j ends with %i', async (args, code) => {
    expect((await clawpool(args as string[])).code).toBe(code)
  })

  it('name what is wrong: no server, a wrong key, none', async () => {
    const nobody = await clawpool(['counts'], { env: { POOL_URL: 'http://127.0.0.1:1' } })
    expect(nobody).toMatchObject({ code: 1, err: expect.stringContaining('http://127.0.0.1:1') })
    const wrong = await clawpool(['status'], { env: { POOL_API_KEY: 'CANARY-key' } })
    expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining('POOL_API_KEY') })
    expect(wrong.err).not.toContain('CANARY')
    const none = await clawpool(['status'], { env: { POOL_API_KEY: '' } })
    expect(none).toMatchObject({ code: 1, err: expect.stringContaining('asks for a key: set POOL_API_KEY') })
  })
})

describe('drain-all', () => {
  it('drains all idle ones and leaves the claimed', async () => {
    await world.stage.shelve(2)
    const { code, out } = await whileFinishing(['drain'], clawpool(['drain-all']))
    expect([code, out]).toEqual([0, 'dev: 2 idle drained'])
    const operations = await world.sql`select kind, selector from operations`
    expect([...operations]).toEqual([{ kind: 'drain', selector: { all: true } }])
  })

  async function launchOne() {
    const [id = ''] = await world.stage.shelve(1)
    const payload = { agentName: 'Ada', instructions: 'Help.' }
    await Promise.all([world.ask('POST', '/api/pool/claim', { payload }), world.stage.deliver()])
    return id
  }

  it('destroys the claimed ones too when that is asked for', async () => {
    const id = await launchOne()
    const command = clawpool(['drain-all', '--include-claimed', '--yes'])
    const { code, out } = await whileFinishing(['drain', 'action'], command)
    expect([code, out]).toEqual([0, 'dev: 2 idle drained\ndev: 1 claimed destroyed'])
    expect((await world.sql`select wanted from instances where id = ${id}`)[0]).toMatchObject({
      wanted: 'absent',
    })
  })

  it('does nothing where nobody can confirm, or the word is another', async () => {
    expect(await clawpool(['drain-all', '--include-claimed'])).toMatchObject({ code: 2 })
    expect(await clawpool(['drain-all', '--include-claimed'], { typed: 'no' })).toMatchObject({ code: 1 })
    expect(await world.sql`select 1 from operations`).toHaveLength(0)
  })

  it('in production asks for the environment’s name', async () => {
    const production = await startWorld({ config: { ...CONFIG, environment: 'production', badge: 'red' } })
    try {
      const env = { POOL_URL: await production.app.listen({ host: '127.0.0.1', port: 0 }) }
      const yes = await clawpool(['drain-all', '--include-claimed'], { env, typed: 'yes' })
      expect(yes).toMatchObject({ code: 1, err: expect.stringContaining('nothing was done') })
      const command = clawpool(['drain-all', '--include-claimed'], { env, typed: 'production' })
      await production.stage.finish('drain')
      expect(await command).toMatchObject({ code: 0 })
    } finally {
      await production.close()
    }
  })

  it('goes on past one that may not go, and says which', async () => {
    const id = await launchOne()
    await world.ask('PATCH', `/api/pool/instances/${id}`, { payload: { protected: true } })
    const command = clawpool(['drain-all', '--include-claimed', '--yes'])
    expect(await whileFinishing(['drain'], command)).toMatchObject({
      code: 1,
      err: expect.stringContaining(id),
    })
  })
})

it('the program reads .env where it is called, and the real environment wins', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'clawpool-cli-'))
  try {
    await writeFile(join(folder, '.env'), `POOL_URL=${url}\nPOOL_API_KEY=wrong\n`)
    const start = async (env: Record<string, string>) => {
      const child = spawn(process.execPath, [MAIN, 'status'], {
        cwd: folder,
        env,
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)])
      if (child.exitCode === null) await once(child, 'exit')
      return { code: child.exitCode, out, err }
    }
    expect(await start({})).toMatchObject({ code: 1, err: expect.stringContaining('POOL_API_KEY') })
    expect(await start({ POOL_API_KEY: KEY })).toMatchObject({
      code: 0,
      out: expect.stringContaining('"instances"'),
    })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
