/**
 * Every life that the machine allows, each step with every world that it can tell apart. A pass is run with a world that
 * answers facet by facet: where it asks for one, the walk branches over all its values, so a facet that a state does not
 * read costs nothing and none is left out by hand. Time moves to both sides of every instant that the snapshot knows of.
 */
import * as limits from '../../machines/limits.ts'
import { NOTHING_SEEN, type Observed } from '../../machines/observed.ts'
import { initialSnapshot, type Snapshot, type Step, step } from '../../machines/step.ts'

const all = <T extends string>(values: Record<T, true>) => Object.keys(values) as T[]
const BOTH = [false, true] as const
type Facet = Exclude<keyof Observed, 'type' | 'now' | 'beat'>

/** The compiler holds each list complete: a value that is added to a facet is explored or does not compile. */
export const FACETS: { [K in Facet]: readonly Observed[K][] } = {
  wanted: BOTH,
  recycle: BOTH,
  recyclable: BOTH,
  quarantine: BOTH,
  requireComplete: BOTH,
  mayDelete: BOTH,
  joinAttempts: [1, 2],
  claim: all<Observed['claim']>({ none: true, live: true, cancelled: true, released: true, expired: true }),
  joins: BOTH,
  excusedUntil: [0], // a later deadline and nothing else: `excuse.test.ts`
  massIll: BOTH,
  attempt: all<Observed['attempt']>({ none: true, mine: true, unknown: true, overdue: true, reported: true }),
  outcome: all<Observed['outcome']>({
    none: true,
    delivered: true,
    waiting: true,
    refused: true,
    failed: true,
    lost: true,
    complete: true,
    ended: true,
    error: true,
  }),
  sprite: all<Observed['sprite']>({ unknown: true, present: true, missing: true, foreign: true }),
  listLacks: BOTH,
  limited: BOTH,
  deleteAcknowledged: BOTH,
  setup: all<Observed['setup']>({
    unknown: true,
    none: true,
    running: true,
    done: true,
    failed: true,
    refused: true,
  }),
  files: all<Observed['files']>({ unknown: true, unwritten: true, written: true }),
  service: all<Observed['service']>({ unknown: true, absent: true, present: true }),
  gateway: all<Observed['gateway']>({
    unknown: true,
    down: true,
    ready: true,
    bound: true,
    unauthorized: true,
    open: true,
  }),
  disk: all<Observed['disk']>({ unknown: true, clean: true, dirty: true, pending: true }),
  sealed: all<Observed['sealed']>({ unknown: true, open: true, sealed: true }),
  checkpoint: all<Observed['checkpoint']>({ unknown: true, none: true, made: true }),
  mark: all<Observed['mark']>({ unknown: true, unmarked: true, marked: true }),
  health: all<Observed['health']>({ unknown: true, healthy: true, unhealthy: true }),
  restarted: BOTH,
  joinLoop: all<Observed['joinLoop']>({
    unknown: true,
    unneeded: true,
    wanted: true,
    running: true,
    over: true,
  }),
}

const RESTORE_OUTCOMES: readonly Observed['outcome'][] = ['none', 'lost', 'complete', 'ended', 'error']
const DELIVERY_OUTCOMES: readonly Observed['outcome'][] = [
  'none',
  'delivered',
  'waiting',
  'refused',
  'failed',
  'lost',
]

/** What has to have happened to a touched one before it may be idle, kept beside the machine and not by it. */
export interface Proof {
  stage: 'untouched' | 'touched' | 'marked' | 'restored' | 'proven'
  /** First clean look of an unbroken row of clean ones. */
  cleanSince: number | null
}

export interface Node {
  snapshot: Snapshot
  /** Time of the pass that led here. */
  at: number
  proof: Proof
}

export interface Edge {
  from: Node
  /** What was read, laid over a quiet world with a live claim; what was not read cannot matter. */
  world: Observed
  read: readonly string[]
  step: Step
}

/** Instants at which this snapshot may answer differently than a moment before. */
export function instants({ value, context }: Snapshot): number[] {
  const after = (since: number | null, ...delays: number[]) =>
    since === null ? [] : delays.map((delay) => since + delay)
  const absence =
    context.deletedAt !== null
      ? [limits.ABSENT_DELETED_AFTER_MS]
      : context.seen
        ? [limits.ABSENT_AFTER_MS, limits.ABSENT_CLAIMED_AFTER_MS]
        : [limits.ABSENT_UNSEEN_AFTER_MS]
  const pauses = [1, 2, 4, 8].map((times) => times * limits.REPAIR_GRACE_MS)
  return [
    ...after(context.deadline, ...(value === 'pending' ? [-limits.CREATE_LIMIT_MS / 2, 0] : [0])),
    ...after(context.missingAt, ...absence),
    ...after(context.beatAt, limits.BEAT_LIMIT_MS),
    ...after(context.cleanAt, limits.PROOF_GAP_MS),
    ...after(context.dirtyAt, limits.PROOF_GAP_MS),
    ...after(context.nextJoinAt, 0),
    ...after(context.rungAt, ...pauses, limits.REPAIR_PAUSE_MAX_MS),
  ]
}

/** Both sides of every instant ahead, and no time at all. */
function times({ snapshot, at }: Node): number[] {
  const ahead = instants(snapshot).flatMap((instant) => [instant - 1, instant])
  return [...new Set([at, ...ahead.filter((time) => time > at)])]
}

/** One pass at one time, once for each combination of answers to what it asks. */
export function* passes(from: Node, now: number): Generator<Edge> {
  const asked: { facet: string; values: readonly unknown[]; pick: number }[] = []
  do {
    const known = new Map(asked.map(({ facet, values, pick }) => [facet, values[pick]]))
    const world = new Proxy({} as Observed, {
      get(_, name) {
        if (name === 'type') return 'observed'
        if (name === 'now') return now
        if (typeof name === 'symbol') return undefined
        if (known.has(name)) return known.get(name)
        const values = valuesOf(name, from.snapshot, known)
        asked.push({ facet: name, values, pick: 0 })
        known.set(name, values[0])
        return values[0]
      },
    })
    const result = step(from.snapshot, world)
    const read = [...known.keys()]
    yield {
      from,
      world: { ...NOTHING_SEEN, claim: 'live', now, ...Object.fromEntries(known) },
      read,
      step: result,
    }
    while (asked.length > 0) {
      const last = asked[asked.length - 1]
      if (last && ++last.pick < last.values.length) break
      asked.pop()
    }
  } while (asked.length > 0)
}

function valuesOf(
  name: string,
  { value, context }: Snapshot,
  known: ReadonlyMap<string, unknown>,
): readonly unknown[] {
  if (name === 'beat') return [...new Set([null, context.beat, (context.beat ?? 0) + 1])]
  // An outcome is what this run heard of its own call: of the kind that the state makes, and the attempt is its own.
  if (name === 'outcome') return value === 'restoring' ? RESTORE_OUTCOMES : DELIVERY_OUTCOMES
  if (name === 'attempt' && known.has('outcome') && known.get('outcome') !== 'none') return ['mine']
  if (name in FACETS) return FACETS[name as Facet]
  throw new Error(`the machine reads ${name}: not a facet of the world`)
}

/** All nodes and edges, breadth first: nodes that nothing can tell apart are walked on from once. */
export function explore(): { nodes: Node[]; edges: Edge[] } {
  const first: Node = {
    snapshot: initialSnapshot(),
    at: 1_000_000,
    proof: { stage: 'untouched', cleanSince: null },
  }
  const nodes = [first]
  const known = new Set([keyOf(first)])
  const edges: Edge[] = []
  for (const node of nodes) {
    if (node.snapshot.value === 'gone') continue
    for (const now of times(node))
      for (const edge of passes(node, now)) {
        edges.push(edge)
        const next: Node = { snapshot: edge.step.snapshot, at: now, proof: proofAfter(edge) }
        const key = keyOf(next)
        if (known.has(key)) continue
        known.add(key)
        nodes.push(next)
      }
  }
  return { nodes, edges }
}

/**
 * What is set, on which side of the deadlines, and the counters as far as they change anything. How long ago the rest was
 * is no part of it: every walk on from here goes to both sides of all of them.
 */
function keyOf({ snapshot: { value, context }, at, proof }: Node): string {
  if (value === 'gone') return value
  const isSet = Object.entries(context).map(([name, it]) =>
    name === 'reason' || it === null ? '-' : it !== false,
  )
  return [
    value,
    ...isSet,
    context.deadline !== null && at >= context.deadline,
    context.nextJoinAt !== null && at >= context.nextJoinAt,
    context.from,
    context.tries,
    Math.min(context.rung, 5),
    Math.min(context.joinTries, 2),
    proof.stage,
    proof.cleanSince !== null,
  ].join()
}

function proofAfter({ from, world, step: { snapshot } }: Edge): Proof {
  const was = from.snapshot.value
  const is = snapshot.value
  const { proof } = from
  if (is === 'delivering' || (is === 'marking' && was !== 'marking'))
    return { stage: 'touched', cleanSince: null }
  if (was === 'marking' && is === 'restoring' && world.mark === 'marked') return { ...proof, stage: 'marked' }
  const over = world.outcome === 'ended' || world.attempt === 'unknown' || world.attempt === 'overdue'
  const confirmed = world.outcome === 'complete' || (!world.requireComplete && over)
  if (was === 'restoring' && is === 'proving' && proof.stage === 'marked' && confirmed)
    return { stage: 'restored', cleanSince: null }
  if (was === 'proving' && is === 'proving') {
    if (!hasDisk(world) || world.disk === 'unknown') return proof
    return { ...proof, cleanSince: world.disk === 'clean' ? (proof.cleanSince ?? world.now) : null }
  }
  if (was === 'proving' && (is === 'arming' || is === 'sealing')) {
    const twice = proof.cleanSince !== null && world.now - proof.cleanSince >= limits.PROOF_GAP_MS
    const proven = world.disk === 'clean' && twice && proof.stage !== 'touched' && proof.stage !== 'marked'
    return { stage: proven ? 'proven' : proof.stage, cleanSince: null }
  }
  if (is === 'idle') return { stage: 'untouched', cleanSince: null }
  return proof
}

/** A pass that stopped at something else never looked at the disk: what it holds then says nothing. */
const hasDisk = (world: Observed) => world.wanted && world.sprite !== 'missing' && world.sprite !== 'foreign'

/** For a person: from where, with what, to where. */
export function describeEdge({ from, world, read, step: { snapshot, intent, effects } }: Edge): string {
  const seen = read.map((name) => `${name}=${world[name as keyof Observed]}`).join(' ')
  const done = [intent, ...effects.map(({ type }) => type)].filter((it) => it !== null).join('+')
  return `${from.snapshot.value} → ${snapshot.value} [${done}] +${world.now - from.at} ms: ${seen}`
}
