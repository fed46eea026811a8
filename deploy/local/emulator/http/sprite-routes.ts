import type { ServerResponse } from 'node:http'
import { z } from 'zod'
import { type Engine, Refusal, type Sprite, type SpriteChange } from '../engine.ts'
import { readJson, sendEmpty, sendJson } from './answer.ts'
import type { Route } from './router.ts'

const PAGE_LIMIT = 50
const ORGANIZATION = 'emulator'
/** The newest runtime that was seen live, 2026-09-01. */
const RUNTIME_VERSION = '0.0.1-rc48'

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
      path: '/v1/sprites',
      handle: ({ response, query, engine }) => sendJson(response, 200, listPage(engine, query)),
    },
    {
      method: 'POST',
      path: '/v1/sprites',
      async handle({ request, response, engine, clock, options }) {
        const body = await readJson(request, createBody)
        if (options.createsPerMinute !== null)
          limitCreates(createTimes, options.createsPerMinute, clock.now())
        const sprite = await engine.create({
          name: body.name,
          labels: body.labels ?? [],
          urlSettings: defined(body.url_settings),
        })
        sendSprite(response, 201, sprite)
      },
    },
    {
      method: 'GET',
      path: '/v1/sprites/:name',
      handle: ({ response, params, engine }) => sendSprite(response, 200, engine.get(params.name ?? '')),
    },
    {
      method: 'PUT',
      path: '/v1/sprites/:name',
      async handle({ request, response, params, engine }) {
        const body = await readJson(request, updateBody)
        const change: SpriteChange = {}
        if (body.clear_labels) change.labels = []
        if (body.labels) change.labels = body.labels
        if (body.url_settings) change.urlSettings = defined(body.url_settings)
        sendSprite(response, 200, await engine.update(params.name ?? '', change))
      },
    },
    {
      method: 'DELETE',
      path: '/v1/sprites/:name',
      async handle({ response, params, engine }) {
        await engine.remove(params.name ?? '')
        sendEmpty(response)
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
    status: 'running',
    created_at: new Date(sprite.createdAt).toISOString(),
    updated_at: new Date(sprite.updatedAt).toISOString(),
    labels: sprite.labels,
    version: RUNTIME_VERSION,
  })
}

/**
 * One page, ordered by name. The token holds the last name of the page, so a Sprite that comes or goes between two
 * pages hides no other. Entries lack the labels, as those of the real list may: whoever needs them asks by name.
 */
function listPage(engine: Engine, query: URLSearchParams) {
  const prefix = query.get('prefix') ?? ''
  const asked = Number(query.get('max_results') ?? PAGE_LIMIT)
  const size = Number.isInteger(asked) && asked >= 1 ? Math.min(asked, PAGE_LIMIT) : PAGE_LIMIT
  const after = decodeToken(query.get('continuation_token'))
  const all = engine.list()
  const rest = all.filter(({ name }) => name.startsWith(prefix) && (after === null || name > after))
  const page = rest.slice(0, size)
  const last = page.at(-1)
  const hasMore = rest.length > page.length
  return {
    sprites: page.map((sprite) => ({
      id: sprite.id,
      name: sprite.name,
      org_slug: ORGANIZATION,
      status: 'running',
      url: sprite.url,
      updated_at: new Date(sprite.updatedAt).toISOString(),
    })),
    has_more: hasMore,
    ...(hasMore && last ? { next_continuation_token: encodeToken(last.name) } : {}),
    name: ORGANIZATION,
    running: all.length,
    warm: 0,
    cold: 0,
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

/** Without the keys whose value is undefined: zod's `partial()` allows them, exact types do not. */
function defined(settings: z.infer<typeof urlSettings> | null | undefined) {
  return {
    ...(settings?.auth === undefined ? {} : { auth: settings.auth }),
    ...(settings?.private_access === undefined ? {} : { private_access: settings.private_access }),
  }
}
