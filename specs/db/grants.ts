import type { Sql } from './connect.ts'

/**
 * Gives `role` what the API needs and no more: it edits specs, reads status, and can neither write a phase nor read a
 * gateway's key. The role must exist. Tests run the API under it; an operator may do the same in production.
 */
export async function grantApiRole(sql: Sql, role: string): Promise<void> {
  const name = sql(role)
  await sql.begin(async (tx) => {
    await tx`grant usage on schema public to ${name}`
    await tx`grant select on pools, pool_revisions, claims, claim_keys, instance_probes, operations, leases, events, identity to ${name}`
    await tx`grant update (spec) on pools to ${name}`
    await tx`grant select (id, pool, wanted, recycle_requested, protected, claim_id, made_by, drained_by, machine, phase, status,
      attempt, touched, proven_at, recycled, reuses, revision, rank, sprite_name, sprite_id, sprite_url, checkpoint_id,
      checkpoint_at, commit, takes, progress, conditions, error, next_look_at, created_at, first_ready_at, ready_at, claimed_at,
      updated_at, resource_version, shelf) on instances to ${name}`
    await tx`grant update (wanted, recycle_requested, protected) on instances to ${name}`
    await tx`grant update (released_at, cancelled_at, ttl_seconds, expires_at, callers, unseen_at) on claims to ${name}`
    await tx`grant insert (id, pool, kind, selector, wanted, arguments, actor, deadline_at, created_at) on operations to ${name}`
    await tx`grant update (cancelled_at) on operations to ${name}`
    for (const callable of [
      'submit_claim(jsonb)',
      'record_event(text, text, text, text, text, text, text, text, int, timestamptz)',
    ])
      await tx.unsafe(`grant execute on function ${callable} to ${role.replace(/[^a-z0-9_]/g, '')}`)
  })
}
