/**
 * `npm run docs`: writes into `machines/README.md` what the code knows better than any writer: the machine's diagram and
 * its limits. A test compares them, so neither can grow old.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { instanceMachine } from '../machines/instance.machine.ts'
import { EFFECTS, INTENTS } from '../machines/life.ts'
import * as limits from '../machines/limits.ts'

const README = new URL('../machines/README.md', import.meta.url)
const LIMITS = new URL('../machines/limits.ts', import.meta.url)

/** One way out of a state, or, where `to` is null, something that happens within it. */
export interface Way {
  to: string | null
  /** What holds in almost every state has a name of its own there. */
  guard: string | null
  intents: string[]
  effects: string[]
}

/** Every state in the order of a life, with all that may happen in it. */
export function waysOfMachine(): Map<string, Way[]> {
  return new Map(
    Object.entries(instanceMachine.states).map(([name, state]) => [
      name,
      [...state.transitions.values()].flat().map(({ target, guard, actions }): Way => {
        const named = actions.map((action) => (typeof action === 'object' ? action.type : String(action)))
        return {
          to: target?.[0]?.key ?? null,
          guard: typeof guard === 'string' ? guard : null,
          intents: INTENTS.filter((intent) => named.includes(intent)),
          effects: EFFECTS.filter((effect) => named.includes(effect)),
        }
      }),
    ]),
  )
}

/** The ways that make the life: every state may also end in `deleting` and `gone`, which would cover all others. */
function diagram(): string {
  const [first = ''] = waysOfMachine().keys()
  const lines = ['stateDiagram-v2', `  [*] --> ${first}`]
  for (const [from, ways] of waysOfMachine()) {
    const targets = new Set(ways.flatMap(({ to }) => to ?? []))
    for (const to of targets) {
      if (to === 'gone' ? from !== 'deleting' : to === 'deleting') continue
      const effects = new Set(ways.filter((way) => way.to === to).flatMap((way) => way.effects))
      effects.delete('endAttempt') // goes with every outcome, and means nothing to a reader
      lines.push(`  ${from} --> ${to}${effects.size > 0 ? `: ${[...effects].join(', ')}` : ''}`)
    }
  }
  return ['```mermaid', ...lines, '  gone --> [*]', '```'].join('\n')
}

function limitsTable(): string {
  const values: Record<string, number> = { ...limits }
  const source = readFileSync(LIMITS, 'utf8')
  const declared = source.matchAll(/(?:\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\n)?export const (\w+) =/g)
  const rows = [...declared].map(([, comment = '', name = '']) => [
    `\`${name}\``,
    inWords(name, values[name] ?? Number.NaN),
    comment.replace(/\s*\n\s*\*?\s*/g, ' ').trim(),
  ])
  return table([['limit', 'value', 'why'], ...rows])
}

function inWords(name: string, value: number): string {
  if (!name.endsWith('_MS')) return String(value)
  return value >= 120_000 && value % 60_000 === 0 ? `${value / 60_000} min` : `${value / 1000} s`
}

/** Aligned, as the formatter would have it. The first row is the head. */
function table(rows: string[][]): string {
  const widths =
    rows[0]?.map((_, column) => Math.max(3, ...rows.map((row) => row[column]?.length ?? 0))) ?? []
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, column) => (cells[column] ?? '').padEnd(width)).join(' | ')} |`
  const [head = [], ...body] = rows
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...body.map(line)].join('\n')
}

/** `text` with each part between its two marks made anew. @throws Error when a mark is missing */
export function withGenerated(text: string): string {
  return Object.entries({ diagram, limits: limitsTable }).reduce((before, [name, make]) => {
    const [from, to] = [`<!-- generated: ${name} -->`, '<!-- end -->']
    const start = before.indexOf(from)
    const end = before.indexOf(to, start)
    if (start < 0 || end < 0) throw new Error(`machines/README.md has no place for ${name}`)
    return `${before.slice(0, start + from.length)}\n\n${make()}\n\n${before.slice(end)}`
  }, text)
}

if (import.meta.main) writeFileSync(README, withGenerated(readFileSync(README, 'utf8')))
