/** What both engines do alike, over the wire and through our own clients. */
import { describe, expect, it } from 'vitest'
import type { RawData } from 'ws'
import { SPRITE_PATHS } from '../../../deploy/sprite/templates.ts'
import { TOKEN, until } from '../emulator-world.ts'
import { type EngineName, startOpenclawWorld } from './openclaw.ts'

const HOME = '/home/sprite'
const SLEEPER = '#!/bin/sh\necho "up"\nexec sleep 600\n'

export function conformance(engine: EngineName): void {
  describe(`the ${engine} engine, through our clients`, () => {
    it('leads a Sprite through files, commands, services, a checkpoint and a restore', async () => {
      const { sprites } = await startOpenclawWorld(engine)
      const name = 'claw-test-life'
      expect(await sprites.get(name)).toBeNull()
      const made = await sprites.create({ name, labels: ['pool:x'] })
      expect(made).toMatchObject({ name, urlAuth: 'public', labels: ['pool:x'] })
      await expect(sprites.create({ name, labels: [] })).rejects.toMatchObject({ name: 'SpriteExists' })
      await expect(sprites.create({ name: 'Under_Score', labels: [] })).rejects.toMatchObject({
        name: 'SpritesRejected',
      })

      await sprites.writeFile(name, `${HOME}/app/run.sh.1`, SLEEPER, { mode: '0755' })
      await sprites.renameFile(name, `${HOME}/app/run.sh.1`, `${HOME}/app/run.sh`)
      expect(Buffer.from((await sprites.readFile(name, `${HOME}/app/run.sh`)) ?? []).toString()).toBe(SLEEPER)
      expect(await sprites.listFiles(name, `${HOME}/app`)).toMatchObject([
        { name: 'run.sh', mode: '0755', isDir: false, size: SLEEPER.length },
      ])
      expect(await sprites.listFiles(name, `${HOME}/nowhere`)).toBeNull()
      expect(await sprites.readFile(name, `${HOME}/nowhere`)).toBeNull()
      await expect(sprites.readFile(name, `${HOME}/app`)).rejects.toMatchObject({ name: 'SpritesRejected' })

      expect(await sprites.exec(name, ['sh', '-c', 'cat; echo out; echo bad >&2; exit 7'])).toEqual({
        exitCode: 7,
        stdout: 'out\n',
        stderr: 'bad\n',
      })
      expect(await sprites.exec(name, ['sh', '-c', 'kill -TERM $$'])).toMatchObject({ exitCode: 143 })
      expect(await sprites.exec(name, ['sh', '-c', 'nope || echo "$1 two"', 'zero', 'one'])).toMatchObject({
        exitCode: 0,
        stdout: 'one two\n',
      })
      expect(await sprites.exec(name, ['bash', `${HOME}/nowhere.sh`])).toMatchObject({ exitCode: 127 })
      await expect(sprites.exec(name, ['no-such-program'])).rejects.toMatchObject({ name: 'SpritesRejected' })

      expect((await sprites.createCheckpoint(name, 'golden 1')).outcome).toBe('complete')
      const [golden] = (await sprites.listCheckpoints(name)).filter(({ comment }) => comment === 'golden 1')
      await sprites.writeFile(name, `${HOME}/canary`, 'x', { mode: '0600' })

      await sprites.putService(name, { name: 'gateway', cmd: `${HOME}/app/run.sh`, httpPort: 8080 })
      expect(await sprites.listServices(name)).toMatchObject([{ name: 'gateway', status: 'running' }])
      await sprites.restartService(name, 'gateway')
      expect(await sprites.serviceLogs(name, 'gateway', 5)).toContain('up')
      await sprites.removeService(name, 'gateway')
      await sprites.removeService(name, 'gateway')
      expect(await sprites.listServices(name)).toEqual([])

      expect((await sprites.restoreCheckpoint(name, golden?.id ?? 'none')).outcome).toBe('complete')
      expect((await sprites.listFiles(name, HOME))?.map((entry) => entry.name)).not.toContain('canary')
      expect(await sprites.get(name)).toMatchObject({ id: made.id, url: made.url })
      await sprites.removeFile(name, `${HOME}/app/run.sh`)
      await sprites.removeFile(name, `${HOME}/app/run.sh`)
      expect(await sprites.listFiles(name, `${HOME}/app`)).toEqual([])
      expect(await sprites.restoreCheckpoint(name, 'v99')).toMatchObject({ outcome: 'error' })

      expect(await sprites.remove(name)).toBe('deleted')
      expect(await sprites.remove(name)).toBe('absent')
      const noSprite = { name: 'SpriteMissing', what: 'sprite' }
      await expect(sprites.listFiles(name, HOME)).rejects.toMatchObject(noSprite)
      await expect(sprites.exec(name, ['true'])).rejects.toMatchObject(noSprite)
      const again = await sprites.create({ name, labels: [] })
      expect(again.id).not.toBe(made.id)
      expect(await sprites.readFile(name, `${HOME}/app/run.sh`)).toBeNull()
    })

    it('builds OpenClaw, serves a conversation, and is as new after a restore', async () => {
      const world = await startOpenclawWorld(engine)
      const { sprites, gateway } = world
      const { url } = await sprites.create({ name: 'claw', labels: [] })
      const built = await world.build('claw')
      expect(built).toMatchObject({ exit: 0, error: null, phase: 'workspace', percent: 100 })
      expect(built.commit).toMatch(/^[0-9a-f]{40}$/)
      expect(built.takes).toContain('instructions')
      await sprites.createCheckpoint('claw', 'golden')

      await world.serve('claw', url, 'first-key-of-this-life')
      expect(await gateway.status(url, 'another-key')).toEqual({ kind: 'unauthorized' })
      const said = { name: 'A', profileName: 'A', instructions: 'be "kind" $(true)\n', env: 'dev' }
      const made = await gateway.converse(url, 'first-key-of-this-life', said, { timeoutMs: 10_000 })
      expect(made.inviteUrl).toBe(`https://dev.convos.org/v2?i=${made.inviteSlug}`)
      expect(await gateway.status(url, 'first-key-of-this-life')).toEqual({
        kind: 'up',
        conversationId: made.conversationId,
        streaming: true,
      })
      const instructions = await sprites.readFile('claw', SPRITE_PATHS.instructions)
      expect(Buffer.from(instructions ?? []).toString()).toBe(said.instructions)
      await expect(
        gateway.converse(url, 'first-key-of-this-life', said, { timeoutMs: 10_000 }),
      ).rejects.toMatchObject({ name: 'GatewayBound' })

      await sprites.writeFile('claw', `${SPRITE_PATHS.convos}/join-requests`, 'somebody\n', { mode: '0600' })
      const joins = ['bash', SPRITE_PATHS.joinsScript, made.conversationId, 'dev', '60', '1']
      expect(await sprites.exec('claw', joins)).toMatchObject({ exitCode: 0 })
      await until(async () => {
        const bytes = await sprites.readFile('claw', SPRITE_PATHS.joinsStatus)
        expect(JSON.parse(Buffer.from(bytes ?? []).toString())).toMatchObject({
          conversation: made.conversationId,
          processed: 1,
          approved: true,
          done: true,
        })
      })

      expect(await sprites.restoreCheckpoint('claw', 'v1')).toMatchObject({ outcome: 'complete' })
      expect(await sprites.listServices('claw')).toEqual([])
      for (const path of [SPRITE_PATHS.convos, SPRITE_PATHS.openclawJson, SPRITE_PATHS.instructions])
        expect(await sprites.readFile('claw', path)).toBeNull()
      expect(await gateway.status(url, null, { timeoutMs: 300 })).toMatchObject({ kind: 'down' }) // it hangs
      await world.serve('claw', url, 'second-key-of-this-life')
      expect(await gateway.status(url, 'second-key-of-this-life')).toMatchObject({ conversationId: null })
    })

    it('joins, waits and fails as the invite says', async () => {
      const { gateway, claw } = await startOpenclawWorld(engine)
      const { url, key } = await claw('claw')
      const join = (inviteUrl: string) =>
        gateway.join(url, key, { inviteUrl, env: 'dev' }, { timeoutMs: 10_000 })
      await expect(join('')).rejects.toMatchObject({ name: 'GatewayRejected' })
      await expect(join('https://dev.convos.org/v2?i=fail')).rejects.toMatchObject({ status: 500 })
      expect(await join('https://dev.convos.org/v2?i=wait-1')).toEqual({ status: 'waiting' })
      expect(await gateway.status(url, key)).toMatchObject({ conversationId: null })
      const joined = await join('https://dev.convos.org/v2?i=wait-1')
      expect(joined).toMatchObject({ status: 'joined', conversationId: expect.any(String) })
    })

    it.each([
      ['fails to build', { failBuild: true }, { exit: 2, error: expect.stringMatching(/^build: ?/) }],
      ['builds and reads one field more', { extraField: true }, { exit: 0, error: null }],
    ])('takes a new version that %s', async (_, behaviour, outcome) => {
      const world = await startOpenclawWorld(engine)
      await world.sprites.create({ name: 'claw', labels: [] })
      const commit = await world.push(behaviour)
      expect(await world.build('claw')).toMatchObject({ ...outcome, commit })
    })

    it('takes a new version whose gateway never listens, and one that fails claims', async () => {
      const world = await startOpenclawWorld(engine)
      const { sprites, gateway } = world
      await world.push({ neverReady: true })
      const { url } = await sprites.create({ name: 'deaf', labels: [] })
      await world.build('deaf')
      await world.serve('deaf', url, 'k', false)
      expect(await gateway.status(url, 'k', { timeoutMs: 500 })).toMatchObject({ kind: 'down' })
      expect(await sprites.listServices('deaf')).toMatchObject([{ name: 'gateway', status: 'running' }])

      await world.push({ failClaims: true })
      const failing = await world.claw('failing')
      const said = { instructions: 'kept', env: 'dev' }
      await expect(
        gateway.converse(failing.url, failing.key, said, { timeoutMs: 10_000 }),
      ).rejects.toMatchObject({ status: 500 })
      expect(await sprites.readFile('failing', SPRITE_PATHS.instructions)).not.toBeNull()
    })

    it('fails a build of what is not there, and builds an attempt once', async () => {
      const world = await startOpenclawWorld(engine)
      await world.sprites.create({ name: 'claw', labels: [] })
      expect(await world.build('claw', 'try-1', 'no-such-branch')).toMatchObject({
        exit: expect.any(Number),
        error: expect.stringContaining('clone:'),
        commit: null,
      })
      const beat = (await world.build('claw', 'try-2')).beat
      expect((await world.build('claw', 'try-2')).beat).toBe(beat)
    })

    it('asks for the token at the URL of a private Sprite, by a redirect', async () => {
      const { url } = await (await startOpenclawWorld(engine)).create('private')
      const refused = await fetch(`${url}/convos/status`, { redirect: 'manual' })
      expect(refused.status).toBe(302)
      expect(refused.headers.get('location')).toContain('return_url=')
    })
  })

  describe(`the ${engine} engine, over the wire`, () => {
    it('lists sessions, lets others attach to one and kill it, and knows one that has ended', async () => {
      const world = await startOpenclawWorld(engine)
      await world.create('s')
      const first = world.socket('/sprites/s/exec?cmd=sh&cmd=-c&cmd=echo%20hello;%20sleep%20600')
      const id = await new Promise<string>((resolve) =>
        first.once('message', (data: RawData) => resolve(JSON.parse(String(data)).session_id)),
      )
      const listed = await world.json('GET', '/sprites/s/exec')
      expect(listed.body).toMatchObject({
        count: 1,
        sessions: [{ id, tty: false, command: expect.any(String) }],
      })

      const second = world.socket(`/sprites/s/exec/${id}`)
      const heard: string[] = []
      second.on('message', (data: RawData, isBinary) => heard.push(isBinary ? String(data) : 'info'))
      await until(() => expect(heard).toEqual(['info', '\u0001hello\n']))

      const killed = await world.lines('POST', `/sprites/s/exec/${id}/kill?signal=SIGTERM&timeout=5s`)
      expect(killed.map(({ type }) => type)).toEqual(['signal', 'exited', 'complete'])
      expect(killed.at(-1)).toMatchObject({ exit_code: 143 })
      expect((await world.json('POST', `/sprites/s/exec/${id}/kill`)).status).toBe(410)
      expect((await world.json('POST', '/sprites/s/exec/999999/kill')).status).toBe(404)
      expect((await world.json('GET', '/sprites/s/exec')).body).toEqual({ count: 0, sessions: [] })
    })

    it('tells a command by its exit even when its watcher comes late, and ends one that nobody watches', async () => {
      const world = await startOpenclawWorld(engine)
      await world.create('s')
      const socket = world.socket('/sprites/s/exec?cmd=sleep&cmd=600&max_run_after_disconnect=100ms')
      await new Promise((resolve) => socket.once('message', resolve))
      socket.terminate()
      await until(async () => expect((await world.json('GET', '/sprites/s/exec')).body.count).toBe(0))
    })

    it('streams how Sprites are and what becomes of them', async () => {
      const world = await startOpenclawWorld(engine)
      await world.create('w-1')
      const abort = new AbortController()
      const response = await fetch(`${world.base}/v1/sprites?prefix=w-`, {
        headers: { authorization: `Bearer ${TOKEN}`, accept: 'application/x-ndjson' },
        signal: abort.signal,
      })
      expect(response.headers.get('content-type')).toBe('application/x-ndjson')
      const lines = linesOf(response)
      expect((await lines.next()).value).toMatchObject({
        name: 'w-1',
        status: 'running',
        org: { running: 1 },
      })
      expect((await lines.next()).value).toMatchObject({ type: 'heartbeat' })
      await world.create('other')
      await world.create('w-2')
      expect((await lines.next()).value).toMatchObject({ name: 'w-2', status: 'running' })
      abort.abort()
    })

    it('checks, restarts, upgrades, shows its version and changes owners', async () => {
      const world = await startOpenclawWorld(engine)
      const { id } = await world.create('s')
      await world.write('s', `${HOME}/run.sh`, SLEEPER, '0755')
      await world.lines('PUT', '/sprites/s/services/up?duration=1ms', { cmd: `${HOME}/run.sh` })
      const pidOf = async () => (await world.json('GET', '/sprites/s/services/up')).body.state.pid
      const before = await pidOf()
      expect((await world.json('GET', '/sprites/s/check')).body).toMatchObject({
        sprite_name: 's',
        sprite_id: id,
        status: 'healthy',
      })
      expect((await world.json('POST', '/sprites/s/restart')).body).toMatchObject({ sprite_name: 's' })
      expect(await pidOf()).not.toBe(before)
      expect((await world.call('POST', '/sprites/s/upgrade')).status).toBe(204)
      expect((await world.call('HEAD', '/sprites/s/exec')).headers.get('sprite-version')).toMatch(/rc48/)
      expect((await world.call('HEAD', '/sprites/none/exec')).status).toBe(404)
      const chown = { path: `${HOME}/run.sh`, workingDir: '/', uid: 1000, gid: 1000 }
      expect((await world.json('POST', '/sprites/s/fs/chown', chown)).body.count).toBe(1)
      expect((await world.json('POST', '/sprites/s/fs/chown', { ...chown, path: '/none' })).status).toBe(404)
      expect((await world.call('DELETE', '/sprites/s/exec/1')).status).toBe(404) // documented, and not there
    })

    it('lacks the routes that an older runtime lacks', async () => {
      const world = await startOpenclawWorld(engine, { lacks: ['service.restart', 'restart', 'upgrade'] })
      await world.create('s')
      for (const path of ['/sprites/s/restart', '/sprites/s/upgrade', '/sprites/s/services/x/restart'])
        expect(await (await world.call('POST', path)).text()).toBe('404 page not found\n')
    })

    it('starts a service again that ends, and says complete all the same', async () => {
      const world = await startOpenclawWorld(engine)
      await world.create('s')
      await world.write('s', `${HOME}/run.sh`, '#!/bin/sh\necho up\nexit 3\n', '0755')
      const told = await world.lines('PUT', '/sprites/s/services/up?duration=300ms', {
        cmd: `${HOME}/run.sh`,
      })
      // What it wrote last and its end come by two ways, in either order.
      expect(told.map(({ type }) => type).toSorted()).toEqual(['complete', 'exit', 'started', 'stdout'])
      expect(told.at(-1)?.type).toBe('complete')
      expect((await world.json('GET', '/sprites/s/services/up')).body.state).toMatchObject({
        status: 'failed',
        error: 'exited with code 3',
      })
      await world.write('s', `${HOME}/run.sh`, SLEEPER, '0755')
      await until(async () =>
        expect((await world.json('GET', '/sprites/s/services/up')).body.state).toMatchObject({
          status: 'running',
          restart_count: 1,
        }),
      )
      await world.lines('POST', '/sprites/s/services/up/stop')
      expect((await world.json('GET', '/sprites/s/services/up')).body.state).toMatchObject({
        status: 'failed',
        error: 'exited with code 143',
      })
    })

    it('lists files below a directory, by pattern, and an empty one as null', async () => {
      const world = await startOpenclawWorld(engine)
      await world.create('s')
      await world.write('s', '/tmp/a/one.txt', '1')
      await world.write('s', '/tmp/a/b/two.txt', '2')
      const list = async (query: string) =>
        (await world.json('GET', `/sprites/s/fs/list?workingDir=/&${query}`)).body
      expect((await list('path=/tmp/a')).entries.map(({ path }: { path: string }) => path)).toEqual([
        '/tmp/a/b',
        '/tmp/a/one.txt',
      ])
      expect((await list('path=/tmp/a&recursive=true&pattern=two*')).count).toBe(1)
      expect((await list('path=/tmp/a/one.txt')).entries).toMatchObject([{ name: 'one.txt', type: 'file' }])
      const notEmpty = await world.json('DELETE', '/sprites/s/fs/delete?workingDir=/&path=/tmp/a')
      expect([notEmpty.status, notEmpty.body.code]).toEqual([409, 'ENOTEMPTY'])
      await world.json('DELETE', '/sprites/s/fs/delete?workingDir=/&path=/tmp/a&recursive=true')
      expect(await list('path=/tmp')).toEqual({ path: '/tmp', entries: null, count: 0 })
    })
  })
}

/** One JSON object a line, for as long as the stream lasts. */
async function* linesOf(response: Response): AsyncGenerator<Record<string, unknown>> {
  let text = ''
  for await (const bytes of response.body ?? []) {
    text += Buffer.from(bytes).toString('utf8')
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n')) {
      yield JSON.parse(text.slice(0, at))
      text = text.slice(at + 1)
    }
  }
}
