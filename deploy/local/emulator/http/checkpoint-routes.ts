import { z } from 'zod'
import type { Clock } from '../../../../specs/clock.ts'
import { type Checkpoint, Refusal } from '../engine.ts'
import { ndjson, readJson, sendJson } from './answer.ts'
import type { Route } from './router.ts'

const base = '/v1/sprites/:name'
const createBody = z.object({ comment: z.string().nullish() })

/** Streams of prose, as they were recorded on 2026-08-10: no line has a field for the id. Errors come inside a 200. */
export const checkpointRoutes: Route[] = [
  {
    method: 'GET',
    path: `${base}/checkpoints`,
    async handle({ response, params, engine, clock }) {
      const made = await engine.checkpoints(params.name ?? '').list()
      const current = { id: 'Current', createdAt: clock.now(), comment: '' } // stands for the running disk; restores nothing
      sendJson(response, 200, [current, ...made.toReversed()].map(toWire))
    },
  },
  {
    method: 'GET',
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
    path: `${base}/checkpoint`,
    async handle({ request, response, params, engine, clock }) {
      const checkpoints = engine.checkpoints(params.name ?? '')
      const { comment } = await readJson(request, createBody)
      const stream = ndjson(response)
      const say = (data: string) => stream.write({ type: 'info', data, time: instant(clock) })
      say('Creating checkpoint...')
      await orErrorLine(stream, clock, async () => {
        const { id, createdAt } = await checkpoints.create(comment ?? '')
        say('Checkpoint created successfully')
        say('\nCheckpoint Details:')
        say(`  ID: ${id}`)
        say(`  Created: ${new Date(createdAt).toISOString().slice(0, 19).replace('T', ' ')}`)
        say(`  Path: checkpoints/${id}`)
        say('\nTo restore this checkpoint:')
        stream.write({
          type: 'complete',
          data: `Checkpoint ${id} created successfully`,
          time: instant(clock),
        })
      })
    },
  },
  {
    method: 'POST',
    path: `${base}/checkpoints/:id/restore`,
    async handle({ response, params, engine, clock }) {
      const checkpoints = engine.checkpoints(params.name ?? '')
      const id = params.id ?? ''
      if (!/^v\d+$/.test(id)) throw new Refusal(404, { error: 'checkpoint not found' })
      const stream = ndjson(response)
      stream.write({ type: 'info', data: `Restoring checkpoint ${id}...`, time: instant(clock) })
      await orErrorLine(stream, clock, async () => {
        await checkpoints.restore(id)
        stream.write({
          type: 'complete',
          data: `Checkpoint ${id} restored successfully`,
          time: instant(clock),
        })
      })
    },
  },
]

type Stream = ReturnType<typeof ndjson>

async function orErrorLine(stream: Stream, clock: Clock, run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    const said = error instanceof Refusal ? String(error.body.error) : 'internal server error'
    stream.write({ type: 'error', error: said, time: instant(clock) })
    if (!(error instanceof Refusal)) throw error
  } finally {
    stream.end()
  }
}

const instant = (clock: Clock) => new Date(clock.now()).toISOString()

function toWire({ id, createdAt, comment }: Checkpoint) {
  return { id, create_time: new Date(createdAt).toISOString(), comment }
}
