import type { FastifyError, FastifyReply } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { isRetryable, isUnavailable } from '../../specs/db/connect.ts'
import { Conflict, type FieldFault, Invalid, NotFound, PreconditionFailed } from '../../specs/errors.ts'
import {
  CallerGone,
  ClaimEnded,
  ClaimNotInTime,
  Forbidden,
  NothingIdle,
  NotJson,
  OperationUnsuccessful,
  TooManyFailedSignIns,
  Unauthorized,
} from '../errors.ts'
import { reasonOf } from '../shapes/operation.ts'

interface Problem {
  status: number
  code: string
  /** One sentence for a person. */
  error: string
  errors?: readonly FieldFault[]
  headers?: Record<string, string>
  /** Further members of the body. */
  facts?: Record<string, unknown>
}

const TITLES: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
  412: 'Precondition Failed',
  413: 'Content Too Large',
  422: 'Unprocessable Content',
  429: 'Too Many Requests',
  499: 'Client Closed Request',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
}
/** s. Until builds end and become idle; until a database is back. */
const RETRY_EMPTY = '30'
const RETRY_DATABASE = '5'
/** The server gave up on a lock or a statement for us: as good as away, and nothing was done. */
const GAVE_UP = ['55P03', '57014']

/** Errors become problem+json here, and nowhere else does anybody know a status code of one. */
export const errorsPlugin = fastifyPlugin(
  async (app) => {
    app.setErrorHandler((error, request, reply) => {
      const problem = toProblem(error)
      if (problem.status === 500)
        request.log.error({ err: describe(error), route: request.routeOptions.url }, 'request failed')
      return sendProblem(reply, problem)
    })
    app.setNotFoundHandler((request, reply) =>
      sendProblem(reply, {
        status: 404,
        code: 'NotFound',
        error: `no route ${request.method} ${request.url.split('?', 1)[0]}`,
      }),
    )
  },
  { name: 'errors' },
)

function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  const { status, code, error, errors, headers = {}, facts = {} } = problem
  return reply
    .code(status)
    .headers(headers)
    .header('content-type', 'application/problem+json; charset=utf-8')
    .serializer(JSON.stringify) // not by the route's schema, which is that of its success
    .send({
      type: `urn:clawpool:problem:${code}`,
      title: TITLES[status] ?? 'Error',
      status,
      code,
      detail: error,
      error,
      ...(errors && errors.length > 0 && { errors }),
      ...facts,
    })
}

export function toProblem(error: unknown): Problem {
  const error_ = error instanceof Error ? error.message : ''
  if (error instanceof Unauthorized)
    return {
      status: 401,
      code: 'Unauthorized',
      error: error_,
      headers: { 'www-authenticate': 'Bearer realm="clawpool"' },
    }
  if (error instanceof TooManyFailedSignIns)
    return {
      status: 429,
      code: 'TooManyFailedSignIns',
      error: error_,
      headers: { 'retry-after': String(error.retryAfter) },
    }
  if (error instanceof Forbidden) return { status: 403, code: 'Forbidden', error: error_ }
  if (error instanceof NotJson) return { status: 400, code: 'NotJson', error: error_ }
  if (error instanceof NotFound) return { status: 404, code: 'NotFound', error: error_ }
  if (error instanceof Conflict) return { status: 409, code: error.code, error: error_, errors: error.errors }
  if (error instanceof PreconditionFailed) return { status: 412, code: 'PreconditionFailed', error: error_ }
  if (error instanceof Invalid) return { status: 422, code: 'Invalid', error: error_, errors: error.errors }
  if (error instanceof CallerGone) return { status: 499, code: 'CallerGone', error: error_ }
  if (error instanceof NothingIdle)
    return { status: 503, code: 'NothingIdle', error: error_, headers: { 'retry-after': RETRY_EMPTY } }
  if (error instanceof ClaimEnded) return endedClaim(error)
  if (error instanceof ClaimNotInTime)
    return { status: 504, code: 'NotInTime', error: error_, facts: { claimId: error.claim.id } }
  if (error instanceof OperationUnsuccessful) return unsuccessful(error)
  if (isUnavailable(error) || isRetryable(error) || GAVE_UP.includes(codeOf(error)))
    return {
      status: 503,
      code: 'DatabaseUnavailable',
      error: 'The database does not answer. Try again in a few seconds.',
      headers: { 'retry-after': RETRY_DATABASE },
    }
  return ofFastify(error) ?? { status: 500, code: 'Internal', error: 'Something broke here. It is logged.' }
}

function endedClaim({ claim, message }: ClaimEnded): Problem {
  const facts = { claimId: claim.id }
  switch (claim.phase) {
    case 'Expired':
      return { status: 504, code: claim.reason ?? 'Expired', error: message, facts }
    case 'Cancelled':
    case 'Released':
      return { status: 409, code: claim.phase, error: message, facts }
    default:
      return { status: 502, code: claim.reason ?? 'DeliveryFailed', error: message, facts }
  }
}

function unsuccessful({ operation, message }: OperationUnsuccessful): Problem {
  const facts = { operationId: operation.id }
  const reason = reasonOf(operation)
  if (reason === 'ClaimEnded') return { status: 409, code: reason, error: message, facts }
  switch (operation.phase) {
    case 'Expired':
      return { status: 504, code: 'OperationExpired', error: message, facts }
    case 'Cancelled':
      return { status: 409, code: 'OperationCancelled', error: message, facts }
    default:
      return { status: 502, code: reason ?? 'OperationFailed', error: message, facts }
  }
}

/** What Fastify itself refuses. null: not one of these. */
function ofFastify(error: unknown): Problem | null {
  if (!(error instanceof Error)) return null
  const { statusCode, validation, validationContext } = error as FastifyError
  if (validation) {
    const errors = validation.flatMap(({ instancePath, message = 'is not valid', params }) => {
      const path = instancePath.split('/').filter(Boolean).join('.')
      const unknown = params.keys
      if (!Array.isArray(unknown)) return [{ path, message }]
      return unknown.map((key) => ({ path: path ? `${path}.${key}` : String(key), message: 'unknown field' }))
    })
    const what = validationContext === 'querystring' ? 'query' : (validationContext ?? 'body')
    const invalid = new Invalid(`the ${what} is not valid`, errors)
    return { status: 422, code: 'Invalid', error: invalid.message, errors }
  }
  if (statusCode === 413)
    return { status: 413, code: 'TooLarge', error: 'The body is larger than this route takes.' }
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return { status: 400, code: 'BadRequest', error: error.message }
  return null
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''

/**
 * For the log: what broke and where. A database's `detail` quotes whole rows and the message of a data exception (class
 * 22) quotes the value, so neither is taken.
 */
function describe(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { type: typeof error }
  const code = codeOf(error)
  const frames = error.stack
    ?.split('\n')
    .filter((line) => /^\s+at /.test(line))
    .join('\n')
  return {
    type: error.name,
    ...(code && { code }),
    message: code.startsWith('22') ? 'a value that the database refuses' : error.message,
    stack: frames ?? '',
  }
}
