/**
 * What a Sprites call can end with, named by what the caller can do about it. A message says what was asked, of
 * which Sprite, and what came back. It never holds the token, a query string or what stands in a file; and the
 * error below it is not attached, since undici's may carry pieces of the answer.
 */

interface Details extends ErrorOptions {
  /** A few words of ours, or the provider's sentence after `scrub()`. */
  detail?: string
}

export abstract class SpritesError extends Error {
  readonly operation: string
  /** The Sprite's name; for a listing the prefix. */
  readonly sprite: string
  /** The HTTP status that came back; null when none did. */
  readonly status: number | null
  constructor(operation: string, sprite: string, status: number | null, { detail, cause }: Details = {}) {
    const answer = `${status ?? 'no answer'}${detail ? `, ${detail}` : ''}`
    super(`sprites: ${operation} ${sprite}: ${answer}`, cause === undefined ? undefined : { cause })
    this.operation = operation
    this.sprite = sprite
    this.status = status
  }
}

/** No answer, 5xx, a page instead of an answer, cut in the middle, too late: nothing is known, and what was
 *  asked may have happened. A later try may succeed. */
export class SpritesUnavailable extends SpritesError {
  override readonly name = 'SpritesUnavailable'
}

/** 429: the same call after a while. `creation`: too many creates a minute; `concurrent`: the plan's limit of
 *  running Sprites. */
export class SpritesRateLimited extends SpritesError {
  override readonly name = 'SpritesRateLimited'
  readonly code: 'creation' | 'concurrent' | 'other'
  /** null: the provider did not say, so the caller's own backoff decides. */
  readonly retryAfterMs: number | null
  /** How many the provider allows, where it says so. */
  readonly limit: number | null
  constructor(
    operation: string,
    sprite: string,
    said: { code: SpritesRateLimited['code']; retryAfterMs: number | null; limit: number | null },
  ) {
    const wait = said.retryAfterMs === null ? '' : `, again in ${Math.ceil(said.retryAfterMs / 1000)} s`
    super(operation, sprite, 429, { detail: `${said.code} limit${wait}` })
    this.code = said.code
    this.retryAfterMs = said.retryAfterMs
    this.limit = said.limit
  }
}

/** 401, 403, or a redirect to a page that asks to sign in. Also seen while the provider itself is in trouble. */
export class SpritesUnauthorized extends SpritesError {
  override readonly name = 'SpritesUnauthorized'
}

export type Thing = 'sprite' | 'path' | 'service' | 'checkpoint'

/** The provider said in so many words that this is not there. `what` tells the Sprite from something in it. */
export class SpriteMissing extends SpritesError {
  override readonly name = 'SpriteMissing'
  readonly what: Thing
  constructor(operation: string, sprite: string, status: number | null, what: Thing) {
    super(operation, sprite, status, { detail: `no such ${what}` })
    this.what = what
  }
}

/** Create: the name is taken. By us, if its labels say so: look. */
export class SpriteExists extends SpritesError {
  override readonly name = 'SpriteExists'
}

/** 400, 422 and the like: the same call gets the same answer, only a change of ours helps. */
export class SpritesRejected extends SpritesError {
  override readonly name = 'SpritesRejected'
}

/** This runtime does not know the route. */
export class SpritesUnsupported extends SpritesError {
  override readonly name = 'SpritesUnsupported'
}

/** A checkpoint needs a running process: exec something, then ask again. */
export class NothingToCheckpoint extends SpritesError {
  override readonly name = 'NothingToCheckpoint'
}
