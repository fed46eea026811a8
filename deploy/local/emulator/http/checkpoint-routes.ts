import { z } from 'zod'
import type { Clock } from '../../../../specs/clock.ts'
import { type Checkpoint, Refusal } from '../engine.ts'
import { ndjson, readJson, sendJson } from './answer.ts'
import type { Call, Route } from './router.ts'

const base = '/v1/sprites/:name'
const createBody = z.object({ comment: z.string().nullish() })

/** Streams of prose, as they were recorded on 2026-08-10: no line has a field for the id. Errors come inside a 200. */
export const checkpointRoutes: Route[] = [
  {
    method: 'GET',
    operation: 'checkpoint.list',
    path: `${base}/checkpoints`,
    async handle({ response, params, engine, faults, clock }) {
      const name = params.name ?? ''
      const made = await engine.checkpoints(name).list()
      const current = { id: 'Current', createdAt: clock.now(), comment: '' } // stands for the running disk; restores nothing
      const automatic = { ...toWire({ id: 'auto-1', createdAt: clock.now(), comment: '' }), is_auto: true }
      const autos = faults.take(['auto-entries'], 'checkpoint.list', name) ? [automatic] : []
      sendJson(response, 200, [...[current, ...made.toReversed()].map(toWire), ...autos])
    },
  },
  {
    method: 'GET',
    operation: 'checkpoint.get',
    path: `${base}/checkpoints/:id`,
    async handle({ response, params, engine }) {
      const made = await engine.checkpoints(params.name ?? '').list()
      const found = made.find(({ id }) => id === params.id)
      if (!found) throw new Refusal(404, { error: 'checkpoint not found' })
      sendJson(response, 200, toWire(found))
    },
  },
  {
    method: 'POST',
    operation: 'checkpoint.create',
    asleep: 'wakes',
    path: `${base}/checkpoint`,
    async handle(call) {
      const { input, response, params, engine, clock } = call
      const checkpoints = engine.checkpoints(params.name ?? '')
      const { comment } = await readJson(input, createBody)
      const stream = ndjson(response)
      const say = (data: string) => stream.write({ type: 'info', data, time: instant(clock) })
      say('Creating checkpoint...')
      await inStream(call, 'checkpoint.create', stream, async () => {
        const { id, createdAt } = await checkpoints.create(comment ?? '')
        say('Checkpoint created successfully')
        say('\nCheckpoint Details:')
        say(`  ID: ${id}`)
        say(`  Created: ${new Date(createdAt).toISOString().slice(0, 19).replace('T', ' ')}`)
        say(`  Path: checkpoints/${id}`)
        say('\nTo restore this checkpoint:')
        return `Checkpoint ${id} created successfully`
      })
    },
  },
  {
    method: 'POST',
    operation: 'checkpoint.restore',
    asleep: 'wakes',
    path: `${base}/checkpoints/:id/restore`,
    async handle(call) {
      const { response, params, engine, faults, aftermath, clock } = call
      const name = params.name ?? ''
      const checkpoints = engine.checkpoints(name)
      const id = params.id ?? ''
      if (!/^v\d+$/.test(id)) throw new Refusal(404, { error: 'checkpoint not found' })
      const stream = ndjson(response)
      stream.write({ type: 'info', data: `Restoring checkpoint ${id}...`, time: instant(clock) })
      await inStream(call, 'checkpoint.restore', stream, async () => {
        if (faults.take(['ruin'], 'checkpoint.restore', name)) {
          aftermath.ruin(name)
          throw new Refusal(500, { error: RUINED })
        }
        const before = engine.services(name).list()
        await checkpoints.restore(id)
        const unsettled = faults.take(['unsettled'], 'checkpoint.restore', name)
        if (unsettled) aftermath.unsettle(name, unsettled.ms)
        if (faults.take(['stale-services'], 'checkpoint.restore', name)) aftermath.leaveStale(name, before)
        return `Checkpoint ${id} restored successfully`
      })
    },
  },
]

/** Seen in April and May 2026, at random after a dozen good restores; the Sprite did not come back. */
const RUINED = 'failed to start overlay service tree: process exited before initialization'

/** Carries it out and says the last word, which is an error line where it failed, or what a fault makes of it. */
async function inStream(
  { params, faults, clock }: Call,
  operation: 'checkpoint.create' | 'checkpoint.restore',
  stream: ReturnType<typeof ndjson>,
  run: () => Promise<string>,
): Promise<void> {
  const name = params.name ?? ''
  const fail = (error: string) => stream.write({ type: 'error', error, time: instant(clock) })
  try {
    const failure = faults.take(['error-line'], operation, name)
    if (failure) return fail(failure.error ?? 'No process is running to checkpoint')
    const data = await run()
    const end = faults.take(['end-early', 'stay-open'], operation, name)
    if (end?.kind === 'stay-open') await untilAborted(stream.closed)
    if (end === null) stream.write({ type: 'complete', data, time: instant(clock) })
  } catch (error) {
    fail(error instanceof Refusal ? String(error.body.error) : 'internal server error')
    if (!(error instanceof Refusal)) throw error
  } finally {
    stream.end()
  }
}

const untilAborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })

const instant = (clock: Clock) => new Date(clock.now()).toISOString()

function toWire({ id, createdAt, comment }: Checkpoint) {
  return { id, create_time: new Date(createdAt).toISOString(), comment }
}
