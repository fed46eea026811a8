import { readdir } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import type { RawData, WebSocket } from 'ws'
import { isRunning, startWorld, TOKEN, until, untilGone, type World } from './emulator-world.ts'

interface Talk {
  text: Record<string, unknown>[]
  stdout: string
  stderr: string
  code: number | null
  closed: number
}

/** Reads a socket to its end. Resolves with what came, or rejects with the status of a refused upgrade. */
function listen(socket: WebSocket): { talk: Talk; over: Promise<Talk> } {
  const talk: Talk = { text: [], stdout: '', stderr: '', code: null, closed: 0 }
  socket.on('message', (data: RawData, isBinary) => {
    const bytes = data as Buffer // what ws hands over unless it is told otherwise
    if (!isBinary) talk.text.push(JSON.parse(bytes.toString()))
    else if (bytes[0] === 1) talk.stdout += bytes.subarray(1)
    else if (bytes[0] === 2) talk.stderr += bytes.subarray(1)
    else if (bytes[0] === 3) talk.code = bytes.length === 2 ? (bytes[1] ?? null) : null
  })
  const over = new Promise<Talk>((resolve, reject) => {
    socket.on('close', (code) => resolve({ ...talk, closed: code }))
    socket.on('unexpected-response', (_, response) => {
      reject(new Error(`refused ${response.statusCode}`))
      socket.terminate()
    })
    socket.on('error', () => {})
  })
  return { talk, over }
}

function open(world: World, name: string, argv: string[], query: Record<string, string> = {}) {
  const params = new URLSearchParams([...argv.map((word) => ['cmd', word]), ...Object.entries(query)])
  const socket = world.socket(`/sprites/${name}/exec?${params}`)
  return { socket, ...listen(socket) }
}

async function withSprite() {
  const world = await startWorld()
  await world.create('s')
  return world
}

/** Prints its own pid, then lives until something ends it. */
const LIVES_ON = 'echo $$; exec sleep 1000'

describe('exec over HTTP', () => {
  it('gives both streams and the exit code, in frames', async () => {
    const world = await withSprite()
    expect(await world.bash('s', 'echo out; echo err >&2; exit 7')).toEqual({
      code: 7,
      stdout: 'out\n',
      stderr: 'err\n',
    })
  })

  it.runIf(process.platform === 'linux')(
    "shows by ps the Sprite's own processes, not the laptop's",
    async () => {
      const world = await withSprite()
      const { stdout } = await world.bash('s', 'sleep 30 & ps -eo pid,etimes,comm; kill $!')
      expect(stdout).toMatch(/^ *PID COMMAND\n/)
      expect(stdout).toMatch(/^ *\d+ sleep$/m)
      expect(stdout).not.toMatch(new RegExp(`^ *${process.pid} `, 'm'))
    },
  )

  it('closes the input, or feeds it from the body when stdin is asked for', async () => {
    const world = await withSprite()
    expect(await world.run('s', ['cat'])).toEqual({ code: 0, stdout: '', stderr: '' })
    const response = await world.call('POST', '/sprites/s/exec?cmd=cat&stdin=true', Buffer.from('fed'))
    expect(await response.text()).toBe('\u0001fed\u0003\u0000')
  })

  it('tells a death by a signal as a shell does', async () => {
    const world = await withSprite()
    expect((await world.bash('s', 'kill -TERM $$')).code).toBe(143)
  })

  it.each([
    ['nothing to run', '', 400],
    ['a terminal', 'cmd=true&tty=true', 400],
    ['an unknown program', 'cmd=no-such-program', 400],
    ['an unknown directory', 'cmd=true&dir=/nowhere', 400],
    ['a wrong env', 'cmd=true&env=NOVALUE', 400],
    ['a wrong time', 'cmd=true&max_run_after_disconnect=soon', 400],
    ['a command line beyond 64 KB', `cmd=true&cmd=${'x'.repeat(66_000)}`, 414],
  ])('refuses %s', async (_, query, status) => {
    const world = await withSprite()
    expect((await world.json('POST', `/sprites/s/exec?${query}`)).status).toBe(status)
  })

  it('takes a command line of 60 KB', async () => {
    const world = await withSprite()
    const ran = await world.run('s', ['bash', '-c', `echo \${#0}`, 'x'.repeat(60_000)])
    expect(ran.stdout).toBe('60000\n')
  })
})

describe('the environment of a command', () => {
  it('is made from nothing: no variable of whoever runs the emulator', async () => {
    const world = await withSprite()
    const { stdout } = await world.run('s', ['env'])
    const names = stdout
      .trim()
      .split('\n')
      .map((line) => line.split('=', 1)[0] ?? '')
    expect(names.toSorted()).toEqual([
      'HOME',
      'LANG',
      'PATH',
      'SPRITE_HOME',
      'SPRITE_PORT_8080',
      'SPRITE_ROOT',
      'USER',
    ])
    expect(stdout).toContain(`HOME=${world.dataDir}/sprites/s/disk/home/sprite\n`)
  })

  it("takes what the caller sends, but never another Sprite's names", async () => {
    const world = await withSprite()
    const ran = await world.call(
      'POST',
      '/sprites/s/exec?cmd=env&env=GREETING=a=b%20c&env=SPRITE_HOME=/elsewhere',
    )
    const text = await ran.text()
    expect(text).toContain('GREETING=a=b c\n')
    expect(text).toContain(`SPRITE_HOME=${world.dataDir}/sprites/s/disk/home/sprite\n`)
  })

  it('runs in the home directory, or where it is told, inside the Sprite', async () => {
    const world = await withSprite()
    const disk = `${world.dataDir}/sprites/s/disk`
    expect((await world.bash('s', 'pwd')).stdout).toBe(`${disk}/home/sprite\n`)
    expect((await world.bash('s', 'pwd', { dir: '/home/sprite' })).stdout).toBe(`${disk}/home/sprite\n`)
    expect((await world.bash('s', 'pwd', { dir: '/tmp' })).stdout).toBe(`${disk}/tmp\n`)
  })

  it("means the Sprite's own folder where a word names /home/sprite, and only there", async () => {
    const world = await withSprite()
    await world.write('s', '/home/sprite/tool.sh', '#!/bin/sh\necho "$0 $@"\n', '0755')
    const ran = await world.run('s', ['/home/sprite/tool.sh', '/home/sprite/x', '/home/sprites', '/usr/lib'])
    const home = `${world.dataDir}/sprites/s/disk/home/sprite`
    expect(ran.stdout).toBe(`${home}/tool.sh ${home}/x /home/sprites /usr/lib\n`)
  })

  it.each([
    ['node is the one that runs the emulator', 'node -v', process.version],
    ['and so it is in a login shell', 'bash -lc "node -v"', process.version],
    ['sudo just runs its arguments', 'sudo -n -u root -- echo done', 'done'],
    ['apt-get changes nothing and succeeds', 'apt-get install -y git >/dev/null && echo ok', 'ok'],
    ['bun is there', 'command -v bun >/dev/null && echo ok', 'ok'],
    [
      "global npm is below the Sprite's root",
      'test "$(npm config get prefix)" = "$SPRITE_ROOT/usr/local" && echo ok',
      'ok',
    ],
    [
      'pnpm comes by npm',
      'npm install -g pnpm && test "$(command -v pnpm)" = "$SPRITE_ROOT/usr/local/bin/pnpm" && echo ok',
      'ok',
    ],
    [
      'pnpm builds by the script of package.json',
      'npm install -g pnpm; echo \'{"scripts":{"build":"node -p 6*7"}}\' >package.json; pnpm install --no-frozen-lockfile && pnpm build',
      '42',
    ],
    [
      'a lock is held for as long as its holder lives',
      'exec 9>l; flock -n 9; flock -n l true || echo held',
      'held',
    ],
  ])('%s', async (_, script, expected) => {
    const world = await withSprite()
    const ran = await world.bash('s', script)
    expect(ran.stdout.trim()).toBe(expected)
  })
})

describe('exec over a socket', () => {
  it('sends session_info first, then both streams, then one byte of exit, and closes', async () => {
    const world = await withSprite()
    const talk = await open(world, 's', ['bash', '-c', 'echo out; echo err >&2; exit 9']).over
    expect(talk).toMatchObject({ stdout: 'out\n', stderr: 'err\n', code: 9, closed: 1000 })
    expect(talk.text).toEqual([
      expect.objectContaining({
        type: 'session_info',
        session_id: expect.stringMatching(/^\d+$/),
        tty: false,
      }),
    ])
  })

  it('feeds frames of stdin and ends it with frame 4', async () => {
    const world = await withSprite()
    const { socket, over } = open(world, 's', ['cat'], { stdin: 'true' })
    socket.on('open', () => {
      socket.send(Buffer.concat([Buffer.from([0]), Buffer.from('a')]))
      socket.send(Buffer.concat([Buffer.from([0]), Buffer.from('b')]))
      socket.send(Buffer.from([4]))
    })
    expect(await over).toMatchObject({ stdout: 'ab', code: 0 })
  })

  it('has no stdin unless that is asked for', async () => {
    const world = await withSprite()
    expect(await open(world, 's', ['cat']).over).toMatchObject({ stdout: '', code: 0 })
  })

  it('passes a signal on', async () => {
    const world = await withSprite()
    const { socket, talk, over } = open(world, 's', [
      'bash',
      '-c',
      'trap "echo caught; exit 3" INT; echo up; while :; do sleep 0.05; done',
    ])
    await until(() => expect(talk.stdout).toContain('up'))
    socket.send(JSON.stringify({ type: 'signal', signal: 'SIGINT' }))
    expect(await over).toMatchObject({ stdout: 'up\ncaught\n', code: 3 })
  })

  it('delivers megabytes whole, however slowly they are read', async () => {
    const world = await withSprite()
    const { socket, over } = open(world, 's', ['bash', '-c', 'head -c 5000000 /dev/zero | tr "\\0" x'])
    socket.once('message', () => {
      socket.pause()
      setTimeout(() => socket.resume(), 100)
    })
    const talk = await over
    expect([talk.stdout.length, talk.code]).toEqual([5_000_000, 0])
  })

  it.each([
    ['an unknown Sprite', '/sprites/none/exec?cmd=true', {}, 'refused 404'],
    ['an unknown path', '/sprites/s/other', {}, 'refused 404'],
    ['no command', '/sprites/s/exec', {}, 'refused 400'],
    ['a terminal', '/sprites/s/exec?cmd=true&tty=true', {}, 'refused 400'],
    ['a wrong token', '/sprites/s/exec?cmd=true', { authorization: 'Bearer no' }, 'refused 401'],
    ['a web page', '/sprites/s/exec?cmd=true', { origin: 'https://evil.example' }, 'refused 403'],
  ])('refuses the upgrade by a status for %s', async (_, path, headers, expected) => {
    const world = await withSprite()
    const authorization = `Bearer ${TOKEN}`
    await expect(listen(world.socket(path, { authorization, ...headers })).over).rejects.toThrow(expected)
  })

  it('keeps the socket open after the exit where that is asked for', async () => {
    const world = await startWorld({ execLingerMs: 300 })
    await world.create('s')
    const { talk, over } = open(world, 's', ['true'])
    await until(() => expect(talk.code).toBe(0))
    expect(talk.closed).toBe(0)
    expect((await over).closed).toBe(1000)
  })
})

describe('what outlives what', () => {
  it('ends a command some time after its socket dropped', async () => {
    const world = await withSprite()
    const { socket, talk } = open(world, 's', ['bash', '-c', LIVES_ON], { max_run_after_disconnect: '200ms' })
    await until(() => expect(talk.stdout).toMatch(/^\d+\n/))
    const pid = Number(talk.stdout)
    socket.terminate()
    expect(await isRunning(pid)).toBe(true)
    await untilGone(pid)
  })

  it('ends a command some time after its request was cut', async () => {
    const world = await withSprite()
    const cut = new AbortController()
    const query = new URLSearchParams([
      ['cmd', 'bash'],
      ['cmd', '-c'],
      ['cmd', LIVES_ON],
      ['max_run_after_disconnect', '200ms'],
    ])
    const response = await fetch(`${world.base}/v1/sprites/s/exec?${query}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${TOKEN}` },
      signal: cut.signal,
    })
    const first = await response.body?.getReader().read()
    const pid = Number(
      Buffer.from(first?.value ?? [])
        .subarray(1)
        .toString(),
    )
    cut.abort()
    await untilGone(pid)
  })

  it('leaves what a command detached running, and does not wait for it', async () => {
    const world = await withSprite()
    const detached = await world.bash('s', 'setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!')
    const inherited = await world.bash('s', 'nohup sleep 1000 & echo $!') // still holds the output
    for (const { code, stdout } of [detached, inherited]) {
      expect(code).toBe(0)
      expect(await isRunning(Number(stdout))).toBe(true)
    }
    await world.call('DELETE', '/sprites/s')
    for (const { stdout } of [detached, inherited]) expect(await isRunning(Number(stdout))).toBe(false)
  })

  it('cuts the socket without an exit code when the Sprite is deleted under the command', async () => {
    const world = await withSprite()
    const { talk, over } = open(world, 's', ['bash', '-c', LIVES_ON])
    await until(() => expect(talk.stdout).toMatch(/^\d+\n/))
    expect((await world.call('DELETE', '/sprites/s')).status).toBe(204)
    expect(await over).toMatchObject({ code: null, closed: 1006 })
    expect(await isRunning(Number(talk.stdout))).toBe(false)
  })

  it('leaves no process, no record and no socket after many commands', async () => {
    const world = await withSprite()
    const runs = Array.from({ length: 60 }, () => world.run('s', ['true']))
    expect((await Promise.all(runs)).every(({ code }) => code === 0)).toBe(true)
    await until(async () => expect(await readdir(`${world.dataDir}/sprites/s/processes`)).toEqual([]))
  })
})
