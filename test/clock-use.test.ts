import { describe, expect, it } from 'vitest'
import { readSource, sourceFiles, withoutComments } from './support/sources.ts'

/** Whoever uses these owns time, chance or the network by itself, and no test or simulation can take its place. */
const CLOCK_AND_CHANCE = [
  /\bDate\.now\b/,
  /\bnew Date\(\s*\)/,
  /\bperformance\.now\b/,
  /\bprocess\.hrtime\b/,
  /\bset(?:Timeout|Interval|Immediate)\b/,
  /\bAbortSignal\.timeout\b/,
  /\bMath\.random\b/,
  /\brandom(?:UUID|Bytes|Int)\b/,
  /\bgetRandomValues\b/,
]
const NETWORK = [/(?<![.\w])fetch\(/, /\bglobalThis\.fetch\b/, /\bnew WebSocket\(/]

/** The clock and chance themselves, the emulator (the outside world), and what runs in front of a person. */
const OWNS_ALL = ['specs/clock.ts', 'specs/random.ts', 'deploy/local/', 'api/cli/', 'api/dashboard/', 'test/']
/** The two clients: their time comes in as an argument all the same. */
const OWNS_NETWORK = [...OWNS_ALL, 'controller/sprites/', 'controller/gateway/']

function uses(patterns: readonly RegExp[], owners: readonly string[]): string[] {
  return sourceFiles()
    .filter((path) => !owners.some((owner) => path.startsWith(owner)))
    .flatMap((path) =>
      withoutComments(readSource(path))
        .split('\n')
        .flatMap((line, index) =>
          patterns.some((pattern) => pattern.test(line)) ? [`${path}:${index + 1}: ${line.trim()}`] : [],
        ),
    )
}

describe('outside the places that own them', () => {
  it('time, timers and chance are arguments: take a Clock from specs/clock.ts, a Random from specs/random.ts', () => {
    expect(uses(CLOCK_AND_CHANCE, OWNS_ALL)).toEqual([])
  })

  it('nobody opens a connection: go through the clients in controller/sprites and controller/gateway', () => {
    expect(uses(NETWORK, OWNS_NETWORK)).toEqual([])
  })
})

describe('the search itself', () => {
  it.each([
    'const at = Date.now()',
    'const at = new Date()',
    'setTimeout(run, 5)',
    "import { setTimeout as sleep } from 'node:timers/promises'",
    'Math.random() * 5',
    'AbortSignal.timeout(5)',
    'const id = randomUUID()',
  ])('finds %s', (line) => {
    expect(CLOCK_AND_CHANCE.some((pattern) => pattern.test(withoutComments(line)))).toBe(true)
  })

  it.each([
    'const at = new Date(now)',
    'const now = clock.now()',
    '// Date.now() is not for us',
    '/* Math.random */ x',
  ])('leaves %s alone', (line) => {
    expect(CLOCK_AND_CHANCE.some((pattern) => pattern.test(withoutComments(line)))).toBe(false)
  })

  it.each([
    ['await fetch(url)', true],
    ['await globalThis.fetch(url)', true],
    ['new WebSocket(url)', true],
    ['deps.fetch(url)', false],
    ['prefetch(url)', false],
  ])('takes %s for the network: %s', (line, expected) => {
    expect(NETWORK.some((pattern) => pattern.test(line))).toBe(expected)
  })
})
