export const OPERATION_KINDS = ['drain', 'replenish', 'reconcile', 'probe', 'logs', 'action'] as const
export type OperationKind = (typeof OPERATION_KINDS)[number]

export const OPERATION_PHASES = ['Pending', 'Running', 'Succeeded', 'Failed', 'Cancelled', 'Expired'] as const
export type OperationPhase = (typeof OPERATION_PHASES)[number]

/** Whatever a person asks of the outside world goes through a row: what, of which, how many, until when. */
export interface Operation {
  id: string
  pool: string
  kind: OperationKind
  selector: Selector
  /** How many instances; 0 where it does not apply. */
  wanted: number
  arguments: Record<string, unknown>
  actor: string
  deadlineAt: Date
  cancelledAt: Date | null
  createdAt: Date
  phase: OperationPhase
  /** Instances made or marked so far. */
  picked: number
  done: number
  failed: number
  message: string | null
  result: Record<string, unknown> | null
  startedAt: Date | null
  finishedAt: Date | null
}

export interface Selector {
  instance?: string
  verb?: 'recycle' | 'destroy'
  revision?: number
  all?: boolean
  /** For `recycle`: done when `instances.recycled` has reached it. */
  until?: number
}

export const isFinished = (operation: Pick<Operation, 'phase'>) =>
  operation.phase !== 'Pending' && operation.phase !== 'Running'
