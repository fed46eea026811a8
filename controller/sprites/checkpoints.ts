import type { SpritesClient, StreamEnd, Timeouts } from './client.ts'
import { NothingToCheckpoint } from './errors.ts'
import { type Call, type Http, segment } from './http.ts'
import type { StreamStop } from './ndjson.ts'
import { isNothingToCheckpoint } from './refusal.ts'
import { CheckpointsWire } from './schemas.ts'
import { scrub } from './scrub.ts'

/** Why a stream without a verdict ended, for people. */
const WITHOUT_VERDICT = {
  stopped: 'stopped',
  closed: 'the stream ended without a verdict',
  cut: 'the connection was cut',
  idle: 'the stream fell silent',
  total: 'not over within the time allowed',
  full: 'the stream did not end',
} satisfies Record<StreamStop, string>

/** The provider names a new checkpoint in prose only, so its id is found by its comment in the list. */
export function checkpointCalls(
  http: Http,
  timeouts: Timeouts,
  token: string,
): Pick<SpritesClient, 'listCheckpoints' | 'createCheckpoint' | 'restoreCheckpoint'> {
  /** Failure arrives as a line inside a 200. `complete` is the last word: the connection may stay open after it. */
  async function verdict(call: Call, idleMs: number): Promise<StreamEnd> {
    let end: StreamEnd | null = null
    const stop = await http.lines(call, idleMs, ({ type, text }) => {
      if (type !== 'error' && type !== 'complete') return undefined
      end = { outcome: type, message: scrub(text, [token]) }
      return 'stop'
    })
    return end ?? { outcome: 'ended', message: WITHOUT_VERDICT[stop] }
  }

  const base = (operation: string, name: string) => `/v1/sprites/${segment(operation, name, name)}`

  return {
    async listCheckpoints(name, signal) {
      const operation = 'listCheckpoints'
      return http.json(
        {
          operation,
          subject: name,
          looksFor: 'sprite',
          method: 'GET',
          path: `${base(operation, name)}/checkpoints`,
          timeoutMs: timeouts.readMs,
          signal,
        },
        CheckpointsWire,
      )
    },

    async createCheckpoint(name, comment, signal) {
      const operation = 'createCheckpoint'
      const end = await verdict(
        {
          operation,
          subject: name,
          looksFor: 'sprite',
          method: 'POST',
          path: `${base(operation, name)}/checkpoint`, // singular
          json: { comment },
          timeoutMs: timeouts.checkpointMs,
          signal,
        },
        timeouts.checkpointMs,
      )
      if (end.outcome === 'error' && isNothingToCheckpoint(end.message))
        throw new NothingToCheckpoint(operation, name, 200)
      return end
    },

    async restoreCheckpoint(name, id, signal) {
      const operation = 'restoreCheckpoint'
      return verdict(
        {
          operation,
          subject: name,
          looksFor: 'checkpoint',
          method: 'POST',
          path: `${base(operation, name)}/checkpoints/${segment(operation, name, id)}/restore`,
          timeoutMs: timeouts.restoreMs,
          signal,
        },
        timeouts.restoreIdleMs,
      )
    },
  }
}
