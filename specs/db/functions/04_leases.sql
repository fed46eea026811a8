-- One leading controller for each pool, by the database's clock. Null epoch: somebody else leads.
create or replace function take_lease(its_pool text, its_holder text, seconds double precision)
returns table (epoch bigint, drain_until timestamptz) language plpgsql volatile as $$
begin
  return query
    insert into leases as l (pool, holder, epoch, expires_at)
    values (its_pool, its_holder, 1, pool_now() + make_interval(secs => seconds))
    on conflict (pool) do update set holder = its_holder, epoch = l.epoch + 1,
           expires_at = pool_now() + make_interval(secs => seconds)
     where l.expires_at <= pool_now()
    returning l.epoch, l.drain_until;
end $$;
