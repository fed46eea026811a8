import { z } from 'zod'
import { DeadlineExceeded, deadline, sleep } from '../../../../specs/clock.ts'
import { parseDuration } from '../duration.ts'
import { Refusal, type Service, type Services, serviceNotFound } from '../engine.ts'
import { ndjson, readJson, sendEmpty, sendJson } from './answer.ts'
import type { Call, Route } from './router.ts'

const base = '/v1/sprites/:name/services'
const WATCH_MS = 5_000
const WATCH_LIMIT_MS = 600_000
const STOP_MS = 10_000
const SERVICE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/
/** What a Go server writes for a time that was never set. */
const NEVER = '0001-01-01T00:00:00Z'

const definition = z.object({
  cmd: z.string().min(1),
  args: z.array(z.string()).nullish(),
  env: z.record(z.string(), z.string()).nullish(),
  dir: z.string().nullish(),
  needs: z.array(z.string()).nullish(),
  http_port: z.int().min(1).max(65_535).nullish(),
})
const signalBody = z.object({ name: z.string(), signal: z.string() })

export const serviceRoutes: Route[] = [
  {
    method: 'GET',
    operation: 'service.list',
    path: base,
    handle: (call) => sendJson(call.response, 200, shown(call).map(toWire)),
  },
  {
    method: 'POST',
    operation: 'service.signal',
    asleep: 'wakes',
    path: `${base}/signal`,
    async handle(call) {
      const { name, signal } = await readJson(call.input, signalBody)
      await servicesOf(call).signal(name, signal)
      sendEmpty(call.response)
    },
  },
  {
    method: 'GET',
    operation: 'service.get',
    path: `${base}/:service`,
    handle(call) {
      const found = shown(call).find(({ definition }) => definition.name === serviceOf(call))
      if (!found) throw serviceNotFound()
      const service = toWire(found)
      // Seen live: one service has null where the list has [].
      sendJson(call.response, 200, { ...service, needs: service.needs.length > 0 ? service.needs : null })
    },
  },
  {
    method: 'PUT',
    operation: 'service.put',
    asleep: 'wakes',
    path: `${base}/:service`,
    async handle(call) {
      const services = servicesOf(call)
      const name = serviceOf(call)
      if (!SERVICE_NAME.test(name)) throw new Refusal(400, { error: 'invalid service name' })
      const body = await readJson(call.input, definition)
      const sharesPort = call.faults.take(['second-port'], 'service.put', call.params.name ?? '') !== null
      settle(call)
      await watching(call, services, (watched) =>
        watched.put(
          {
            name,
            cmd: body.cmd,
            args: body.args ?? [],
            env: body.env ?? {},
            dir: body.dir ?? '',
            needs: body.needs ?? [],
            http_port: body.http_port ?? null,
          },
          { sharesPort },
        ),
      )
    },
  },
  {
    method: 'DELETE',
    operation: 'service.delete',
    asleep: 'wakes',
    path: `${base}/:service`,
    async handle(call) {
      const isStale = shown(call).length > servicesOf(call).list().length
      settle(call)
      await servicesOf(call)
        .remove(serviceOf(call))
        .catch((error: unknown) => {
          if (!isStale) throw error
        })
      sendEmpty(call.response)
    },
  },
  {
    method: 'POST',
    operation: 'service.start',
    asleep: 'wakes',
    path: `${base}/:service/start`,
    handle: (call) => watching(call, servicesOf(call), (services) => services.start(serviceOf(call))),
  },
  {
    method: 'POST',
    operation: 'service.restart',
    asleep: 'wakes',
    path: `${base}/:service/restart`,
    handle: (call) => watching(call, servicesOf(call), (services) => services.restart(serviceOf(call))),
  },
  {
    method: 'POST',
    operation: 'service.stop',
    asleep: 'wakes',
    path: `${base}/:service/stop`,
    async handle(call) {
      const timeoutMs = durationOf(call, 'timeout', STOP_MS)
      await watching(call, servicesOf(call), (services) => services.stop(serviceOf(call), timeoutMs), 0)
    },
  },
  {
    method: 'GET',
    operation: 'service.logs',
    path: `${base}/:service/logs`,
    async handle(call) {
      const services = servicesOf(call)
      const name = serviceOf(call)
      services.get(name)
      const lines = Math.min(Number(call.query.get('lines')) || 100, 10_000)
      const tail = await services.logTail(name, lines)
      await watching(call, services, async () => {}, durationOf(call, 'duration', 0), tail)
    },
  },
]

const servicesOf = ({ engine, params }: Call) => engine.services(params.name ?? '')
/** With what a restore left behind in the manager's books. */
function shown(call: Call): Service[] {
  const real = servicesOf(call).list()
  const names = new Set(real.map(({ definition }) => definition.name))
  const stale = call.aftermath.stale(call.params.name ?? '')
  return [...real, ...stale.filter(({ definition }) => !names.has(definition.name))]
}
const settle = (call: Call) => call.aftermath.settle(call.params.name ?? '', serviceOf(call))

const serviceOf = ({ params }: Call) => params.service ?? ''

/**
 * Carries `act` out and tells what the service does until `watchMs` later, or until the client hangs up, which
 * changes nothing for the service. `complete` means that the watch ended, not that the service is well.
 */
async function watching(
  call: Call,
  services: Services,
  act: (services: Services) => Promise<void>,
  watchMs = durationOf(call, 'duration', WATCH_MS),
  earlier = '',
): Promise<void> {
  const { response, clock } = call
  const name = serviceOf(call)
  const stream = ndjson(response)
  const say = (event: object) => stream.write({ ...event, timestamp: clock.now() })
  const unwatch = services.watch(name, say)
  try {
    await act(services)
    if (earlier !== '') say({ type: 'stdout', data: earlier })
    await pause(call, watchMs, stream.closed)
    const log = `/.sprite/logs/services/${name}.log`
    say({ type: 'complete', log_files: { stdout: log, stderr: log, combined: log } })
    stream.end()
  } finally {
    unwatch()
  }
}

async function pause({ clock }: Call, ms: number, closed: AbortSignal): Promise<void> {
  const limit = deadline(clock, 'watch a service', WATCH_LIMIT_MS, closed)
  try {
    await sleep(clock, ms, limit.signal)
  } catch (error) {
    if (!closed.aborted && !(error instanceof DeadlineExceeded)) throw error
  } finally {
    limit.done()
  }
}

function durationOf({ query }: Call, name: string, fallbackMs: number): number {
  const text = query.get(name)
  if (!text) return fallbackMs
  const ms = parseDuration(text)
  if (ms === null) throw new Refusal(400, { error: `invalid ${name}` })
  return ms
}

function toWire({ definition, status, pid, startedAt, error, restartCount, nextRestartAt }: Service) {
  return {
    ...definition,
    state: {
      name: definition.name,
      status,
      pid,
      started_at: startedAt === null ? NEVER : new Date(startedAt).toISOString(),
      error,
      restart_count: restartCount,
      next_restart_at: nextRestartAt === null ? NEVER : new Date(nextRestartAt).toISOString(),
    },
  }
}
