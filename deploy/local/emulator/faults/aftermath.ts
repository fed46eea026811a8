import type { Clock } from '../../../../specs/clock.ts'
import type { Service } from '../engine.ts'
import type { Operation } from '../operations.ts'

/** Still answered of a Sprite whose disk is lost: the control plane knows nothing of it. */
const ANSWERED: readonly Operation[] = ['list', 'get', 'update', 'delete', 'create', 'session.list']

/** What a fault leaves behind, by the name of the Sprite. Gone with the Sprite. */
export interface Aftermath {
  ruin(sprite: string): void
  /** Whether this would hang. */
  hangs(operation: Operation, sprite: string | null): boolean
  unsettle(sprite: string, ms: number): void
  cannotRead(sprite: string): boolean
  /** These are shown as running until each is put, started or deleted. */
  leaveStale(sprite: string, services: Service[]): void
  stale(sprite: string): Service[]
  settle(sprite: string, service: string): void
  forget(sprite: string): void
}

export function createAftermath(clock: Clock): Aftermath {
  const ruined = new Set<string>()
  const unreadableUntil = new Map<string, number>()
  const stale = new Map<string, Service[]>()
  return {
    ruin: (sprite) => void ruined.add(sprite),
    hangs: (operation, sprite) => sprite !== null && ruined.has(sprite) && !ANSWERED.includes(operation),
    unsettle: (sprite, ms) => void unreadableUntil.set(sprite, clock.monotonic() + ms),
    cannotRead: (sprite) => clock.monotonic() < (unreadableUntil.get(sprite) ?? Number.NEGATIVE_INFINITY),
    leaveStale: (sprite, services) => void stale.set(sprite, services),
    stale: (sprite) => stale.get(sprite) ?? [],
    settle(sprite, service) {
      const left = (stale.get(sprite) ?? []).filter(({ definition }) => definition.name !== service)
      stale.set(sprite, left)
    },
    forget(sprite) {
      ruined.delete(sprite)
      unreadableUntil.delete(sprite)
      stale.delete(sprite)
    },
  }
}
