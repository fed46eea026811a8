import { isIPv6 } from 'node:net'
import { RateLimiterMemory } from 'rate-limiter-flexible'
import { TooManyFailedSignIns } from '../errors.ts'

export interface SignInLimitOptions {
  /** Wrong keys that one caller may send in a window. */
  failures: number
  /** s. */
  windowSeconds: number
}

/** A person pastes a wrong key some times; a script with an old key asks every few seconds and is told to stop. */
export const SIGN_IN_LIMIT: SignInLimitOptions = { failures: 20, windowSeconds: 60 }

/**
 * Slows whoever guesses keys, and nobody else: it counts failures, by the caller's own address. From there nothing is
 * compared any more until the window is over, so that a right guess among many tells nothing. Each process counts for
 * itself: n replicas let n times as many through.
 */
export class SignInLimit {
  readonly #failed: RateLimiterMemory

  constructor({ failures, windowSeconds }: SignInLimitOptions) {
    this.#failed = new RateLimiterMemory({ points: failures, duration: windowSeconds })
  }

  /** @throws TooManyFailedSignIns when this address has none left. */
  async check(address: string): Promise<void> {
    const count = await this.#failed.get(networkOf(address))
    if (count && count.remainingPoints <= 0)
      throw new TooManyFailedSignIns(Math.max(1, Math.ceil(count.msBeforeNext / 1000)))
  }

  async failed(address: string): Promise<void> {
    await this.#failed.penalty(networkOf(address))
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
