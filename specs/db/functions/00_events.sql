-- Audit, append only. Definer: the API's role may add an event and change none.
create or replace function record_event(its_pool text, its_type text, its_reason text, its_message text, its_actor text,
  its_cause text, its_claim text, its_instance text, its_count int default 1, its_first_at timestamptz default null
) returns void language sql volatile security definer set search_path from current as $$
  insert into events (pool, type, reason, message, actor, cause, claim_id, instance_id, count, first_at, at)
  values (its_pool, its_type, its_reason, left(its_message, 500), its_actor, its_cause, its_claim, its_instance, its_count,
          coalesce(its_first_at, pool_now()), pool_now())
$$;

-- Partitions, one a day: makes those of the next two days, drops whole ones older than `keep_days`.
create or replace function keep_event_partitions(keep_days int) returns void language plpgsql volatile as $$
declare
  today constant date := (pool_now() at time zone 'UTC')::date;
  day date;
  old record;
begin
  perform pg_advisory_xact_lock(hashtextextended('clawpool event partitions', 0));
  for day in select today + n from generate_series(1, 2) n loop
    if to_regclass('events_' || to_char(day, 'YYYYMMDD')) is null then
      execute format('create table %I partition of events for values from (%L) to (%L)', 'events_' || to_char(day, 'YYYYMMDD'),
        (day::timestamp at time zone 'UTC'), ((day + 1)::timestamp at time zone 'UTC'));
    end if;
  end loop;
  for old in
    select c.relname from pg_inherits h join pg_class c on c.oid = h.inhrelid
     where h.inhparent = 'events'::regclass and c.relname ~ '^events_\d{8}$'
       and to_date(right(c.relname, 8), 'YYYYMMDD') < today - keep_days
  loop
    execute format('drop table %I', old.relname);
  end loop;
  delete from events_default where at < pool_now() - make_interval(days => keep_days);
end $$;
