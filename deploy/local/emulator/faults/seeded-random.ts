import { createHash } from 'node:crypto'
import type { Random } from '../../../../specs/random.ts'

const LETTERS = 'abcdefghijklmnopqrstuvwxyz'
const ALPHABET = `${LETTERS}0123456789`

/** The same seed gives the same chance, on every machine. Its secrets are none: anybody can make them again. */
export function seededRandom(seed: string): Random {
  let count = 0
  const digest = () => {
    count++
    return createHash('sha256').update(`${seed}\0${count}`).digest()
  }
  const fraction = () => digest().readUIntBE(0, 6) / 2 ** 48
  const from = (letters: string) => letters.charAt(Math.floor(fraction() * letters.length))
  return {
    fraction,
    word(length) {
      let word = from(LETTERS)
      while (word.length < length) word += from(ALPHABET)
      return word
    },
    secret: () => digest().toString('base64url'),
  }
}
