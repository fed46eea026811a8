import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { Registry } from 'prom-client'
import type { Clock } from '../specs/clock.ts'
import { type ClaimView, getClaims } from '../specs/db/claims.ts'
import type { Sql } from '../specs/db/connect.ts'
import { recordEvent } from '../specs/db/events.ts'
import { createEventBell } from '../specs/db/gather.ts'
import { getOperations } from '../specs/db/operations.ts'
import type { Operation } from '../specs/operation.ts'
import type { Random } from '../specs/random.ts'
import type { ApiConfig } from './config.ts'
import { createFeed, type Feed } from './feed.ts'
import type { News } from './news.ts'
import { createWaiter, type Waiter } from './waiter.ts'

/** What the API stands on, all of it handed in. */
export interface ApiDeps {
  sql: Sql
  clock: Clock
  random: Random
  news: News
  config: ApiConfig
  /** Both halves of one process count into the same one. */
  registry: Registry
  /** false: silent. */
  log?: FastifyBaseLogger | false
}

/** What a route is handed. */
export interface ApiContext extends ApiDeps {
  claims: Waiter<ClaimView>
  operations: Waiter<Operation>
  feed: Feed
  /** There are new events of this pool: whoever watches it is told soon. */
  ring(pool: string): void
  /** Leaves a line in the audit: who edited what. */
  record(request: FastifyRequest, edit: Edit): Promise<void>
}

export interface Edit {
  reason: string
  message: string
  claimId?: string | null
  instanceId?: string | null
  /** The operation that it began. */
  causeId?: string | null
}

export function createContext(deps: ApiDeps): ApiContext {
  const { sql, news, clock } = deps
  const ring = createEventBell({ sql, clock })
  return {
    ...deps,
    claims: createWaiter({ news, clock, kind: 'done', read: (ids) => getClaims(sql, ids) }),
    operations: createWaiter({ news, clock, kind: 'operation-done', read: (ids) => getOperations(sql, ids) }),
    feed: createFeed({ sql, clock, news }),
    ring,
    async record(request, edit) {
      await recordEvent(sql, { pool: request.pool, type: 'Normal', actor: request.actor.name, ...edit })
      ring(request.pool)
    },
  }
}
