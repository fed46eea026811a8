import { z } from 'zod'
import type { Condition } from './condition.ts'

export type InstanceId = string & { readonly __brand: 'InstanceId' }
export const InstanceId = z
  .string()
  .regex(/^[a-z][a-z0-9]{11}$/, 'an instance id is 12 of a–z and 0–9, the first a letter')
  .transform((id) => id as InstanceId)

/** The seven promised words for where an instance is; the machine's `phase` beside it may change with the machine. */
export const STATUSES = [
  'provisioning',
  'idle',
  'claimed',
  'recycling',
  'recovering',
  'quarantined',
  'deleting',
] as const
export type InstanceStatus = (typeof STATUSES)[number]

export type Counts = Record<InstanceStatus, number>

export const Progress = z.object({
  phase: z.string(),
  percent: z.number().nullable(),
  /** The last lines of the setup's log, newest last. */
  log: z.array(z.string()),
})
export type Progress = z.infer<typeof Progress>

/** A call that is sent at most once. Found by a run that did not begin it, its outcome is unknown. */
export const Attempt = z.object({
  id: z.string(),
  call: z.enum(['converse', 'join', 'restore']),
  /** ms since the epoch: nothing that was sent can still be under way after it, as far as we can tell. */
  until: z.number(),
})
export type Attempt = z.infer<typeof Attempt>

/** The machine's snapshot, opaque here: only `machines/` knows what is in the context. */
export interface StoredSnapshot {
  version: number
  value: string
  context: Record<string, unknown>
}

export interface Instance {
  id: InstanceId
  pool: string
  wanted: 'present' | 'absent'
  recycleRequested: number
  protected: boolean
  claimId: string | null
  madeBy: string | null
  drainedBy: string | null
  machine: StoredSnapshot
  phase: string
  status: InstanceStatus
  attempt: Attempt | null
  touched: boolean
  provenAt: Date | null
  recycled: number
  reuses: number
  revision: number
  spriteName: string
  spriteId: string | null
  spriteUrl: string | null
  checkpointId: string | null
  checkpointAt: string | null
  stamp: string
  canary: string | null
  commit: string | null
  /** Fields that its gateway's claim request knows; null: not known yet. */
  takes: string[] | null
  progress: Progress | null
  conditions: Condition[]
  error: string | null
  nextLookAt: Date | null
  createdAt: Date
  firstReadyAt: Date | null
  readyAt: Date | null
  claimedAt: Date | null
  updatedAt: Date
  resourceVersion: number
}

export interface Probe {
  okAt: Date | null
  failedAt: Date | null
  strikes: number
  latencyMs: number | null
  verdict: string | null
}
