import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { Clock } from '../../../../specs/clock.ts'
import { type Engine, Refusal } from '../engine.ts'
import type { Aftermath } from '../faults/aftermath.ts'
import type { Faults } from '../faults/faults.ts'
import type { Operation } from '../operations.ts'
import type { Sessions } from './sessions.ts'

/** How the surface behaves where the real one does, or may, differ from time to time. */
export interface SurfaceOptions {
  /** Calls of create that are accepted in a minute; null: no limit. The real account's is 10. */
  createsPerMinute: number | null
  /** ms for which the exec socket stays open after the exit frame. The real one: 5,000 to 10,000. */
  execLingerMs: number
  /** Sprites that may be awake at one time; null: any number. */
  runningLimit: number | null
  /** Routes that this runtime lacks, as older ones did: they are unknown. */
  lacks: readonly Operation[]
}

export interface Call {
  request: IncomingMessage
  /** The request's body. Not always the request itself: it may have been read and kept. */
  input: Readable
  response: ServerResponse
  params: Record<string, string>
  query: URLSearchParams
  engine: Engine
  sessions: Sessions
  faults: Faults
  aftermath: Aftermath
  clock: Clock
  options: SurfaceOptions
}

export interface Route {
  method: string
  operation: Operation
  /** Segments that start with `:` match one segment and become a parameter. */
  path: string
  /**
   * What the request is to a Sprite that sleeps. `wakes` it and keeps it awake for as long as it lasts; `waits` for a
   * cold one until something else wakes it, as the file API was seen to do; else it is answered as things are.
   */
  asleep?: 'wakes' | 'waits'
  handle(call: Call): Promise<void> | void
}

/** The parameters when `pathname` has the shape of `pattern`, else null. */
export function matchPath(pattern: string, pathname: string): Record<string, string> | null {
  const wanted = pattern.split('/')
  const given = pathname.split('/')
  if (wanted.length !== given.length) return null
  const params: Record<string, string> = {}
  for (const [index, segment] of wanted.entries()) {
    const value = given[index] ?? ''
    if (!segment.startsWith(':')) {
      if (segment !== value) return null
    } else {
      params[segment.slice(1)] = decodeSegment(value)
    }
  }
  return params
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw new Refusal(400, { error: 'malformed path' })
  }
}

/** Null when no route has this method and path. */
export function findRoute<R extends { method: string; path: string }>(
  routes: readonly R[],
  method: string,
  pathname: string,
): { route: R; params: Record<string, string> } | null {
  for (const route of routes) {
    if (route.method !== method) continue
    const params = matchPath(route.path, pathname)
    if (params) return { route, params }
  }
  return null
}
