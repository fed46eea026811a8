/** What a person asks of the outside world goes through a row: here it is made, and waited for. */

import type { FastifyReply, FastifyRequest } from 'fastify'
import { createOperation, getOperation, type NewOperation } from '../specs/db/operations.ts'
import { isFinished, type Operation } from '../specs/operation.ts'
import type { ApiContext, Edit } from './context.ts'
import { OperationUnsuccessful } from './errors.ts'

/** Aborts when the caller goes away before its answer: whoever waits for it need not. */
export function callerGone(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  let written = false
  reply.raw.once('finish', () => {
    written = true
  })
  reply.raw.once('close', () => {
    if (!written) controller.abort()
  })
  if (reply.raw.destroyed) controller.abort() // while something else was awaited: that end is not told again
  return controller.signal
}

export interface Question extends Omit<NewOperation, 'id' | 'pool' | 'actor'> {
  waitSeconds: number
  /** Its line in the audit; null: it changes nothing. */
  edit: Edit | null
}

/** Makes the operation and waits for its end as long as was asked. Returns it as it is then. */
export async function ask(
  context: ApiContext,
  request: FastifyRequest,
  reply: FastifyReply,
  { waitSeconds, edit, ...operation }: Question,
): Promise<Operation> {
  const { sql, operations, random } = context
  const id = random.word(16)
  const stop = new AbortController()
  const ended =
    waitSeconds > 0 && // from before it exists: no news of it can be missed
    operations.wait(id, isFinished, {
      timeoutMs: waitSeconds * 1000,
      signal: AbortSignal.any([stop.signal, callerGone(reply)]),
    })
  try {
    const made = await createOperation(sql, {
      ...operation,
      id,
      pool: request.pool,
      actor: request.actor.name,
    })
    if (edit) await context.record(request, { ...edit, causeId: id })
    return ended ? ((await ended) ?? (await getOperation(sql, request.pool, id))) : made
  } finally {
    stop.abort()
  }
}

/** Waits for one that is there already. */
export async function follow(
  context: ApiContext,
  reply: FastifyReply,
  operation: Operation,
  waitSeconds: number,
): Promise<Operation> {
  if (isFinished(operation) || waitSeconds === 0) return operation
  const ended = await context.operations.wait(operation.id, isFinished, {
    timeoutMs: waitSeconds * 1000,
    signal: callerGone(reply),
    look: true,
  })
  return ended ?? getOperation(context.sql, operation.pool, operation.id)
}

/** 200 when it is done, 202 and where to look while it goes on. @throws OperationUnsuccessful */
export function answerWith(request: FastifyRequest, reply: FastifyReply, operation: Operation): 200 | 202 {
  if (operation.phase === 'Succeeded') return 200
  if (isFinished(operation)) throw new OperationUnsuccessful(operation)
  reply.header('location', `${request.base}/operations/${operation.id}`)
  return 202
}
