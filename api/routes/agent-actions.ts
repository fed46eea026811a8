import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { AgentName, Instructions, Message } from '../../specs/claim.ts'
import { getClaim } from '../../specs/db/claims.ts'
import { Conflict } from '../../specs/errors.ts'
import type { AgentVerb } from '../../specs/operation.ts'
import { answerWith, ask } from '../ask.ts'
import { DEFAULT_WAIT_SECONDS } from '../config.ts'
import type { ApiContext } from '../context.ts'
import { phaseOf } from '../shapes/claim.ts'
import { WaitQuery } from '../shapes/common.ts'
import { OperationShape, toOperation } from '../shapes/operation.ts'

/** s. An agent that is under repair is asked when it is well again, or not at all: what was meant for now is not said later. */
const ACTION_SECONDS = 120

/** What the agent of a claim can be asked while it is in its conversation. Each is an operation, sent once. */
export const agentActionRoutes =
  (context: ApiContext): FastifyPluginAsyncZod =>
  async (app) => {
    const params = z.object({ id: z.string() })
    const response = { 200: OperationShape, 202: OperationShape }
    const asked = <Body extends z.ZodType>(body: Body) => ({
      config: { access: 'claimer' as const },
      schema: { params, querystring: WaitQuery, body, response },
    })
    type Request = FastifyRequest<{ Params: { id: string }; Querystring: { wait?: number | undefined } }>

    async function act(
      request: Request,
      reply: FastifyReply,
      verb: AgentVerb,
      words: Record<string, unknown> = {},
    ): Promise<z.infer<typeof OperationShape>> {
      const claim = await getClaim(context.sql, request.pool, request.params.id)
      if (phaseOf(claim) !== 'Ready' || claim.instanceId === null)
        throw new Conflict(
          'NotReady',
          `claim ${claim.id} is ${phaseOf(claim)}: its agent is in no conversation`,
        )
      const operation = await ask(context, request, reply, {
        kind: 'action',
        selector: { claim: claim.id, instance: claim.instanceId, verb },
        wanted: 1,
        arguments: words,
        deadlineSeconds: ACTION_SECONDS,
        waitSeconds: request.query.wait ?? DEFAULT_WAIT_SECONDS,
        edit: { ...EDITS[verb], claimId: claim.id, instanceId: claim.instanceId },
      })
      reply.code(answerWith(request, reply, operation))
      return toOperation(operation)
    }

    app.post('/claims/:id/rename', asked(z.strictObject({ name: AgentName })), (request, reply) =>
      act(request, reply, 'rename', request.body),
    )

    app.post('/claims/:id/send', asked(z.strictObject({ message: Message })), (request, reply) =>
      act(request, reply, 'send', request.body),
    )

    app.post(
      '/claims/:id/lock',
      asked(z.strictObject({ unlock: z.boolean().optional() }).nullish()),
      (request, reply) => act(request, reply, request.body?.unlock ? 'unlock' : 'lock'),
    )

    /** The conversation ends for everybody, the claim with it, and the instance is recycled. */
    app.post('/claims/:id/explode', asked(z.strictObject({}).nullish()), (request, reply) =>
      act(request, reply, 'explode'),
    )

    /** In force from the agent's next answer on: it reads them each time. */
    app.put(
      '/claims/:id/instructions',
      asked(z.strictObject({ instructions: Instructions })),
      (request, reply) => act(request, reply, 'instruct', request.body),
    )
  }

/** Their lines in the audit. What was said stays out of it. */
const EDITS: Record<AgentVerb, { reason: string; message: string }> = {
  rename: { reason: 'RenameRequested', message: 'The agent is to have another name.' },
  send: { reason: 'SendRequested', message: 'The agent is to say something.' },
  lock: { reason: 'LockRequested', message: 'Nobody new is to come into the conversation.' },
  unlock: { reason: 'UnlockRequested', message: 'The conversation is to be open again.' },
  explode: { reason: 'ExplodeRequested', message: 'The conversation is to end for everybody.' },
  instruct: { reason: 'InstructionsChanged', message: 'The agent is to have other instructions.' },
}
