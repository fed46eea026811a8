import { createHash } from 'node:crypto'
import { isIPv6 } from 'node:net'
import { RateLimiterMemory } from 'rate-limiter-flexible'
import { TooManyFailedSignIns } from '../errors.ts'

export interface SignInLimitOptions {
  /** Different wrong keys that one caller may send in a window. */
  failures: number
  /** s. */
  windowSeconds: number
}

/** More than a person tries; a guesser gets 28,800 a day, of keys that have 16 characters or more. */
export const SIGN_IN_LIMIT: SignInLimitOptions = { failures: 20, windowSeconds: 60 }

/**
 * Slows whoever guesses keys, and nobody else: it counts different wrong keys, by the caller's own address. One that is
 * sent over and over counts once: a script that kept its key through a rotation must not shut out the office around it.
 * From an address that has none left nothing is compared until its window is over, so that a right guess among many tells
 * nothing. Each process counts for itself: n replicas let n times as many through.
 */
export class SignInLimit {
  readonly #wrong: RateLimiterMemory
  /** Which keys were counted, by digest: at most `failures` for each address. */
  readonly #counted: RateLimiterMemory

  constructor({ failures, windowSeconds }: SignInLimitOptions) {
    this.#wrong = new RateLimiterMemory({ points: failures, duration: windowSeconds })
    this.#counted = new RateLimiterMemory({ points: 1, duration: windowSeconds })
  }

  /** @throws TooManyFailedSignIns when this address has none left. */
  async check(address: string): Promise<void> {
    const count = await this.#wrong.get(networkOf(address))
    if (count && count.remainingPoints <= 0)
      throw new TooManyFailedSignIns(Math.max(1, Math.ceil(count.msBeforeNext / 1000)))
  }

  async failed(address: string, key: string): Promise<void> {
    const network = networkOf(address)
    const digest = createHash('sha256').update(key).digest('base64url')
    const { isFirstInDuration } = await this.#counted.penalty(`${network} ${digest}`)
    if (isFirstInDuration) await this.#wrong.penalty(network)
  }
}

/** Who holds one IPv6 address holds its /64, the least that a network gives to a customer (RFC 6177). */
export function networkOf(address: string): string {
  const [bare = ''] = address.split('%')
  if (!isIPv6(bare)) return bare
  const [, mapped] = /^::ffff:([\d.]+)$/i.exec(bare) ?? []
  if (mapped) return mapped
  const [head = '', tail] = bare.toLowerCase().split('::')
  const groups = head.split(':').filter(Boolean)
  const last = tail?.split(':').filter(Boolean) ?? []
  const gap = tail === undefined ? [] : Array<string>(8 - groups.length - last.length).fill('0')
  const network = [...groups, ...gap, ...last].slice(0, 4)
  return `${network.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`
}
