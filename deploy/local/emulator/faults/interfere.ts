import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { type Clock, sleep } from '../../../../specs/clock.ts'
import { readBody } from '../http/answer.ts'
import type { Operation } from '../operations.ts'
import type { Aftermath } from './aftermath.ts'
import { captured } from './capture.ts'
import type { Faults } from './faults.ts'
import type { FaultOf } from './schema.ts'

/** Larger bodies cannot be held: nothing of a pool comes near. */
const HELD_LIMIT_BYTES = 64 * 1_048_576

export interface Encounter {
  operation: Operation
  /** null: none is named. */
  sprite: string | null
  request: IncomingMessage
  /** The request's body, where it was not read already. */
  input: Readable
  response: ServerResponse
}

/** What stands between the wire and an engine. */
export interface Interference {
  faults: Faults
  aftermath: Aftermath
  clock: Clock
  /** ms that an answer takes, by operation. */
  latencyMs: Partial<Record<Operation, number>>
}

/** Carries a request out as the faults that it meets say: later, not at all, or with another answer. */
export async function interfere(
  { faults, aftermath, clock, latencyMs }: Interference,
  { operation, sprite, request, input, response }: Encounter,
  carryOut: (input: Readable) => Promise<void> | void,
): Promise<void> {
  const holdMs = (latencyMs[operation] ?? 0) + (faults.take(['hold'], operation, sprite)?.ms ?? 0)
  let body: Readable = input
  if (holdMs > 0) {
    body = replay(await readBody(input, HELD_LIMIT_BYTES)) // all of it now: its sender may be gone by then
    await sleep(clock, holdMs)
  }
  if (aftermath.hangs(operation, sprite)) return untilClosed(response)
  const instead = faults.take(['hang', 'cut', 'refuse'], operation, sprite)
  if (instead?.kind === 'hang') return untilClosed(response)
  if (instead?.kind === 'cut') return void response.destroy()
  if (instead?.kind === 'refuse') return sendRefusal(request, response, instead)

  const after = faults.take(['lose', 'lie', 'not-streaming'], operation, sprite)
  if (after?.kind === 'lose') captured(response, () => response.destroy())
  if (after?.kind === 'lie') captured(response, () => sendRefusal(request, response, after))
  if (after?.kind === 'not-streaming') stopStreaming(response)
  await carryOut(body)
}

export const replay = (body: Buffer): Readable => Readable.from(body.length > 0 ? [body] : [])

export function untilClosed(response: ServerResponse): Promise<void> {
  if (response.closed) return Promise.resolve()
  return new Promise((resolve) => response.once('close', resolve))
}

/** The status answer of a gateway that is bound but hears nothing any more. */
export function stopStreaming(response: ServerResponse): void {
  captured(response, ({ status, headers, body }) => {
    const said = body.toString('utf8').replace('"streaming":true', '"streaming":false')
    delete headers['content-length']
    delete headers['transfer-encoding']
    response.writeHead(status, headers).end(said)
  })
}

function sendRefusal(
  request: IncomingMessage,
  response: ServerResponse,
  fault: FaultOf<'refuse'> | FaultOf<'lie'>,
): void {
  const { status, body = { error: 'service temporarily unavailable, please retry' } } = fault
  const headers = 'headers' in fault ? fault.headers : {}
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const isPage = text.trimStart().startsWith('<')
  const type =
    typeof body === 'string' ? `text/${isPage ? 'html' : 'plain'}; charset=utf-8` : 'application/json'
  if (!request.complete) response.setHeader('connection', 'close') // the rest would be taken for the next request
  response.writeHead(status, { 'content-type': type, ...headers }).end(text)
}
