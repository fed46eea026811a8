import { z } from 'zod'

export const OPERATION_KINDS = ['drain', 'replenish', 'reconcile', 'probe', 'logs', 'action'] as const
export type OperationKind = (typeof OPERATION_KINDS)[number]

export const OPERATION_PHASES = ['Pending', 'Running', 'Succeeded', 'Failed', 'Cancelled', 'Expired'] as const
export type OperationPhase = (typeof OPERATION_PHASES)[number]

export const OperationAttempt = z.object({
  id: z.string(),
  /** ms since the epoch: what comes of it is written by then, or by nobody. */
  until: z.number(),
})
export type OperationAttempt = z.infer<typeof OperationAttempt>

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
  /** A call to an agent, sent at most once. Found by a run that did not begin it, its outcome is unknown. */
  attempt: OperationAttempt | null
  /** Instances made or marked so far. */
  picked: number
  done: number
  failed: number
  message: string | null
  result: Record<string, unknown> | null
  startedAt: Date | null
  finishedAt: Date | null
}

/** What a claim's agent can be asked; `instruct` gives it new instructions. */
export const AGENT_VERBS = ['rename', 'send', 'lock', 'unlock', 'explode', 'instruct'] as const
export type AgentVerb = (typeof AGENT_VERBS)[number]

export interface Selector {
  instance?: string
  /** Whose agent is meant, for an `AgentVerb`. */
  claim?: string
  verb?: 'recycle' | 'destroy' | AgentVerb
  revision?: number
  all?: boolean
  /** For `recycle`: done when `instances.recycled` has reached it. */
  until?: number
}

export const isFinished = (operation: Pick<Operation, 'phase'>) =>
  operation.phase !== 'Pending' && operation.phase !== 'Running'
