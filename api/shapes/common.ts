import { z } from 'zod'
import { STATUSES } from '../../specs/instance.ts'
import { MAX_WAIT_SECONDS } from '../config.ts'

/** Instants go out as RFC 3339, UTC. */
export const Instant = z.string().meta({ format: 'date-time' })
export const instantOf = (at: Date): string => at.toISOString()
export const instantOrNull = (at: Date | null): string | null => at?.toISOString() ?? null

export const CountsShape = z.object(
  Object.fromEntries(STATUSES.map((status) => [status, z.int()])) as Record<
    (typeof STATUSES)[number],
    z.ZodInt
  >,
)

/** How long the caller waits for the end of what it asked, in seconds; left out: the verb's own default. */
export const WaitQuery = z.object({
  wait: z.coerce.number().int().min(0).max(MAX_WAIT_SECONDS).optional(),
})

export const PageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z.string().max(500).optional(),
})

export const page = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() })

/** RFC 9457, plus `error`: one sentence for a person, all that earlier clients read. */
export const ProblemShape = z.looseObject({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string(),
  detail: z.string(),
  error: z.string(),
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
})
