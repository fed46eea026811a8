import { once } from 'node:events'
import { chmod, mkdir, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { dirname } from 'node:path'
import { z } from 'zod'
import type { Clock } from '../../../../specs/clock.ts'
import { parseDuration } from '../duration.ts'
import { type Log, Refusal } from '../engine.ts'
import { readJson, sendEmpty, sendJson } from '../http/answer.ts'
import { findRoute } from '../http/router.ts'
import { RUNTIME_VERSION } from '../http/runtime-version.ts'
import type { OwnRoute } from '../http/server.ts'
import type { Power } from '../power.ts'

/** What fits into the address of a Unix socket, on macOS; Linux takes four more. */
const PATH_LIMIT_BYTES = 103
/** A task holds its Sprite for an hour at most. */
const EXPIRY_LIMIT_MS = 3_600_000

const expiry = z.object({ expire: z.string() })
const newTask = expiry.extend({ name: z.string().min(1) })

interface Task {
  startedAt: number
  expiresAt: number
  end(): void
}

/**
 * `/.sprite/api.sock`: what the inside of a Sprite can ask of its machine. Above all tasks, which keep it awake. Where
 * the folder's path is too long for a socket there is none, as on runtimes that lack it. The returned function ends it.
 */
export async function openApiSocket(deps: {
  path: string
  clock: Clock
  power: Power
  log: Log
  info: () => { id: string; name: string; url: string }
}): Promise<() => Promise<void>> {
  const { path, clock, power, log, info } = deps
  if (Buffer.byteLength(path) > PATH_LIMIT_BYTES) {
    log.warn({ path }, 'no socket for tasks: the path is too long')
    return async () => {}
  }
  const tasks = new Map<string, Task>()

  async function hold(name: string, expire: string, startedAt: number): Promise<void> {
    const ms = parseDuration(expire)
    if (ms === null || ms <= 0 || ms > EXPIRY_LIMIT_MS) throw new Refusal(400, { error: 'invalid expire' })
    const release = await power.hold()
    tasks.get(name)?.end()
    const cancel = clock.after(ms, () => tasks.get(name)?.end())
    tasks.set(name, {
      startedAt,
      expiresAt: clock.now() + ms,
      end() {
        tasks.delete(name)
        cancel()
        release()
      },
    })
  }
  function taskOf(name: string): Task {
    const task = tasks.get(name)
    if (!task) throw new Refusal(404, { error: 'task not found' })
    return task
  }
  const toWire = ([name, { startedAt, expiresAt }]: [string, Task]) => ({
    name,
    started_at: new Date(startedAt).toISOString(),
    expires_at: new Date(expiresAt).toISOString(),
  })

  const routes: OwnRoute[] = [
    {
      method: 'GET',
      path: '/info',
      handle({ response }) {
        const { id, name, url } = info()
        const said = { sprite_id: id, sprite_name: name, sprite_url: url }
        sendJson(response, 200, { ...said, version: RUNTIME_VERSION, org: 'emulator' })
      },
    },
    {
      method: 'GET',
      path: '/v1/tasks',
      handle: ({ response }) => sendJson(response, 200, { tasks: [...tasks].map(toWire) }),
    },
    {
      method: 'POST',
      path: '/v1/tasks',
      async handle({ input, response }) {
        const { name, expire } = await readJson(input, newTask)
        if (tasks.has(name)) throw new Refusal(409, { error: 'task already exists' })
        await hold(name, expire, clock.now())
        sendJson(response, 201, { name })
      },
    },
    {
      method: 'PUT',
      path: '/v1/tasks/:name',
      async handle({ input, response, params }) {
        const name = params.name ?? ''
        const { startedAt } = taskOf(name)
        await hold(name, (await readJson(input, expiry)).expire, startedAt)
        sendJson(response, 200, { name })
      },
    },
    {
      method: 'DELETE',
      path: '/v1/tasks/:name',
      handle({ response, params }) {
        taskOf(params.name ?? '').end()
        sendEmpty(response)
      },
    },
  ]

  const server = createServer(async (request, response) => {
    try {
      const found = findRoute(routes, request.method ?? '', (request.url ?? '').split('?')[0] ?? '')
      if (!found) return void response.writeHead(404).end('404 page not found\n')
      await found.route.handle({ input: request, response, params: found.params })
    } catch (error) {
      const { status, body } =
        error instanceof Refusal ? error : new Refusal(500, { error: 'internal server error' })
      if (!response.headersSent) sendJson(response, status, body)
    }
  })
  await mkdir(dirname(path), { recursive: true })
  await rm(path, { force: true }) // an emulator that was killed leaves its own behind
  server.listen({ path })
  await once(server, 'listening')
  await chmod(path, 0o666)
  return async () => {
    for (const task of [...tasks.values()]) task.end()
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }
}
