/**
 * What somebody asked of a claim's agent, carried out under its instance's key: begun by a committed attempt, sent once,
 * by the run that began it. An answer that is lost ends it as unknown, and nobody asks again.
 */
import {
  type AgentActionEnd,
  beginAgentAction,
  endAgentAction,
  nextAgentAction,
  writeOperation,
} from '../../specs/db/operations.ts'
import type { AgentVerb, Operation } from '../../specs/operation.ts'
import { cut } from '../../specs/text.ts'
import { GatewayRejected, GatewayUnauthorized, InsecureUrl } from '../gateway/errors.ts'
import { placeFile } from './files.ts'
import { claimState, type InstanceDeps, type Run } from './run.ts'

/** ms. A gateway that sleeps needs up to 15 s to wake, and answers within a few. */
const CALL_MS = 30_000
/** ms. A cold machine is woken first, and takes the file then. */
const PLACE_MS = 60_000
const WAKE_MS = 20_000
/** ms. An answer's way back, and the statement that records it. */
const ANSWER_MARGIN_MS = 5_000

export const OUTCOME_UNKNOWN = {
  phase: 'Failed',
  failed: 1,
  message: 'No answer came back: it may have been done, and is not repeated.',
  result: { reason: 'OutcomeUnknown' },
} as const

/** True: something was done or ended, so the row may be another by now. Only an agent that is in its conversation is asked. */
export async function carryOutAgentAction(deps: InstanceDeps, run: Run): Promise<boolean> {
  const { sql, lead, clock, random } = deps
  const { claim, instance } = run
  if (
    instance.phase !== 'claimed' ||
    claim?.phase !== 'Ready' ||
    claimState(claim, run.claimExpired) !== 'live'
  )
    return false
  const action = await nextAgentAction(sql, claim.id)
  if (!action) return false
  if (action.attempt) {
    // The leader before us named until when its calls may be under way: it writes their outcomes itself.
    if (lead.foreignUntil !== null && clock.now() < lead.foreignUntil) return false
    return writeOperation(sql, lead.fence, action.id, OUTCOME_UNKNOWN)
  }
  if (!lead.mayCall()) return false
  const limitMs = action.selector.verb === 'instruct' ? PLACE_MS : CALL_MS
  const attempt = { id: random.word(16), until: clock.now() + limitMs + ANSWER_MARGIN_MS }
  if (!(await beginAgentAction(sql, lead.fence, action.id, attempt))) return true
  const done = lead.underway(attempt.until)
  try {
    await endAgentAction(sql, action.id, attempt.id, await outcomeOf(deps, run, action))
  } finally {
    done()
  }
  deps.moved()
  return true
}

async function outcomeOf(deps: InstanceDeps, run: Run, action: Operation): Promise<AgentActionEnd> {
  if (!deps.lead.mayCall())
    return failed('NotSent', 'The controller was about to hand over and sent nothing: ask again.')
  try {
    return { phase: 'Succeeded', message: null, ...(await send(deps, run, action)) }
  } catch (error) {
    if (error instanceof GatewayRejected) return failed('RequestRefused', error.message)
    if (error instanceof GatewayUnauthorized || error instanceof InsecureUrl)
      return failed('NotReachable', error.message)
    if (action.selector.verb === 'instruct')
      return failed('NotWritten', 'The instructions could not be written: put them again.')
    return OUTCOME_UNKNOWN
  }
}

const failed = (reason: string, message: string): AgentActionEnd => ({
  phase: 'Failed',
  message: cut(message, 300),
  result: { reason },
})

/** Not given the run's signal, as all that is sent once: it ends by its own limit. Instructions are a file. */
async function send(
  deps: InstanceDeps,
  { instance, gatewayKey, signal }: Run,
  action: Operation,
): Promise<Pick<AgentActionEnd, 'result' | 'claim'>> {
  const { gateway } = deps
  const { spriteName, spriteUrl } = instance
  if (spriteUrl === null || gatewayKey === null) throw new InsecureUrl('its gateway is not known')
  const limit = { timeoutMs: CALL_MS }
  const text = (name: string) => String(action.arguments[name] ?? '')
  const verb = action.selector.verb as AgentVerb // others are not of a claim
  switch (verb) {
    case 'send': {
      const { messageId } = await gateway.send(spriteUrl, gatewayKey, { message: text('message') }, limit)
      return { result: { messageId } }
    }
    case 'rename': {
      const agentName = text('name')
      await gateway.rename(spriteUrl, gatewayKey, { name: agentName }, limit)
      return { result: null, claim: { agentName } }
    }
    case 'lock':
    case 'unlock': {
      const { locked } = await gateway.lock(spriteUrl, gatewayKey, { unlock: verb === 'unlock' }, limit)
      return { result: { locked } }
    }
    case 'explode':
      await gateway.explode(spriteUrl, gatewayKey, {}, limit)
      return { result: { exploded: true }, claim: { released: true } } // nothing is left to hold: on to the restore
    case 'instruct': {
      const instructions = text('instructions')
      // File calls may hang on a cold machine; a request to its URL wakes it, whatever it answers.
      await gateway.status(spriteUrl, gatewayKey, { timeoutMs: WAKE_MS }, signal)
      await placeFile(
        deps.sprites,
        deps.random,
        spriteName,
        deps.files.paths.instructions,
        instructions,
        '0600',
        signal,
      )
      return { result: null, claim: { instructions } }
    }
    default: {
      const never: never = verb
      throw new Error(`no such action: ${never}`)
    }
  }
}
