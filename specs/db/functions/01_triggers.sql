-- Triggers: what moves generation, revision and resource_version, what refuses an overshoot, and who is told.

-- One channel, small payloads, per statement, spec columns only: a transaction that notifies makes all others that do wait.
create or replace function tell(news jsonb) returns void language sql as $$
  select pg_notify('clawpool', news::text) where news is not null
$$;

create or replace function pools_before_write() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    new.generation := 1;
    new.revision := 1;
  elsif new.spec is distinct from old.spec then
    new.generation := old.generation + 1;
    new.revision := old.revision + (case when new.spec -> 'template' is distinct from old.spec -> 'template' then 1 else 0 end);
  else
    new.generation := old.generation;
    new.revision := old.revision;
  end if;
  return new;
end $$;
create or replace trigger pools_before_write before insert or update on pools
  for each row execute function pools_before_write();

-- The revision's row comes with the commit of the edit, whoever made it. Definer: the API's role edits specs, never revisions.
create or replace function pools_after_write() returns trigger language plpgsql security definer set search_path from current as $$
begin
  if tg_op = 'INSERT' or new.revision <> old.revision then
    insert into pool_revisions (pool, number, template, hash)
    values (new.name, new.revision, new.spec -> 'template', new.template_hash);
  end if;
  if tg_op = 'INSERT' or new.generation <> old.generation then
    perform tell(jsonb_build_object('kind', 'pool', 'pool', new.name));
  end if;
  return null;
end $$;
create or replace trigger pools_after_write after insert or update of spec on pools
  for each row execute function pools_after_write();

create or replace function instances_before_update() returns trigger language plpgsql as $$
begin
  -- Generated columns are still null here, and what is put there is ignored: without this every update would differ.
  new.phase := old.phase;
  new.shelf := old.shelf;
  new.status := old.status;
  if new is distinct from old then
    new.resource_version := old.resource_version + 1;
    new.updated_at := pool_now();
  end if;
  return new;
end $$;
create or replace trigger instances_before_update before update on instances
  for each row execute function instances_before_update();

-- A count beside a lock is older than the lock; the statements inside a trigger are fresh. So the ceiling holds whoever inserts.
create or replace function instances_ceiling() returns trigger language plpgsql as $$
declare
  p record;
  alive bigint;
begin
  for p in
    select name, (spec ->> 'maxTotal')::bigint as ceiling from pools
     where name in (select distinct pool from added) order by name for no key update
  loop
    select count(*) into alive from instances where pool = p.name;
    if alive > p.ceiling then
      raise check_violation using constraint = 'instances_ceiling',
        message = format('pool %s: %s instances would be alive, maxTotal is %s', p.name, alive, p.ceiling);
    end if;
  end loop;
  return null;
end $$;
create or replace trigger instances_ceiling after insert on instances
  referencing new table as added for each statement execute function instances_ceiling();

create or replace function instances_tell() returns trigger language plpgsql as $$
declare
  n record;
begin
  for n in
    select now.pool, (array_agg(now.id))[1:100] as ids, count(*) > 100 as more,
           (array_agg(now.id) filter (where now.claim_id is not null and now.phase = 'idle'))[1:100] as bound
      from new_rows now join old_rows was using (id)
     where (now.claim_id is distinct from was.claim_id and now.claim_id is not null)
        or now.wanted is distinct from was.wanted
        or now.recycle_requested is distinct from was.recycle_requested
     group by now.pool
  loop
    perform tell(jsonb_build_object('kind', 'instances', 'pool', n.pool, 'ids', n.ids,
      'bound', coalesce(n.bound, '{}'), 'more', n.more));
  end loop;
  return null;
end $$;
create or replace trigger instances_tell after update on instances
  referencing old table as old_rows new table as new_rows for each statement execute function instances_tell();

create or replace function claims_tell_waiting() returns trigger language plpgsql as $$
begin
  perform tell(jsonb_build_object('kind', 'waiting', 'pool', w.pool)) from (select distinct pool from added where phase = 'Waiting') w;
  return null;
end $$;
create or replace trigger claims_tell_waiting after insert on claims
  referencing new table as added for each statement execute function claims_tell_waiting();

create or replace function claims_tell() returns trigger language plpgsql as $$
declare
  n record;
begin
  for n in
    select now.pool, (array_agg(now.instance_id) filter (where now.instance_id is not null))[1:100] as ids, count(*) > 100 as more
      from new_rows now join old_rows was using (id)
     where now.released_at is distinct from was.released_at or now.cancelled_at is distinct from was.cancelled_at
        or (now.unseen_at is not null and was.unseen_at is null)
     group by now.pool
  loop
    perform tell(jsonb_build_object('kind', 'claims', 'pool', n.pool, 'ids', coalesce(n.ids, '{}'), 'more', n.more));
  end loop;
  return null;
end $$;
create or replace trigger claims_tell after update on claims
  referencing old table as old_rows new table as new_rows for each statement execute function claims_tell();

create or replace function operations_tell() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' or new.cancelled_at is distinct from old.cancelled_at then
    perform tell(jsonb_build_object('kind', 'operation', 'pool', new.pool, 'ids', jsonb_build_array(new.id)));
  end if;
  return null;
end $$;
create or replace trigger operations_tell after insert or update on operations
  for each row execute function operations_tell();
