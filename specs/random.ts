import { randomBytes, randomInt } from 'node:crypto'

/** Chance as an argument: a simulation hands in a seeded one. */
export interface Random {
  /** Uniform in [0, 1). For jitter. */
  fraction(): number
  /** `length` characters of `[a-z0-9]`, the first a letter. */
  word(length: number): string
  /** 256 bits in base64url, for keys that open something. */
  secret(): string
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyz'
const ALPHABET = `${LETTERS}0123456789`

export const systemRandom: Random = {
  fraction: () => randomInt(2 ** 47) / 2 ** 47,
  word(length) {
    let word = LETTERS.charAt(randomInt(LETTERS.length))
    while (word.length < length) word += ALPHABET.charAt(randomInt(ALPHABET.length))
    return word
  },
  secret: () => randomBytes(32).toString('base64url'),
}
