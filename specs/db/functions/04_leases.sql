-- One leading controller for each pool, by the database's clock. No row: somebody else leads.
-- `drain_until` is what the holder before named when it released; of one that only stopped renewing nothing is known, and it
-- left none here, since whoever takes the lease clears it.
create or replace function take_lease(its_pool text, its_holder text, seconds double precision)
returns table (epoch bigint, drain_until timestamptz) language plpgsql volatile as $$
declare
  was leases;
begin
  -- A stand-by's look locks nothing: the lock below waits for the leader's writes, and the next ones would wait for it.
  perform 1 from leases l where l.pool = its_pool and l.expires_at > pool_now();
  if found then return; end if;
  select * into was from leases l where l.pool = its_pool for update;
  if not found then
    return query
      insert into leases as l (pool, holder, epoch, expires_at)
      values (its_pool, its_holder, 1, pool_now() + make_interval(secs => seconds))
      on conflict (pool) do nothing
      returning l.epoch, l.drain_until;
  elsif was.expires_at <= pool_now() then -- as it is under the lock: a rival may have been first
    return query
      update leases as l set holder = its_holder, epoch = was.epoch + 1, drain_until = null,
             expires_at = pool_now() + make_interval(secs => seconds)
       where l.pool = its_pool
      returning l.epoch, was.drain_until;
  end if;
end $$;
