import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { waysOfMachine, withGenerated } from '../../deploy/docs.ts'
import { INTENTS } from '../../machines/life.ts'
import { ROOT } from '../support/sources.ts'

const readme = readFileSync(join(ROOT, 'machines/README.md'), 'utf8')
const machine = waysOfMachine()
machine.delete('gone') // final, and never stored

/** Rows of the table of states: what stands in backticks in each cell. */
const described = new Map(
  readme.split('\n').flatMap((line) => {
    const [state = '', asks = '', leaves = ''] = line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim())
    const name = /^`(\w+)`$/.exec(state)?.[1]
    return name && machine.has(name) ? [[name, { asks: quoted(asks), leaves: quoted(leaves) }] as const] : []
  }),
)

function quoted(cell: string): string[] {
  return [...cell.matchAll(/`(\w+)`/g)].flatMap(([, word]) => word ?? [])
}

const sorted = (words: Iterable<string>) => [...new Set(words)].sort()

describe('machines/README.md', () => {
  it('has the diagram and the limits of this code: run "npm run docs" when it has not', () => {
    expect(readme).toBe(withGenerated(readme))
  })

  it('describes every state, in the order of the machine', () => {
    expect([...described.keys()]).toEqual([...machine.keys()])
  })

  it.each([...machine])('names what %s asks for', (state, ways) => {
    const intents = ways.flatMap((way) => way.intents)
    expect(sorted(described.get(state)?.asks.filter(isIntent) ?? [])).toEqual(sorted(intents))
  })

  it.each([...machine])('names where %s leads', (state, ways) => {
    const own = ways.filter(({ to, guard }) => to !== null && !holdsEverywhere(to, guard, state))
    const named = described.get(state)?.leaves.filter((word) => machine.has(word) || word === 'gone')
    expect(sorted(named ?? [])).toEqual(sorted(own.flatMap(({ to }) => to ?? [])))
  })
})

const isIntent = (word: string) => (INTENTS as readonly string[]).includes(word)

/** Said once, above the table. */
function holdsEverywhere(to: string, guard: string | null, state: string): boolean {
  return to === 'gone' ? state !== 'deleting' : to === 'deleting' && guard === 'unwanted'
}
