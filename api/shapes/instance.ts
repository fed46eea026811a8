import { z } from 'zod'
import { Condition } from '../../specs/condition.ts'
import type { InstanceView } from '../../specs/db/instances.ts'
import { Progress, STATUSES } from '../../specs/instance.ts'
import { Instant, instantOf, instantOrNull } from './common.ts'

export const InstanceShape = z.object({
  id: z.string(),
  status: z.enum(STATUSES),
  /** The machine's own word; may change with the machine. */
  phase: z.string(),
  spriteName: z.string(),
  spriteId: z.string().nullable(),
  spriteUrl: z.string().nullable(),
  revision: z.int(),
  commit: z.string().nullable(),
  checkpointId: z.string().nullable(),
  claimId: z.string().nullable(),
  agentName: z.string().nullable(),
  createdAt: Instant,
  readyAt: Instant.nullable(),
  claimedAt: Instant.nullable(),
  updatedAt: Instant,
  lastProbeOkAt: Instant.nullable(),
  strikes: z.int(),
  protected: z.boolean(),
  progress: Progress.nullable(),
  conditions: z.array(Condition),
  error: z.string().nullable(),
})

export function toInstance(view: InstanceView): z.infer<typeof InstanceShape> {
  return {
    id: view.id,
    status: view.status,
    phase: view.phase,
    spriteName: view.spriteName,
    spriteId: view.spriteId,
    spriteUrl: view.spriteUrl,
    revision: view.revision,
    commit: view.commit,
    checkpointId: view.checkpointId,
    claimId: view.claimId,
    agentName: view.agentName,
    createdAt: instantOf(view.createdAt),
    readyAt: instantOrNull(view.readyAt),
    claimedAt: instantOrNull(view.claimedAt),
    updatedAt: instantOf(view.updatedAt),
    lastProbeOkAt: instantOrNull(view.probe.okAt),
    strikes: view.probe.strikes,
    protected: view.protected,
    progress: view.progress,
    conditions: view.conditions,
    error: view.error,
  }
}
