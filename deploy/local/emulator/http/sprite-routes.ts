import type { ServerResponse } from 'node:http'
import { z } from 'zod'
import { sleep } from '../../../../specs/clock.ts'
import { type Engine, Refusal, type Sprite, type SpriteChange } from '../engine.ts'
import { ndjson, readJson, sendEmpty, sendJson } from './answer.ts'
import type { Call, Route, SurfaceOptions } from './router.ts'
import { RUNTIME_VERSION } from './runtime-version.ts'

const base = '/v1/sprites/:name'
const PAGE_LIMIT = 50
const ORGANIZATION = 'emulator'

const urlSettings = z.object({ auth: z.enum(['sprite', 'public']), private_access: z.string() }).partial()
/** Not documented for the watch stream; ours. */
const HEARTBEAT_MS = 15_000

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

const activityOf = ({ lastRunningAt, lastWarmingAt }: Sprite) => ({
  last_running_at: new Date(lastRunningAt).toISOString(),
  ...(lastWarmingAt === null ? {} : { last_warming_at: new Date(lastWarmingAt).toISOString() }),
})

function countersOf(engine: Engine, options: SurfaceOptions) {
  const count = (status: Sprite['status']) =>
    engine.list().filter((sprite) => sprite.status === status).length
  return {
    name: ORGANIZATION,
    running: count('running'),
    warm: count('warm'),
    cold: count('cold'),
    ...(options.runningLimit === null ? {} : { running_limit: options.runningLimit }),
  }
}

/** Endless: how things are, then each change. A Sprite that goes is not told of: no such event is documented. */
async function watchSprites({ response, query, engine, clock, options }: Call): Promise<void> {
  const prefix = query.get('prefix') ?? ''
  const stream = ndjson(response)
  const timestamp = () => new Date(clock.now()).toISOString()
  const say = (sprite: Sprite) => {
    if (!sprite.name.startsWith(prefix)) return
    const { name, status } = sprite
    const org = countersOf(engine, options)
    stream.write({
      name,
      status,
      running_version: RUNTIME_VERSION,
      ...activityOf(sprite),
      timestamp: timestamp(),
      org,
    })
  }
  for (const sprite of engine.list()) say(sprite)
  const unwatch = engine.watch(say)
  try {
    while (!stream.closed.aborted) {
      stream.write({ type: 'heartbeat', timestamp: timestamp(), org: countersOf(engine, options) })
      await sleep(clock, HEARTBEAT_MS, stream.closed).catch(() => {}) // its client hung up
    }
  } finally {
    unwatch()
  }
}

/**
 * One page, ordered by name. The token holds the last name of the page, so a Sprite that comes or goes between two
 * pages hides no other. Entries lack the labels, as those of the real list may: whoever needs them asks by name.
 */
function listPage({ engine, query, faults, options }: Call) {
  const prefix = query.get('prefix') ?? ''
  const asked = Number(query.get('max_results') ?? PAGE_LIMIT)
  const size = Number.isInteger(asked) && asked >= 1 ? Math.min(asked, PAGE_LIMIT) : PAGE_LIMIT
  const after = decodeToken(query.get('continuation_token'))
  const omitted = faults.takeAll('omit', 'list').map(({ sprite }) => sprite)
  const all = engine.list().filter(({ name }) => !omitted.includes(null) && !omitted.includes(name))
  const rest = all.filter(({ name }) => name.startsWith(prefix) && (after === null || name > after))
  const page = rest.slice(0, size)
  const last = page.at(-1)
  const hasMore = rest.length > page.length
  return {
    sprites: page.map((sprite) => ({
      id: sprite.id,
      name: sprite.name,
      org_slug: ORGANIZATION,
      status: sprite.status,
      url: sprite.url,
      updated_at: new Date(sprite.updatedAt).toISOString(),
    })),
    has_more: hasMore,
    ...(hasMore && last ? { next_continuation_token: encodeToken(last.name) } : {}),
    ...countersOf(engine, options),
  }
}

const encodeToken = (name: string) => Buffer.from(JSON.stringify({ after: name })).toString('base64url')

function decodeToken(token: string | null): string | null {
  if (!token) return null
  try {
    return z.object({ after: z.string() }).parse(JSON.parse(Buffer.from(token, 'base64url').toString())).after
  } catch {
    throw new Refusal(400, { error: 'invalid continuation token' })
  }
}

/** Counts accepted calls, whether they then succeed or not, in a rolling minute. */
function limitCreates(times: number[], limit: number, now: number): void {
  while (times[0] !== undefined && times[0] <= now - 60_000) times.shift()
  const oldest = times[0]
  if (times.length < limit || oldest === undefined) {
    times.push(now)
    return
  }
  const retryAfter = Math.max(1, Math.ceil((oldest + 60_000 - now) / 1_000))
  throw new Refusal(
    429,
    {
      error: 'sprite_creation_rate_limited',
      message: `Sprite creation rate limit exceeded. You can create ${limit} sprites per minute.`,
      limit,
      window_seconds: 60,
      retry_after_seconds: retryAfter,
      current_count: times.length,
      upgrade_available: false,
    },
    {
      'retry-after': String(retryAfter),
      'x-ratelimit-limit': String(limit),
      'x-ratelimit-remaining': '0',
      'x-ratelimit-reset': String(Math.ceil((oldest + 60_000) / 1_000)),
    },
  )
}

/** The plan's limit of Sprites that run at one time. */
function limitRunning(engine: Engine, limit: number): void {
  const count = engine.list().filter(({ status }) => status === 'running').length
  if (count < limit) return
  throw new Refusal(429, {
    error: 'concurrent_sprite_limit_exceeded',
    message: `Concurrent sprite limit exceeded. Your plan allows ${limit} running sprites.`,
    limit,
    current_count: count,
    upgrade_available: true,
  })
}

/** Without the keys whose value is undefined: zod's `partial()` allows them, exact types do not. */
function defined(settings: z.infer<typeof urlSettings> | null | undefined) {
  return {
    ...(settings?.auth === undefined ? {} : { auth: settings.auth }),
    ...(settings?.private_access === undefined ? {} : { private_access: settings.private_access }),
  }
}
