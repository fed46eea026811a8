import { transition } from 'xstate'
import { instanceMachine } from './instance.machine.ts'
import { type Context, EFFECTS, type Effect, FRESH, INTENTS, type Intent } from './life.ts'
import type { Observed } from './observed.ts'

/** What a row stores. `version` counts changes of the context's shape. */
export interface Snapshot {
  version: number
  value: string
  context: Context
}

export const VERSION = 1

export interface Step {
  snapshot: Snapshot
  /** Something in the snapshot changed: write it before anything is asked. */
  moved: boolean
  /** The one thing asked for; null when it moved, or when only time or news can matter. */
  intent: Intent | null
  /** What the move means for other rows, to be written with it. */
  effects: { type: Effect; reason?: string; message?: string }[]
}

export const initialSnapshot = (): Snapshot => ({ version: VERSION, value: 'pending', context: FRESH })

/** @throws Error when the row holds a state or version that this release does not know: it must fail loudly, not guess. */
export function decode(stored: {
  version: number
  value: string
  context: Record<string, unknown>
}): Snapshot {
  if (stored.version !== VERSION)
    throw new Error(`snapshot version ${stored.version}: this release knows ${VERSION}`)
  if (!Object.hasOwn(instanceMachine.states, stored.value)) throw new Error(`unknown state ${stored.value}`)
  return { version: VERSION, value: stored.value, context: { ...FRESH, ...stored.context } }
}

/** One transition. Pure. */
export function step(from: Snapshot, observed: Observed): Step {
  const before = instanceMachine.resolveState({ value: from.value, context: from.context })
  const [after, actions] = transition(instanceMachine, before, observed)
  const snapshot: Snapshot = { version: VERSION, value: String(after.value), context: after.context }
  const moved = snapshot.value !== from.value || !sameContext(from.context, snapshot.context)
  const intents: Intent[] = []
  const effects: Step['effects'] = []
  for (const action of actions) {
    if ((INTENTS as readonly string[]).includes(action.type)) intents.push(action.type as Intent)
    else if ((EFFECTS as readonly string[]).includes(action.type))
      effects.push({ type: action.type as Effect, ...(action.params as object | undefined) })
  }
  if (intents.length > 1) throw new Error(`two intents in one pass: ${intents.join(', ')}`)
  return { snapshot, moved: moved || effects.length > 0, intent: intents[0] ?? null, effects }
}

function sameContext(a: Context, b: Context): boolean {
  return (Object.keys(a) as (keyof Context)[]).every((key) => a[key] === b[key])
}
