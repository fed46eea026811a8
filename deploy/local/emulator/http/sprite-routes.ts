import type { ServerResponse } from 'node:http'
import { z } from 'zod'
import type { Sprite, SpriteChange } from '../engine.ts'
import { readJson, sendEmpty, sendJson } from './answer.ts'
import { limitCreates, limitRunning } from './create-limits.ts'
import type { Route } from './router.ts'
import { RUNTIME_VERSION } from './runtime-version.ts'
import { activityOf, listPage, ORGANIZATION, watchSprites } from './sprite-list.ts'

const base = '/v1/sprites/:name'

const urlSettings = z.object({ auth: z.enum(['sprite', 'public']), private_access: z.string() }).partial()
const createBody = z.object({
  name: z.string(),
  labels: z.array(z.string()).nullish(),
  url_settings: urlSettings.nullish(),
})
const updateBody = z.object({
  labels: z.array(z.string()).nullish(),
  clear_labels: z.boolean().nullish(),
  url_settings: urlSettings.nullish(),
})

export function spriteRoutes(): Route[] {
  const createTimes: number[] = [] // of the last minute, oldest first

  return [
    {
      method: 'GET',
      operation: 'list',
      path: '/v1/sprites',
      handle(call) {
        if (call.request.headers.accept?.includes('application/x-ndjson')) return watchSprites(call)
        sendJson(call.response, 200, listPage(call))
      },
    },
    {
      method: 'POST',
      operation: 'create',
      path: '/v1/sprites',
      async handle({ input, response, engine, aftermath, clock, options }) {
        const body = await readJson(input, createBody)
        if (options.createsPerMinute !== null)
          limitCreates(createTimes, options.createsPerMinute, clock.now())
        if (options.runningLimit !== null) limitRunning(engine, options.runningLimit)
        const sprite = await engine.create({
          name: body.name,
          labels: body.labels ?? [],
          urlSettings: defined(body.url_settings),
        })
        aftermath.forget(sprite.name)
        sendSprite(response, 201, sprite)
      },
    },
    {
      method: 'GET',
      operation: 'get',
      path: base,
      handle: ({ response, params, engine }) => sendSprite(response, 200, engine.get(params.name ?? '')),
    },
    {
      method: 'PUT',
      operation: 'update',
      path: base,
      async handle({ input, response, params, engine }) {
        const body = await readJson(input, updateBody)
        const change: SpriteChange = {}
        if (body.clear_labels) change.labels = []
        if (body.labels) change.labels = body.labels
        if (body.url_settings) change.urlSettings = defined(body.url_settings)
        sendSprite(response, 200, await engine.update(params.name ?? '', change))
      },
    },
    {
      method: 'DELETE',
      operation: 'delete',
      path: base,
      async handle({ response, params, engine, aftermath }) {
        await engine.remove(params.name ?? '')
        aftermath.forget(params.name ?? '')
        sendEmpty(response)
      },
    },
    {
      method: 'GET',
      operation: 'check',
      path: `${base}/check`,
      handle({ response, params, engine, aftermath, clock }) {
        const { id, name, status } = engine.get(params.name ?? '')
        const health = aftermath.hangs('exec', name)
          ? 'unhealthy'
          : status === 'running'
            ? 'healthy'
            : 'hibernated'
        const checked_at = new Date(clock.now()).toISOString()
        sendJson(response, 200, { sprite_name: name, sprite_id: id, status: health, checked_at })
      },
    },
    {
      method: 'POST',
      operation: 'restart',
      asleep: 'wakes',
      path: `${base}/restart`,
      async handle({ response, params, engine }) {
        const { id, name } = engine.get(params.name ?? '')
        await engine.restart(name)
        sendJson(response, 200, { sprite_name: name, machine_id: id, message: 'restarted' })
      },
    },
    {
      method: 'POST',
      operation: 'upgrade',
      path: `${base}/upgrade`,
      handle({ response, params, engine }) {
        engine.get(params.name ?? '')
        sendEmpty(response) // every Sprite here has the newest runtime already
      },
    },
  ]
}

function sendSprite(response: ServerResponse, status: number, sprite: Sprite): void {
  response.setHeader('sprite-version', RUNTIME_VERSION)
  sendJson(response, status, {
    id: sprite.id,
    name: sprite.name,
    organization: ORGANIZATION,
    url: sprite.url,
    url_settings: sprite.urlSettings,
    status: sprite.status,
    created_at: new Date(sprite.createdAt).toISOString(),
    updated_at: new Date(sprite.updatedAt).toISOString(),
    ...activityOf(sprite),
    labels: sprite.labels,
    version: RUNTIME_VERSION,
  })
}

/** Without the keys whose value is undefined: zod's `partial()` allows them, exact types do not. */
function defined(settings: z.infer<typeof urlSettings> | null | undefined) {
  return {
    ...(settings?.auth === undefined ? {} : { auth: settings.auth }),
    ...(settings?.private_access === undefined ? {} : { private_access: settings.private_access }),
  }
}
