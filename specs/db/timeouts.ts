import type { Tx } from './connect.ts'

/**
 * So that a lost client, or a statement that waits for one, holds nothing for long. Set on our role in this database,
 * and in force from the next connection on: poolers refuse these as start-up parameters, and a `set` would stay on a
 * connection that belongs to somebody else next.
 * 30 s: longer than any statement of ours, shorter than the time in which a caller gives up.
 */
const TIMEOUTS = {
  statement_timeout: '30s',
  lock_timeout: '10s',
  idle_in_transaction_session_timeout: '30s',
}

/** false: this server does not let us; whatever needs them sets them itself, by `set local`.
 *  Call it under a lock: two at once meet "tuple concurrently updated". */
export async function setRoleTimeouts(tx: Tx): Promise<boolean> {
  const [current] = await tx<{ settings: string[] | null }[]>`
    select (select setconfig from pg_db_role_setting where setrole = r.oid and setdatabase = d.oid) as settings
      from pg_roles r, pg_database d where r.rolname = current_user and d.datname = current_database()`
  const missing = Object.entries(TIMEOUTS).filter(
    ([name, value]) => !current?.settings?.includes(`${name}=${value}`),
  )
  if (missing.length === 0) return true
  return tx
    .savepoint(async (inner) => {
      for (const [name, value] of missing) {
        const [made] = await inner<{ statement: string }[]>`
          select format('alter role current_user in database %I set %I = %L',
            current_database(), ${name}::text, ${value}::text) as statement`
        if (made) await inner.unsafe(made.statement)
      }
      return true
    })
    .catch(() => false)
}
