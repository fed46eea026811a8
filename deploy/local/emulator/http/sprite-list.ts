import { z } from 'zod'
import { sleep } from '../../../../specs/clock.ts'
import { type Engine, Refusal, type Sprite } from '../engine.ts'
import { ndjson } from './answer.ts'
import type { Call, SurfaceOptions } from './router.ts'
import { RUNTIME_VERSION } from './runtime-version.ts'

const PAGE_LIMIT = 50
export const ORGANIZATION = 'emulator'
/** Not documented for the watch stream; ours. */
const HEARTBEAT_MS = 15_000

export const activityOf = ({ lastRunningAt, lastWarmingAt }: Sprite) => ({
  last_running_at: new Date(lastRunningAt).toISOString(),
  ...(lastWarmingAt === null ? {} : { last_warming_at: new Date(lastWarmingAt).toISOString() }),
})

function countersOf(engine: Engine, options: SurfaceOptions) {
  const counts = { running: 0, warm: 0, cold: 0 }
  for (const { status } of engine.list()) counts[status]++
  const limit = options.runningLimit === null ? {} : { running_limit: options.runningLimit }
  return { name: ORGANIZATION, ...counts, ...limit }
}

/** Endless: how things are, then each change. A Sprite that goes is not told of: no such event is documented. */
export async function watchSprites({ response, query, engine, clock, options }: Call): Promise<void> {
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
export function listPage({ engine, query, faults, options }: Call) {
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
