/** How many, and what is left of them. */
import { createServer } from 'node:http'
import PQueue from 'p-queue'
import { expect, it } from 'vitest'
import { createSpritesClient } from '../../controller/sprites/client.ts'
import { systemClock } from '../../specs/clock.ts'
import { startWorld, TOKEN, until } from './emulator-world.ts'

const clientOf = (base: string) => createSpritesClient({ baseUrl: base, token: TOKEN, clock: systemClock })

/** Sockets of this process that are open or on their way out; servers are not counted. */
const openSockets = () => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length

it('creates, checkpoints and deletes 1,000 modelled Sprites within 5 s', async () => {
  const { base } = await startWorld({ engine: 'memory' })
  const sprites = clientOf(base)
  const slots = new PQueue({ concurrency: 50 })
  const before = process.cpuUsage()
  await slots.addAll(
    Array.from({ length: 1_000 }, (_, n) => async () => {
      const name = `s-${n}`
      await sprites.create({ name, labels: [] })
      expect((await sprites.createCheckpoint(name, 'golden')).outcome).toBe('complete')
      expect(await sprites.remove(name)).toBe('deleted')
    }),
  )
  // Processor time, client's part included: on a machine that is free it is the time on the wall.
  const { user, system } = process.cpuUsage(before)
  expect((await sprites.list('')).sprites).toEqual([])
  expect((user + system) / 1_000).toBeLessThan(5_000)
})

it('leaves no socket, no session and no process after 10,000 commands', async () => {
  const { base, json } = await startWorld({ engine: 'memory' })
  const sprites = clientOf(base)
  await sprites.create({ name: 's', labels: [] })
  const before = openSockets()
  const slots = new PQueue({ concurrency: 50 })
  let failed = 0
  await slots.addAll(
    Array.from({ length: 10_000 }, (_, n) => async () => {
      const { exitCode } = await sprites.exec('s', n % 2 === 0 ? ['true'] : ['false'])
      if (exitCode !== n % 2) failed++
    }),
  )
  expect(failed).toBe(0)
  expect((await json('GET', '/sprites/s/exec')).body.count).toBe(0)
  await until(() => expect(openSockets()).toBeLessThanOrEqual(before + 2)) // kept-alive ones of the last calls
  expect((await sprites.exec('s', ['ps'])).stdout.trim().split('\n')).toHaveLength(2) // its head, and itself
})

// Only Linux has the whole of 127.0.0.0/8 as its own.
it.runIf(process.platform === 'linux')('listens on one loopback address only, API and URLs', async () => {
  const { base, create } = await startWorld({ engine: 'memory' })
  const { url } = await create('s', { url_settings: { auth: 'public' } })
  for (const address of [base, url]) {
    const port = Number(new URL(address).port)
    const rival = createServer()
    await new Promise<void>((resolve, reject) =>
      rival.once('error', reject).listen(port, '127.0.0.2', resolve),
    )
    rival.close() // the same port was free on another address: it is not held on all of them
  }
})
