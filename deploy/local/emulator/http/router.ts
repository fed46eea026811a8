import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '../../../../specs/clock.ts'
import { type Engine, Refusal } from '../engine.ts'

/** How the surface behaves where the real one does, or may, differ from time to time. */
export interface SurfaceOptions {
  /** Calls of create that are accepted in a minute; null: no limit. The real account's is 10. */
  createsPerMinute: number | null
  /** ms for which the exec socket stays open after the exit frame. The real one: 5,000 to 10,000. */
  execLingerMs: number
}

export interface Call {
  request: IncomingMessage
  response: ServerResponse
  params: Record<string, string>
  query: URLSearchParams
  engine: Engine
  clock: Clock
  options: SurfaceOptions
}

export interface Route {
  method: string
  /** Segments that start with `:` match one segment and become a parameter. */
  path: string
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
export function findRoute(routes: readonly Route[], method: string, pathname: string) {
  for (const route of routes) {
    if (route.method !== method) continue
    const params = matchPath(route.path, pathname)
    if (params) return { route, params }
  }
  return null
}
