import { z } from 'zod'
import { type Engine, Refusal } from './engine.ts'
import { FaultNotMet, type Faults } from './faults/faults.ts'
import { faultSchema } from './faults/schema.ts'
import { readJson, sendEmpty, sendJson } from './http/answer.ts'
import type { OwnRoute } from './http/server.ts'
import { behaviourSchema, type Repository } from './memory-engine/repository.ts'

const base = '/__emulator'
const sleepBody = z.object({ to: z.enum(['warm', 'cold']).default('warm') })
const commitBody = z.object({ branch: z.string(), behaviour: behaviourSchema.prefault({}) })

/** What the emulator itself is asked, behind the same token: faults, sleep, and new versions of the modelled OpenClaw. */
export function ownRoutes(deps: {
  engine: Engine
  faults: Faults
  repository: Repository | null
}): OwnRoute[] {
  const { engine, faults, repository } = deps
  return [
    {
      method: 'POST',
      path: `${base}/faults`,
      async handle({ input, response }) {
        sendJson(response, 201, faults.inject(await readJson(input, faultSchema)))
      },
    },
    {
      method: 'GET',
      path: `${base}/faults`,
      handle: ({ response }) => sendJson(response, 200, { faults: faults.list() }),
    },
    {
      method: 'DELETE',
      path: `${base}/faults`,
      handle({ response }) {
        faults.clear()
        sendEmpty(response)
      },
    },
    {
      method: 'DELETE',
      path: `${base}/faults/:id`,
      handle({ response, params }) {
        if (!faults.remove(params.id ?? '')) throw new Refusal(404, { error: 'fault not found' })
        sendEmpty(response)
      },
    },
    {
      method: 'POST',
      path: `${base}/faults/expect-met`,
      handle({ response }) {
        try {
          faults.expectMet()
          sendEmpty(response)
        } catch (error) {
          if (!(error instanceof FaultNotMet)) throw error
          throw new Refusal(409, { error: error.message })
        }
      },
    },
    {
      method: 'POST',
      path: `${base}/sprites/:name/sleep`,
      async handle({ input, response, params }) {
        const { to } = await readJson(input, sleepBody)
        await engine.power(params.name ?? '').fallAsleep(to)
        sendEmpty(response)
      },
    },
    {
      method: 'POST',
      path: `${base}/commits`,
      async handle({ input, response }) {
        if (!repository) throw new Refusal(404, { error: 'this engine builds from a real repository' })
        const { branch, behaviour } = await readJson(input, commitBody)
        sendJson(response, 201, { commit: repository.push(branch, behaviour) })
      },
    },
  ]
}
