/** Keys, instructions and links are in no log line, whatever is asked and however it ends. */
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { KEY, startWorld, type World } from './support.ts'

const CANARY = 'CANARY-4c1f'
const lines: string[] = []
const sink = new Writable({
  write(chunk, _, done) {
    lines.push(String(chunk))
    done()
  },
})

let world: World
beforeAll(async () => {
  world = await startWorld({ log: pino({ level: 'trace' }, sink) })
})
afterAll(() => world?.close())

const claim = { agentName: `${CANARY} name`, instructions: `${CANARY} words`, joinUrl: `${CANARY}-slug` }

it('not of a request that is answered, refused or broken', async () => {
  await world.stage.shelve(1)
  await Promise.all([
    world.ask('POST', '/api/pool/claim', { payload: claim, headers: { 'idempotency-key': CANARY } }),
    world.stage.deliver({ invite_url: `https://dev.convos.org/v2?i=${CANARY}` }),
  ])
  await world.ask('POST', '/api/pool/claim', { payload: { ...claim, agentName: '' } })
  await world.ask('POST', '/api/pool/claim', { payload: `{"instructions": "${CANARY}` })
  await world.askOpenly('GET', '/api/pool/status', { headers: { authorization: `Bearer ${CANARY}` } })
  await world.ask('GET', `/api/pool/claims?agentName=${CANARY}`)
  await world.ask('GET', '/api/pool/agents')

  // A check that refuses a row quotes all of it in its detail.
  await world.sql`alter table claims add constraint test_refuses check (priority <> 7)`
  const broken = await world.ask('POST', '/api/pool/claim', {
    payload: { ...claim, joinUrl: `${CANARY}-another`, priority: 7 },
    headers: { prefer: 'wait=0' },
  })
  expect(broken).toMatchObject({ status: 500, body: { code: 'Internal' } })
  await world.sql`alter table claims drop constraint test_refuses`

  expect(broken.text).not.toContain(CANARY)
  const log = lines.join('')
  expect(log).toContain('request failed')
  expect(log).toContain('request answered')
  expect(log).not.toContain(CANARY)
  expect(log).not.toContain(KEY)
})

it('nor what opens a gateway in any answer', async () => {
  const [id] = await world.stage.shelve(1)
  for (const path of ['status', 'agents', 'instances', `instances/${id}`, 'events', 'operations']) {
    const { status, text } = await world.ask('GET', `/api/pool/${path}`)
    expect(status).toBe(200)
    expect(text).not.toMatch(/CANARY-(gateway|token)|stamp-/)
  }
})

it('and the API’s role may not read or write what is not its own', async () => {
  const { apiSql } = world
  const refused = expect.objectContaining({ code: '42501' })
  await expect(apiSql`select gateway_key from instance_secrets`).rejects.toEqual(refused)
  await expect(apiSql`select stamp from instances`).rejects.toEqual(refused)
  await expect(apiSql`update instances set machine = machine`).rejects.toEqual(refused)
  await expect(apiSql`update instances set claim_id = null`).rejects.toEqual(refused)
  await expect(apiSql`update claims set phase = 'Ready'`).rejects.toEqual(refused)
  await expect(apiSql`update operations set phase = 'Succeeded'`).rejects.toEqual(refused)
  await expect(apiSql`update pools set status = '{}'`).rejects.toEqual(refused)
  await expect(
    apiSql`insert into events (pool, type, reason, message, actor) values ('default', 'Normal', 'x', 'x', 'x')`,
  ).rejects.toEqual(refused)
  await expect(apiSql`delete from claims`).rejects.toEqual(refused)
})
