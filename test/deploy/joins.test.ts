import { execFile } from 'node:child_process'
import { cp, mkdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { type JoinsStatus, joinsStatusSchema } from '../../deploy/sprite/templates.ts'
import { createSpriteFolder, type SpriteFolder } from '../support/sprite-folder.ts'

const CLI = fileURLToPath(
  new URL('../../deploy/local/openclaw-standin/extensions/convos/cli.js', import.meta.url),
)

let sprite: SpriteFolder

beforeEach(async () => {
  const created = await createSpriteFolder()
  sprite = created
  onTestFinished(async () => {
    await endLoops(created)
    await created.remove()
  })
  const run = join(sprite.root, 'openclaw/extensions/convos/node_modules/@convos/cli/bin/run.js')
  await mkdir(dirname(run), { recursive: true })
  await cp(CLI, run)
  await sprite.write('openclaw/extensions/convos/node_modules/@convos/cli/package.json', '{"type":"module"}')
  await mkdir(join(sprite.home, '.openclaw'))
  await mkdir(join(sprite.home, '.convos'))
  const convos = { env: 'dev', ownerConversationId: 'c-1' }
  await sprite.write('home/sprite/.openclaw/openclaw.json', JSON.stringify({ channels: { convos } }))
})

const joins = (...args: string[]) => sprite.exec(['bash', join(sprite.dir, 'joins.sh'), ...args])

const status = async (): Promise<JoinsStatus> =>
  joinsStatusSchema.parse(JSON.parse(await readFile(join(sprite.dir, 'joins.json'), 'utf8')))

const until = (check: (status: JoinsStatus) => boolean) =>
  vi.waitFor(
    async () => {
      const now = await status()
      if (!check(now)) throw new Error(`still ${JSON.stringify(now)}`)
      return now
    },
    { timeout: 15_000, interval: 20 },
  )

const someoneAsks = () => sprite.write('home/sprite/.convos/join-requests', 'somebody\n')

describe('the join loop', () => {
  it('lets in who asked, and ends', async () => {
    expect(await joins('c-1', 'dev', '60', '1')).toEqual({ code: 0, stdout: '', stderr: '' })
    const before = await until(({ beat }) => beat >= 3)
    expect(before).toMatchObject({ conversation: 'c-1', processed: 0, approved: false, done: false })
    await someoneAsks()
    expect(await until(({ done }) => done)).toMatchObject({ processed: 1, approved: true })
  })

  it('gives up when its time is over', async () => {
    await joins('c-1', 'dev', '1', '1')
    expect(await until(({ done }) => done)).toMatchObject({ processed: 0, approved: false })
  })

  it('goes on when the command fails', async () => {
    await joins('another', 'dev', '60', '1')
    expect(await until(({ beat }) => beat >= 4)).toMatchObject({
      conversation: 'another',
      processed: 0,
      done: false,
    })
  })

  it('runs once, however often it is started', async () => {
    const starts = await Promise.all([1, 2, 3].map(() => joins('c-1', 'dev', '60', '1')))
    expect(starts.map(({ code }) => code)).toEqual([0, 0, 0])
    expect(await loops(sprite)).toHaveLength(1)
  })

  it('has nothing left to do for a conversation that somebody was let into', async () => {
    await someoneAsks()
    await joins('c-1', 'dev', '60', '1')
    await until(({ done }) => done)
    const written = await sprite.read('home/sprite/.clawpool/joins.json')
    await vi.waitFor(async () => expect(await loops(sprite)).toEqual([]), { timeout: 5000 })
    await joins('c-1', 'dev', '60', '1')
    expect(await sprite.read('home/sprite/.clawpool/joins.json')).toBe(written)
  })

  it.each([
    ['nothing', []],
    ['a conversation that is a command', ['$(id)', 'dev', '60', '5']],
    ['a conversation that is an option', ['--all', 'dev', '60', '5']],
    ['another environment', ['c-1', 'staging', '60', '5']],
    ['times that are no numbers', ['c-1', 'dev', '1m', '5']],
    ['an interval of nothing', ['c-1', 'dev', '60', '0']],
    ['hours', ['c-1', 'dev', '7200', '5']],
    ['a time left out', ['c-1', 'dev', '', '5']],
  ])('refuses %s', async (_, args) => {
    expect(await joins(...args)).toMatchObject({ code: 2, stderr: expect.stringMatching(/^joins\.sh: /) })
    expect((await sprite.exec(['ls', sprite.dir])).stdout).not.toContain('joins.json')
  })
})

/** Pids of the loops of this folder: each leads a process group. */
async function loops({ dir }: SpriteFolder): Promise<number[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,pgid=,stat=,args='])
  return stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(
      ([pid, pgid, stat, ...args]) =>
        pid === pgid && !stat?.startsWith('Z') && args.includes(`${dir}/joins.sh`),
    )
    .map(([pid]) => Number(pid))
}

async function endLoops(folder: SpriteFolder) {
  for (const pid of await loops(folder)) process.kill(-pid, 'SIGKILL')
}
