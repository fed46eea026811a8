import { z } from 'zod'
import type { PoolEvent } from '../../specs/event.ts'
import { Instant, instantOf } from './common.ts'

export const EventShape = z.object({
  id: z.string(),
  type: z.enum(['Normal', 'Warning']),
  reason: z.string(),
  message: z.string(),
  actor: z.string(),
  causeId: z.string().nullable(),
  claimId: z.string().nullable(),
  instanceId: z.string().nullable(),
  count: z.int(),
  firstAt: Instant,
  lastAt: Instant,
})

export function toEvent(event: PoolEvent): z.infer<typeof EventShape> {
  return { ...event, firstAt: instantOf(event.firstAt), lastAt: instantOf(event.lastAt) }
}
