import { parseDuration } from '../duration.ts'
import { type Engine, Refusal } from '../engine.ts'
import { codeOfSignal, toSignal } from '../signals.ts'
import { ndjson, sendJson } from './answer.ts'
import { commandOf, runAfterDisconnectMs } from './exec-routes.ts'
import type { Route } from './router.ts'
import type { Session, Sessions } from './sessions.ts'

const KILL_MS = 10_000
const base = '/v1/sprites/:name/exec'

/** Starts what a query asks for. Its output is kept until somebody attaches. */
export function openSession(call: {
  engine: Engine
  sessions: Sessions
  name: string
  query: URLSearchParams
}): Promise<Session> {
  const { engine, sessions, name, query } = call
  const command = commandOf(query)
  const wish = { workdir: command.dir ?? '/home/sprite', livesOnMs: runAfterDisconnectMs(query) }
  return sessions.open(name, wish, (output) => engine.exec(name, command, output))
}

export const sessionRoutes: Route[] = [
  {
    method: 'GET',
    operation: 'session.list',
    path: base,
    handle({ response, params, engine, sessions }) {
      const { name } = engine.get(params.name ?? '')
      const found = sessions.list(name).map((session) => ({
        id: session.id,
        command: session.command,
        workdir: session.workdir,
        created: new Date(session.startedAt).toISOString(),
        tty: false,
        bytes_per_second: 0,
        is_active: true, // as live: it says nothing
        last_activity: new Date(session.lastActivityAt).toISOString(),
      }))
      sendJson(response, 200, { count: found.length, sessions: found })
    },
  },
  {
    method: 'POST',
    operation: 'session.kill',
    asleep: 'wakes',
    path: `${base}/:id/kill`,
    async handle({ response, params, query, engine, sessions, clock }) {
      const session = sessions.get(engine.get(params.name ?? '').name, params.id ?? '')
      const signal = toSignal(query.get('signal') ?? 'SIGTERM')
      if (signal === null) throw new Refusal(400, { error: 'invalid signal' })
      const timeoutMs = parseDuration(query.get('timeout') ?? '') ?? KILL_MS
      const stream = ndjson(response)
      stream.write({ type: 'signal', message: `sent ${signal}`, signal, pid: Number(session.id) })
      session.exec.signal(signal)
      const cancel = clock.after(timeoutMs, () => {
        stream.write({ type: 'timeout', message: `still running after ${timeoutMs} ms` })
        stream.write({ type: 'killed', message: 'sent SIGKILL' })
        session.exec.kill()
      })
      const code = await session.exited
      cancel()
      stream.write({ type: 'exited', message: 'session exited' })
      stream.write({ type: 'complete', exit_code: code ?? codeOfSignal('SIGKILL') })
      stream.end()
    },
  },
]
