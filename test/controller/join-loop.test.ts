import { expect, it } from 'vitest'
import { act } from '../../controller/instance/act.ts'
import { createBeatWatch, joinLoop } from '../../controller/instance/join-loop.ts'
import type { InstanceDeps, Run } from '../../controller/instance/run.ts'
import { spriteFiles } from '../../deploy/sprite/templates.ts'
import { SPEC } from '../support/builders.ts'
import { virtualClock } from '../support/virtual-clock.ts'

/** A Sprite that holds this file, a claim that became ready now, and a controller that may look at it over and over. */
function stage(claim: object = {}) {
  const clock = virtualClock()
  let written: string | null = null
  const started: string[][] = []
  const deps = {
    clock,
    files: spriteFiles,
    lead: { mayCall: () => true },
    joinBeats: createBeatWatch(clock),
    sprites: {
      readFile: async () => (written === null ? null : Buffer.from(written)),
      exec: async (_: string, argv: string[]) => {
        started.push(argv)
        return { exitCode: 0, stdout: '', stderr: '' }
      },
    },
  } as unknown as InstanceDeps // what a look at the loop needs, and no more
  const run = {
    instance: { id: 'i', spriteName: 'claw-dev-i' },
    claim: { conversationId: 'c1', joinUrl: null, readyAt: new Date(clock.now()), ...claim },
    facts: { spec: SPEC },
    template: SPEC.template,
  } as unknown as Run
  return {
    clock,
    deps,
    started,
    write(status: object) {
      const whole = { conversation: 'c1', processed: 0, approved: false, beat: 1, done: false, ...status }
      written = JSON.stringify(whole)
    },
    look: () => joinLoop(deps, run),
    start: () => act('startJoinLoop', deps, run),
  }
}

it('is wanted for a conversation that we made, and for as long as the spec says', async () => {
  const { look, start, started, clock } = stage()
  expect(await look()).toBe('wanted')
  await start()
  expect(started).toEqual([
    spriteFiles.joinsArgv({ conversationId: 'c1', xmtpEnv: 'dev', forSeconds: 300, intervalSeconds: 5 }),
  ])
  await clock.advance(300_000)
  expect(await look()).toBe('over')
})

it.each([
  ['that joined another’s', { joinUrl: 'a-slug' }],
  ['without a conversation', { conversationId: null }],
  ['that is not ready', { readyAt: null }],
])('is not wanted for a claim %s', async (_, claim) => {
  expect(await stage(claim).look()).toBe('unneeded')
})

it('is wanted again for another conversation than the one it was of', async () => {
  const { look, write } = stage()
  write({ conversation: 'of a former life', done: true })
  expect(await look()).toBe('wanted')
})

it('that has ended is over, and one that moves is left alone however long it takes', async () => {
  const { look, write, clock } = stage()
  for (let beat = 1; beat <= 9; beat++) {
    write({ beat })
    expect(await look()).toBe('running')
    await clock.advance(30_000)
  }
  write({ beat: 9, done: true, approved: true })
  expect(await look()).toBe('over')
})

it('that neither ended nor moved is started again, for the time that is left', async () => {
  const { look, write, start, started, clock } = stage()
  write({ beat: 4 })
  expect(await look()).toBe('running')
  await clock.advance(59_999)
  expect(await look()).toBe('running')
  await clock.advance(1)
  expect(await look()).toBe('wanted')
  await start()
  expect(started[0]?.slice(-2)).toEqual(['240', '5'])
  expect(await look()).toBe('running') // it is given its time to say something
})

it('is looked at afresh by a controller that has just begun', async () => {
  const { look, write, deps, clock } = stage()
  write({ beat: 4 })
  await look()
  await clock.advance(60_000)
  deps.joinBeats.forget('i') // a restart knows of no beat
  expect(await look()).toBe('running')
  await clock.advance(60_000)
  expect(await look()).toBe('wanted')
})

it('that writes nonsense is not known', async () => {
  const { look, write } = stage()
  write({ beat: 'often' })
  expect(await look()).toBe('unknown')
})
