import { endUnbegunClaims } from '../../specs/db/claims.ts'
import type { Sql } from '../../specs/db/connect.ts'
import {
  beginDelivery,
  type InstanceWrite,
  insertInstances,
  loadInstances,
  removeInstance,
  writeInstance,
} from '../../specs/db/instances.ts'
import { takeLease } from '../../specs/db/leases.ts'
import { openOperations, writeOperation } from '../../specs/db/operations.ts'
import { type Fence, getPool } from '../../specs/db/pools.ts'
import type { InstanceId } from '../../specs/instance.ts'
import type { Operation, OperationKind } from '../../specs/operation.ts'
import { systemRandom } from '../../specs/random.ts'

/** A controller's part, played by hand: what the API's tests need of one, and no more. */
export interface Stage {
  fence: Fence
  /** Members that are being built. */
  build(count: number): Promise<string[]>
  /** Members that a claim can take, the first one first. */
  shelve(count: number): Promise<string[]>
  write(id: string, write: InstanceWrite): Promise<void>
  /** Carries out the delivery that somebody waits for: resolves with the instance, rejects when none comes in 5 s. */
  deliver(outcome?: Record<string, unknown>): Promise<string>
  /** Ends every operation of the kind that comes within 5 s, the first one. */
  finish(kind: OperationKind, status?: Partial<Parameters<typeof writeOperation>[3]>): Promise<Operation>
  remove(id: string): Promise<void>
  endUnbegun(): Promise<void>
  clear(): Promise<void>
}

const machine = (value: string) => ({ version: 1, value, context: {} })
const WAIT_MS = 5_000

export async function setStage(sql: Sql): Promise<Stage> {
  const taken = await takeLease(sql, 'default', 'test')
  if (!taken) throw new Error('somebody else leads')
  await sql`update leases set expires_at = now() + interval '1 day'` // nobody renews it here
  const fence: Fence = { pool: 'default', epoch: taken.epoch }

  async function load(id: string) {
    const [loaded] = await loadInstances(sql, [id])
    if (!loaded) throw new Error(`no instance ${id}`)
    return loaded
  }

  const stage: Stage = {
    fence,
    async build(count) {
      const pool = await getPool(sql, 'default')
      const ids = Array.from({ length: count }, () => systemRandom.word(12) as InstanceId)
      const members = ids.map((id) => ({
        id,
        spriteName: `claw-dev-${id}`,
        stamp: `stamp-${id}`,
        revision: pool.revision,
        machine: machine('installing'),
      }))
      const made = await insertInstances(sql, fence, pool.planVersion, members, null)
      if (made !== count) throw new Error(`${made} of ${count} were made`)
      return ids
    },
    async shelve(count) {
      const ids = await stage.build(count)
      for (const id of ids)
        await stage.write(id, {
          patch: {
            machine: machine('idle'),
            sprite_id: `sprite-${id}`,
            sprite_url: `https://${id}.example.com`,
            checkpoint_id: 'v1',
            commit: 'abc123',
            proven_at: new Date().toISOString(),
            first_ready_at: new Date().toISOString(),
            ready_at: new Date().toISOString(),
          },
          secret: { gateway_key: `CANARY-gateway-${id}`, gateway_token: 'CANARY-token' },
        })
      return ids
    },
    async write(id, write) {
      const { instance } = await load(id)
      if (!(await writeInstance(sql, fence, instance, null, write, 'controller')))
        throw new Error(`instance ${id} moved meanwhile`)
    },
    async deliver(outcome = {}) {
      const id = await until(async () => {
        const [bound] = await sql<{ id: string }[]>`
          select id from instances where claim_id is not null and phase = 'idle' limit 1`
        return bound?.id
      })
      const attempt = { id: systemRandom.word(8), call: 'converse' as const, until: Date.now() + 60_000 }
      const begun = await beginDelivery(sql, fence, id, attempt, machine('delivering'))
      if (!begun) throw new Error('nothing to deliver')
      const failed = outcome.phase === 'Failed'
      await writeInstance(
        sql,
        fence,
        begun.instance,
        attempt.id,
        {
          patch: {
            machine: machine(
              failed ? 'marking' : outcome.phase === 'AwaitingAcceptance' ? 'awaiting' : 'claimed',
            ),
            attempt: null,
            ...(failed && { claim_id: null }),
          },
          claim: {
            id: begun.claim.id,
            phase: 'Ready',
            conversation_id: `conversation-${id}`,
            invite_url: `https://dev.convos.org/v2?i=slug-${id}`,
            invite_slug: `slug-${id}`,
            ready_at: new Date().toISOString(),
            ...outcome,
          },
        },
        'controller',
      )
      return id
    },
    async finish(kind, status = {}) {
      const operation = await until(async () =>
        (await openOperations(sql, 'default')).find((open) => open.kind === kind),
      )
      await writeOperation(sql, fence, operation.id, { phase: 'Succeeded', ...status })
      return operation
    },
    async remove(id) {
      const { instance } = await load(id)
      await removeInstance(
        sql,
        fence,
        instance,
        { claim: { reason: 'Destroyed', message: 'destroyed' }, news: [] },
        'controller',
      )
    },
    async endUnbegun() {
      await endUnbegunClaims(sql, fence)
    },
    async clear() {
      await sql`update instances set claim_id = null`
      await sql`delete from instances`
      await sql`delete from claim_keys`
      await sql`delete from claims`
      await sql`delete from operations`
      await sql`delete from events`
    },
  }
  return stage
}

/** What `look` finds, as soon as it finds something; an error when that takes longer than `WAIT_MS`. */
async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + WAIT_MS
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (Date.now() > deadline) throw new Error('it did not come in time')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
