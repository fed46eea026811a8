/** What the API itself can say, beside `specs/errors.ts`. Which status code each one is: `plugins/errors.ts` alone. */

import type { ClaimView } from '../specs/db/claims.ts'
import type { Operation } from '../specs/operation.ts'

export class Unauthorized extends Error {
  override readonly name = 'Unauthorized'
  constructor() {
    super('Invalid or missing API key')
  }
}

/** From this address nothing is compared for a while. */
export class TooManyFailedSignIns extends Error {
  override readonly name = 'TooManyFailedSignIns'
  /** s. */
  readonly retryAfter: number
  constructor(retryAfter: number) {
    super(
      `too many different wrong API keys came from your address: try again in ${retryAfter} s, with the right one`,
    )
    this.retryAfter = retryAfter
  }
}

export class Forbidden extends Error {
  override readonly name = 'Forbidden'
  constructor(missing: string) {
    super(`this needs a key with the role ${missing}`)
  }
}

export class NotJson extends Error {
  override readonly name = 'NotJson'
  constructor(why: string) {
    super(`the body is not JSON: ${why}`)
  }
}

/** Nobody is there to be answered, so nothing was done. */
export class CallerGone extends Error {
  override readonly name = 'CallerGone'
  constructor() {
    super('the caller went away')
  }
}

/** No instance for this claim now; nothing was stored. */
export class NothingIdle extends Error {
  override readonly name = 'NothingIdle'
  constructor() {
    super('No idle instances available. Try again in a few minutes.')
  }
}

/** The claim came to an end that is no delivery. */
export class ClaimEnded extends Error {
  override readonly name = 'ClaimEnded'
  readonly claim: ClaimView
  constructor(claim: ClaimView) {
    super(claim.message ?? `claim ${claim.id} ended: ${claim.reason ?? claim.phase}`)
    this.claim = claim
  }
}

/** The wait is over, the claim is not: it goes on. */
export class ClaimNotInTime extends Error {
  override readonly name = 'ClaimNotInTime'
  readonly claim: ClaimView
  constructor(claim: ClaimView) {
    super(`claim ${claim.id} was not delivered in time and goes on: ask for it again, or release it`)
    this.claim = claim
  }
}

/** What was asked of the outside world was not done. */
export class OperationUnsuccessful extends Error {
  override readonly name = 'OperationUnsuccessful'
  readonly operation: Operation
  constructor(operation: Operation) {
    super(operation.message ?? `${operation.kind} ${operation.id} ended ${operation.phase}`)
    this.operation = operation
  }
}
