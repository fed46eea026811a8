import type { XmtpEnv } from '../specs/claim.ts'
import type { PoolSpec } from '../specs/pool.ts'

/** What the API is told at start; parsed from the environment by whoever starts it. */
export interface ApiConfig {
  environment: 'dev' | 'staging' | 'production'
  /** Colour that tells the environments apart on the page. */
  badge: 'grey' | 'yellow' | 'red'
  /** The admin's key. */
  apiKey: string
  /** When set, `/metrics` asks for it as Bearer. */
  metricsToken: string | null
  /** Whose `X-Forwarded-For` and `-Proto` to believe, as Fastify takes it: nobody's, that many hops', or these addresses'. */
  trustProxy: false | number | string
  /** Complete: what a PUT that leaves fields out puts there. */
  specDefaults: PoolSpec
  /** Whose invite links a claim may carry. */
  xmtpEnv: XmtpEnv
  version: { version: string; commit: string | null; startedAt: Date }
  /** ms. Waits that still go on this long after the server began to close are answered as they stand. */
  closeWithinMs: number
}

/** s. What recycle, destroy, drain and reconcile wait for their end when the caller does not say: their answer used to be the end. */
export const DEFAULT_WAIT_SECONDS = 30
export const MAX_WAIT_SECONDS = 300
/** The pool that `/api/pool/…` speaks of. */
export const DEFAULT_POOL = 'default'
