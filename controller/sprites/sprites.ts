import type { SpriteEntry, SpritesClient, Timeouts } from './client.ts'
import { SpriteMissing, SpritesUnavailable } from './errors.ts'
import { type Call, type Http, segment } from './http.ts'
import { PageWire, SpriteWire } from './schemas.ts'

/** The provider's most for one page. */
const PAGE = 50
/** 50,000 Sprites: beyond it the pages go round in circles. */
const MOST_PAGES = 1_000

/** Create, read, update, delete of whole Sprites. */
export function spriteCalls(
  http: Http,
  timeouts: Timeouts,
): Pick<SpritesClient, 'list' | 'get' | 'create' | 'makePublic' | 'remove'> {
  const call = (
    operation: string,
    name: string,
    method: Call['method'],
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Call => {
    const path = `/v1/sprites/${segment(operation, name, name)}`
    return { operation, subject: name, looksFor: 'sprite', method, path, timeoutMs, signal }
  }

  return {
    async list(prefix, signal) {
      const found = new Map<string, SpriteEntry>() // a Sprite that moved between two pages comes once
      const tokens = new Set<string>()
      let token: string | null = null
      for (let page = 0; page < MOST_PAGES; page++) {
        const query: Record<string, string> = { prefix, max_results: String(PAGE) }
        if (token) query.continuation_token = token
        const answer: { sprites: SpriteEntry[]; more: boolean; token: string | null } = await http.json(
          {
            operation: 'list',
            subject: prefix,
            looksFor: 'sprite',
            method: 'GET',
            path: '/v1/sprites',
            query,
            timeoutMs: timeouts.readMs,
            signal,
          },
          PageWire,
        )
        for (const sprite of answer.sprites) found.set(sprite.name, sprite)
        if (!answer.more) return { sprites: [...found.values()] }
        token = answer.token
        if (!token || tokens.has(token)) break // more, but no way to it: not complete, and absence is read from it
        tokens.add(token)
      }
      throw new SpritesUnavailable('list', prefix, 200, { detail: 'pages without an end' })
    },

    async get(name, signal) {
      try {
        return await http.json(call('get', name, 'GET', timeouts.readMs, signal), SpriteWire)
      } catch (error) {
        if (error instanceof SpriteMissing) return null
        throw error
      }
    },

    async create({ name, labels }, signal) {
      return http.json(
        {
          ...call('create', name, 'POST', timeouts.createMs, signal),
          path: '/v1/sprites',
          json: { name, labels, url_settings: { auth: 'public' }, wait_for_capacity: false },
        },
        SpriteWire,
      )
    },

    async makePublic(name, signal) {
      return http.json(
        {
          ...call('makePublic', name, 'PUT', timeouts.changeMs, signal),
          json: { url_settings: { auth: 'public' } },
        },
        SpriteWire,
      )
    },

    async remove(name, signal) {
      try {
        await http.done(call('remove', name, 'DELETE', timeouts.changeMs, signal))
        return 'deleted'
      } catch (error) {
        if (error instanceof SpriteMissing) return 'absent'
        throw error
      }
    },
  }
}
