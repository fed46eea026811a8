import fc from 'fast-check'
import { expect, it } from 'vitest'
import { cut } from '../../specs/text.ts'

it('never ends in half of a character, and never holds what a row cannot', () => {
  expect(cut(`${'x'.repeat(9)}😀`, 10)).toBe(`${'x'.repeat(9)}\uFFFD`)
  expect(cut('a\0b', 10)).toBe('ab')
  fc.assert(
    fc.property(fc.array(fc.nat(0xffff), { maxLength: 40 }), fc.nat(30), (units, length) => {
      const text = String.fromCharCode(...units)
      const short = cut(text, length)
      return short.isWellFormed() && !short.includes('\0') && short.length <= length
    }),
  )
})
