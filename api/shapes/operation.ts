import { z } from 'zod'
import { OPERATION_KINDS, OPERATION_PHASES, type Operation } from '../../specs/operation.ts'
import { Instant, instantOf, instantOrNull } from './common.ts'

export const OperationShape = z.object({
  id: z.string(),
  kind: z.enum(OPERATION_KINDS),
  phase: z.enum(OPERATION_PHASES),
  wanted: z.int(),
  done: z.int(),
  failed: z.int(),
  /** Why it did not succeed: CamelCase, and stable. */
  reason: z.string().nullable(),
  message: z.string().nullable(),
  result: z.record(z.string(), z.unknown()).nullable(),
  createdAt: Instant,
  startedAt: Instant.nullable(),
  finishedAt: Instant.nullable(),
  deadlineAt: Instant,
})

/** null: it succeeded, goes on, or has nothing to add to its phase. */
export function reasonOf({ result }: Pick<Operation, 'result'>): string | null {
  return typeof result?.reason === 'string' ? result.reason : null
}

export function toOperation(operation: Operation): z.infer<typeof OperationShape> {
  return {
    id: operation.id,
    kind: operation.kind,
    phase: operation.phase,
    wanted: operation.wanted,
    done: operation.done,
    failed: operation.failed,
    reason: reasonOf(operation),
    message: operation.message,
    result: operation.result,
    createdAt: instantOf(operation.createdAt),
    startedAt: instantOrNull(operation.startedAt),
    finishedAt: instantOrNull(operation.finishedAt),
    deadlineAt: instantOf(operation.deadlineAt),
  }
}
