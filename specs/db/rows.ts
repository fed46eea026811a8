/** Rows become camelCase here and nowhere else. Takes plain columns as well as `to_jsonb(row)`, whose instants are text. */

import { z } from 'zod'
import type { Claim, ClaimPhase } from '../claim.ts'
import { Condition } from '../condition.ts'
import { Attempt, type Instance, type InstanceId, type InstanceStatus, Progress } from '../instance.ts'
import {
  type Operation,
  OperationAttempt,
  type OperationKind,
  type OperationPhase,
  type Selector,
} from '../operation.ts'

export type Row = Record<string, unknown>

const Conditions = z.array(Condition)

const date = (value: unknown): Date => (value instanceof Date ? value : new Date(String(value)))
export const instant = (value: unknown): Date | null =>
  value === null || value === undefined ? null : date(value)
export const text = (value: unknown): string | null => (typeof value === 'string' ? value : null)
/** int8 arrives as text or number, by driver and by jsonb. */
export const integer = (value: unknown): number => Number(value)
/** jsonb that a writer other than us may have spoilt counts as absent, never as a crash. */
const lenient = <T>(schema: z.ZodType<T>, value: unknown): T | null => schema.safeParse(value).data ?? null

export function instanceFromRow(row: Row): Instance {
  return {
    id: row.id as InstanceId,
    pool: String(row.pool),
    wanted: row.wanted as Instance['wanted'],
    recycleRequested: integer(row.recycle_requested),
    protected: row.protected === true,
    claimId: text(row.claim_id),
    madeBy: text(row.made_by),
    drainedBy: text(row.drained_by),
    machine: row.machine as Instance['machine'],
    phase: String(row.phase),
    status: row.status as InstanceStatus,
    attempt: lenient(Attempt, row.attempt),
    touched: row.touched === true,
    provenAt: instant(row.proven_at),
    recycled: integer(row.recycled),
    reuses: integer(row.reuses),
    revision: integer(row.revision),
    spriteName: String(row.sprite_name),
    spriteId: text(row.sprite_id),
    spriteUrl: text(row.sprite_url),
    checkpointId: text(row.checkpoint_id),
    checkpointAt: text(row.checkpoint_at),
    stamp: String(row.stamp ?? ''),
    canary: text(row.canary),
    commit: text(row.commit),
    takes: lenient(z.array(z.string()), row.takes),
    progress: lenient(Progress, row.progress),
    conditions: lenient(Conditions, row.conditions) ?? [],
    error: text(row.error),
    nextLookAt: instant(row.next_look_at),
    createdAt: date(row.created_at),
    firstReadyAt: instant(row.first_ready_at),
    readyAt: instant(row.ready_at),
    claimedAt: instant(row.claimed_at),
    updatedAt: date(row.updated_at),
    resourceVersion: integer(row.resource_version),
  }
}

export function claimFromRow(row: Row): Claim {
  return {
    id: String(row.id),
    pool: String(row.pool),
    number: integer(row.number),
    priority: integer(row.priority),
    actor: String(row.actor),
    agentName: String(row.agent_name),
    instructions: String(row.instructions),
    joinUrl: text(row.join_url),
    extra: (row.extra ?? {}) as Record<string, unknown>,
    ttlSeconds: row.ttl_seconds === null ? null : integer(row.ttl_seconds),
    deadlineAt: date(row.deadline_at),
    releasedAt: instant(row.released_at),
    cancelledAt: instant(row.cancelled_at),
    instanceId: text(row.instance_id),
    phase: row.phase as ClaimPhase,
    attempts: integer(row.attempts),
    conversationId: text(row.conversation_id),
    inviteUrl: text(row.invite_url),
    inviteSlug: text(row.invite_slug),
    joined: row.joined === true,
    reason: text(row.reason),
    message: text(row.message),
    createdAt: date(row.created_at),
    boundAt: instant(row.bound_at),
    readyAt: instant(row.ready_at),
    endedAt: instant(row.ended_at),
    expiresAt: instant(row.expires_at),
  }
}

export function operationFromRow(row: Row): Operation {
  return {
    id: String(row.id),
    pool: String(row.pool),
    kind: row.kind as OperationKind,
    selector: (row.selector ?? {}) as Selector,
    wanted: integer(row.wanted),
    arguments: (row.arguments ?? {}) as Record<string, unknown>,
    actor: String(row.actor),
    deadlineAt: date(row.deadline_at),
    cancelledAt: instant(row.cancelled_at),
    createdAt: date(row.created_at),
    phase: row.phase as OperationPhase,
    attempt: lenient(OperationAttempt, row.attempt),
    picked: integer(row.picked),
    done: integer(row.done),
    failed: integer(row.failed),
    message: text(row.message),
    result: (row.result ?? null) as Record<string, unknown> | null,
    startedAt: instant(row.started_at),
    finishedAt: instant(row.finished_at),
  }
}
