/**
 * What a request to a gateway can end with, named by what is known afterwards. Never in a message: the key, the
 * URL beyond its host, or what a user wrote.
 */

export abstract class GatewayError extends Error {
  readonly operation: string
  /** null: no answer. */
  readonly status: number | null
  constructor(operation: string, status: number | null, detail: string, options?: ErrorOptions) {
    super(`gateway: ${operation}: ${status ?? 'no answer'}${detail ? `, ${detail}` : ''}`, options)
    this.operation = operation
    this.status = status
  }
}

/** 400: the request is at fault, and no gateway will take it. */
export class GatewayRejected extends GatewayError {
  override readonly name = 'GatewayRejected'
  /** The gateway's own sentence, scrubbed, at most 200 characters. */
  readonly reason: string
  constructor(operation: string, reason: string) {
    super(operation, 400, reason)
    this.reason = reason
  }
}

/** 409: this gateway already has a conversation. Nothing happened; another one may take the request. */
export class GatewayBound extends GatewayError {
  override readonly name = 'GatewayBound'
}

/** The key is not this gateway's, or its URL is not public. Nothing happened. */
export class GatewayUnauthorized extends GatewayError {
  override readonly name = 'GatewayUnauthorized'
}

/** No answer, a cut one, 5xx, or not the expected JSON: it may have happened, and may happen yet. */
export class GatewayUnknown extends GatewayError {
  override readonly name = 'GatewayUnknown'
}

/** Refused before anything was sent: the key would travel in clear. Only another URL helps. */
export class InsecureUrl extends Error {
  override readonly name = 'InsecureUrl'
}
