import type { Random } from '../../../../specs/random.ts'
import type { Operation } from '../operations.ts'
import { type Fault, type FaultKind, type FaultOf, type FaultWish, faultSchema } from './schema.ts'

export interface Injected {
  id: string
  fault: Fault
  /** How many requests met it so far. */
  met: number
}

/** Something that a test asked to go wrong never had the chance to: the test did not try what it says. */
export class FaultNotMet extends Error {
  override readonly name = 'FaultNotMet'
  constructor(unmet: readonly Injected[]) {
    super(`never met: ${unmet.map(({ id, fault }) => `${id} ${describe(fault)}`).join('; ')}`)
  }
}

export interface Faults {
  inject(wish: FaultWish): Injected
  /** All since the last `clear()`, used up or taken back ones included. */
  list(): Injected[]
  /** No request meets it any more; false: there is none of that id. Whether it was met still counts. */
  remove(id: string): boolean
  clear(): void
  /** Throws `FaultNotMet` for what no request has met. */
  expectMet(): void
  /** The first fault of these kinds that this request meets, which uses it up by one; null: none. */
  take<K extends FaultKind>(
    kinds: readonly K[],
    operation: Operation,
    sprite: string | null,
  ): FaultOf<K> | null
  /** As `take`, but every one, and whichever Sprite it is for: for requests about many. */
  takeAll<K extends FaultKind>(kind: K, operation: Operation): FaultOf<K>[]
}

export function createFaults(random: Random): Faults {
  const all: Injected[] = []
  const removed = new Set<string>()
  let lastId = 0

  function couldMeet(
    { id, fault, met }: Injected,
    kinds: readonly FaultKind[],
    operation: Operation,
  ): boolean {
    if (removed.has(id) || !kinds.includes(fault.kind)) return false
    if (fault.times !== null && met >= fault.times) return false
    return fault.on === 'any' || [fault.on].flat().includes(operation)
  }
  function meets(injected: Injected): boolean {
    const { probability } = injected.fault
    if (probability < 1 && random.fraction() >= probability) return false
    injected.met++
    return true
  }

  return {
    inject(wish) {
      lastId++
      const injected = { id: `f${lastId}`, fault: faultSchema.parse(wish), met: 0 }
      all.push(injected)
      return injected
    },
    list: () => all.map((injected) => ({ ...injected })),
    remove(id) {
      if (!all.some((injected) => injected.id === id)) return false
      removed.add(id)
      return true
    },
    clear() {
      all.length = 0
      removed.clear()
    },
    expectMet() {
      const unmet = all.filter(({ met }) => met === 0)
      if (unmet.length > 0) throw new FaultNotMet(unmet)
    },
    take<K extends FaultKind>(kinds: readonly K[], operation: Operation, sprite: string | null) {
      for (const injected of all) {
        if (injected.fault.sprite !== null && injected.fault.sprite !== sprite) continue
        if (couldMeet(injected, kinds, operation) && meets(injected)) return injected.fault as FaultOf<K>
      }
      return null
    },
    takeAll<K extends FaultKind>(kind: K, operation: Operation) {
      const met = all.filter((injected) => couldMeet(injected, [kind], operation) && meets(injected))
      return met.map(({ fault }) => fault as FaultOf<K>)
    },
  }
}

const describe = ({ kind, on, sprite }: Fault) =>
  `${kind} on ${[on].flat().join(', ')} of ${sprite ?? 'any Sprite'}`
