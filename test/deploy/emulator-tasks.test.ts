import { expect, it } from 'vitest'
import { startWorld, until } from './emulator-world.ts'

/** As setup.sh asks: from inside, over the socket. Prints the status, then the body. */
const ask = (method: string, path: string, body = '') =>
  `curl -s --max-time 5 --unix-socket "$SPRITE_ROOT/.sprite/api.sock" -X ${method} -d '${body}' ` +
  `-w '%{http_code}' http://sprite${path}`

async function withSprite() {
  const sleepTimes = { warmAfterMs: 150, coldAfterMs: 600_000, warmWakeMs: 0, coldWakeMs: 0 }
  const world = await startWorld({ engine: 'process', sleepTimes })
  const made = await world.create('s')
  const curl = async (...args: Parameters<typeof ask>) => (await world.bash('s', ask(...args))).stdout
  const status = async () => (await world.json('GET', '/sprites/s')).body.status
  return { ...world, made, curl, status }
}

it('keeps a Sprite awake for as long as a task of its own runs', async () => {
  const { curl, status } = await withSprite()
  await until(async () => expect(await status()).toBe('warm'))
  expect(await curl('PUT', '/v1/tasks/job', '{"expire":"5m"}')).toMatch(/task not found.*404$/)
  expect(await curl('POST', '/v1/tasks', '{"name":"job","expire":"5m"}')).toMatch(/201$/)
  expect(await curl('POST', '/v1/tasks', '{"name":"job","expire":"5m"}')).toMatch(/409$/)
  expect(await curl('PUT', '/v1/tasks/job', '{"expire":"10m"}')).toMatch(/200$/)
  expect(await curl('GET', '/v1/tasks')).toMatch(/"name":"job".*"expires_at".*200$/)
  await new Promise((resolve) => setTimeout(resolve, 500)) // it would be warm by now
  expect(await status()).toBe('running')
  expect(await curl('DELETE', '/v1/tasks/job')).toBe('204')
  await until(async () => expect(await status()).toBe('warm'))
})

it('lets it sleep when the task runs out, and refuses one that would run too long', async () => {
  const { curl, status } = await withSprite()
  expect(await curl('POST', '/v1/tasks', '{"name":"job","expire":"2h"}')).toMatch(/400$/)
  expect(await curl('POST', '/v1/tasks', '{"name":"job","expire":"300ms"}')).toMatch(/201$/)
  await until(async () => expect(await status()).toBe('warm'))
  expect(await curl('GET', '/v1/tasks')).toBe('{"tasks":[]}200')
})

it('tells the inside who it is, also after a restore has put another disk in place', async () => {
  const { curl, made, lines } = await withSprite()
  const said = await curl('GET', '/info')
  expect(JSON.parse(said.slice(0, -3))).toMatchObject({
    sprite_id: made.id,
    sprite_name: 's',
    sprite_url: made.url,
  })
  await lines('POST', '/sprites/s/checkpoint', {})
  await lines('POST', '/sprites/s/checkpoints/v1/restore')
  expect(await curl('GET', '/info')).toBe(said)
  expect(await curl('GET', '/nothing')).toMatch(/404$/)
})
