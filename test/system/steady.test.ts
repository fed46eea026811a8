import { afterAll, beforeAll, expect, it } from 'vitest'
import { startPool, type TestPool } from '../support/pool.ts'

/** What may be written while nothing happens: the heartbeat's findings and the lease's renewal. */
const MAY_CHANGE = ['instance_probes', 'leases']

let pool: TestPool
beforeAll(async () => {
  pool = await startPool({
    env: { POOL_MIN_IDLE: '0', TICK_INTERVAL_MS: '200', POOL_RECONCILE_INTERVAL_MS: '300' },
  })
  await noteWrites()
})
afterAll(() => pool.remove())

/** Every written row of every table, noted as it is written: statistics come late, and forget. */
async function noteWrites() {
  await pool.sql.unsafe(`
    create table written (at timestamptz default clock_timestamp(), what text, operation text, row_before jsonb, row_after jsonb);
    create function note_write() returns trigger language plpgsql as $$
    begin
      insert into written (what, operation, row_before, row_after)
      values (tg_table_name, tg_op, case when tg_op <> 'INSERT' then to_jsonb(old) end, case when tg_op <> 'DELETE' then to_jsonb(new) end);
      return null;
    end $$;`)
  const tables = await pool.sql<{ name: string }[]>`
    select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
       and not relispartition and relname <> 'written'`
  expect(tables.length).toBeGreaterThan(8)
  for (const { name } of tables)
    await pool.sql.unsafe(
      `create trigger note_write after insert or update or delete on ${name} for each row execute function note_write()`,
    )
}

it('writes no row once it has settled but what the heartbeat finds and the renewal of its lease', async () => {
  await pool.get('PATCH', '/api/pool/spec', { minIdle: 2 })
  await pool.settle({ idle: 2, provisioning: 0 })
  expect((await pool.claim({})).status).toBe(200)
  await pool.settle({ idle: 2, claimed: 1, provisioning: 0, recycling: 0 })
  await pool.pass(6 * 60_000) // also past the minutes in which a new claim's join requests are looked after
  await pool.looks(3)

  await pool.sql`truncate written`
  await pool.pass(120_000)
  await pool.looks(25)
  const written = await pool.sql`
    select what, operation, row_before, row_after from written where not what = any (${MAY_CHANGE}) order by at`
  expect(written.map((row) => ({ ...row }))).toEqual([])
  const [beats] = await pool.sql<
    { n: number }[]
  >`select count(*)::int as n from written where what = 'instance_probes'`
  expect(beats?.n).toBeGreaterThan(3) // and it was alive meanwhile
})

it('writes the status of the pool at most once a second while much happens, and never what it wrote before', async () => {
  await pool.sql`truncate written`
  await pool.get('POST', '/api/pool/drain?wait=60', { all: true })
  await pool.settle({ idle: 2, provisioning: 0, deleting: 0 })
  const statuses = await pool.sql<{ gap: number | null; same: boolean }[]>`
    select extract(epoch from at - lag(at) over (order by at))::float8 as gap, row_before -> 'status' = row_after -> 'status' as same
      from written where what = 'pools' and row_before -> 'spec' = row_after -> 'spec'
       and row_before -> 'plan_version' = row_after -> 'plan_version' order by at`
  expect(statuses.length).toBeGreaterThan(1)
  for (const { gap, same } of statuses) {
    expect(gap ?? 1).toBeGreaterThan(0.95)
    expect(same).toBe(false)
  }
})
