-- Who gets which instance. One statement for the caller, a volatile function inside: each statement in it sees what
-- committed while the last one waited, which a plain statement (one snapshot) cannot.
-- Order of locks everywhere: a key, a link, the pool's line, then the claim, then the instance.

create or replace function lock_line(line_pool text) returns void language sql as $$
  select pg_advisory_xact_lock(hashtextextended('clawpool line ' || line_pool, 0))
$$;

-- The last line of a claim's history.
create or replace function claim_ended(c claims, its_actor text) returns void language sql volatile as $$
  select record_event(c.pool, case when c.phase in ('Failed', 'Expired') then 'Warning' else 'Normal' end, 'ClaimEnded',
    c.phase || case when c.reason is null or c.reason = c.phase then '' else ' (' || c.reason || ')' end || coalesce(': ' || c.message, ''),
    its_actor, null, c.id, c.instance_id)
$$;

-- First of the shelf: newest revision, then longest ready. Null: none that nobody else is taking.
-- `for no key update`: `for update` would also skip rows that a foreign key of a row being written holds.
create or replace function pick_instance(shelf_pool text) returns text language sql volatile as $$
  select id from instances where pool = shelf_pool and shelf
   order by rank desc, ready_at limit 1 for no key update skip locked
$$;

-- Binds waiting claims to free instances, first come first served. The caller holds the line's lock.
create or replace function serve_line(line_pool text) returns int language plpgsql volatile
security definer set search_path from current as $$
declare
  waiting text;
  picked text;
  served int := 0;
begin
  loop
    select id into waiting from claims
     where pool = line_pool and phase = 'Waiting' and cancelled_at is null and deadline_at > pool_now()
     order by priority desc, number limit 1 for no key update;
    exit when waiting is null;
    picked := pick_instance(line_pool);
    exit when picked is null;
    update claims set phase = 'Bound', instance_id = picked, bound_at = coalesce(bound_at, pool_now()) where id = waiting;
    update instances set claim_id = waiting, claimed_at = pool_now() where id = picked;
    perform record_event(line_pool, 'Normal', 'ClaimBound', 'Its turn has come: an instance is held for it.', 'pool', null, waiting, picked);
    served := served + 1;
  end loop;
  return served;
end $$;

-- The claim that this key of this caller stands for, and whether the request is the same: an answer for the caller, or
-- null. Whoever comes back is there: a claim that nobody seemed to wait for any more is somebody's again.
create or replace function known_claim(request jsonb) returns jsonb language plpgsql volatile as $$
declare
  known record;
begin
  if request ->> 'key' is null then return null; end if;
  select k.claim_id, k.body_hash, c.instance_id into known from claim_keys k join claims c on c.id = k.claim_id
   where k.actor = request ->> 'actor' and k.key = request ->> 'key';
  if not found then return null; end if;
  if known.body_hash <> request ->> 'bodyHash' then
    return jsonb_build_object('outcome', 'KeyReused', 'claimId', known.claim_id, 'bodyHash', known.body_hash);
  end if;
  update claims set callers = callers + 1, unseen_at = null where id = known.claim_id and phase in ('Waiting', 'Bound', 'Delivering');
  return jsonb_build_object('outcome', 'Known', 'claimId', known.claim_id, 'instanceId', known.instance_id);
end $$;

-- A double tap: the same caller, link, name and instructions a moment ago. Null: none. The window is time, which no unique
-- index can hold, so who asks about a link waits for whoever asks about it now. What was let go or failed is no match:
-- asking again is then a new try.
create or replace function tapped_claim(request jsonb) returns jsonb language plpgsql volatile as $$
declare
  tapped record;
  seconds constant double precision := coalesce((request ->> 'joinDedupeSeconds')::double precision, 0);
begin
  if request ->> 'joinUrl' is null or seconds <= 0 then return null; end if;
  perform pg_advisory_xact_lock(hashtextextended('clawpool link ' || (request ->> 'pool') || ' ' || (request ->> 'joinUrl'), 0));
  update claims set callers = callers + 1, unseen_at = null, keyed = keyed or request ->> 'key' is not null
   where id = (
     select id from claims
      where pool = request ->> 'pool' and md5(join_url) = md5(request ->> 'joinUrl') and join_url = request ->> 'joinUrl'
        and actor = request ->> 'actor' and agent_name = request ->> 'agentName' and instructions = request ->> 'instructions'
        and ended_at is null and released_at is null and cancelled_at is null
        and created_at > pool_now() - make_interval(secs => seconds)
      order by number desc limit 1)
  returning id, instance_id into tapped;
  if not found then return null; end if;
  if request ->> 'key' is not null then
    insert into claim_keys (actor, key, claim_id, body_hash, created_at)
    values (request ->> 'actor', request ->> 'key', tapped.id, request ->> 'bodyHash', pool_now()) on conflict (actor, key) do nothing;
  end if;
  return jsonb_build_object('outcome', 'Known', 'claimId', tapped.id, 'instanceId', tapped.instance_id);
end $$;

-- {claimId, pool, actor, agentName, instructions, joinUrl, extra, ttlSeconds, priority, wait, deadlineSeconds, key, bodyHash,
--  joinDedupeSeconds}
-- -> {outcome: Bound | Waiting | Empty | Known | KeyReused, claimId, instanceId, bodyHash}
create or replace function submit_claim(request jsonb) returns jsonb language plpgsql volatile
security definer set search_path from current as $$
declare
  its_pool constant text := request ->> 'pool';
  its_id constant text := request ->> 'claimId';
  known jsonb;
  picked text;
  tries int := 0;
begin
  known := known_claim(request);
  if known is null and request ->> 'key' is not null then
    -- Twins come one after the other, so that the second finds the first one's claim and is never told "empty" beside it.
    perform pg_advisory_xact_lock(hashtextextended('clawpool key ' || (request ->> 'actor') || ' ' || (request ->> 'key'), 0));
    known := known_claim(request);
  end if;
  known := coalesce(known, tapped_claim(request));
  if known is not null then return known; end if;

  if not exists (select from claims where pool = its_pool and phase = 'Waiting') then
    picked := pick_instance(its_pool);
  end if;
  if picked is null then
    perform lock_line(its_pool);
    perform serve_line(its_pool);
    -- A row that somebody has locked for a moment is not absent: look again while a free one exists, locked or not, for as
    -- long as a commit may take on a slow disk. (To wait for the row's own lock in here ends in a deadlock.)
    loop
      exit when exists (select from claims where pool = its_pool and phase = 'Waiting'
                           and cancelled_at is null and deadline_at > pool_now());
      picked := pick_instance(its_pool);
      tries := tries + 1;
      exit when picked is not null or tries >= 250
             or not exists (select from instances where pool = its_pool and shelf);
      perform pg_sleep(0.002);
    end loop;
  end if;
  if picked is null and not (request ->> 'wait')::boolean then
    return jsonb_build_object('outcome', 'Empty'); -- a refusal stores nothing: the retry is a new try
  end if;

  insert into claims (id, pool, actor, agent_name, instructions, join_url, extra, ttl_seconds, priority, deadline_at, keyed,
                      phase, instance_id, bound_at, created_at)
  values (its_id, its_pool, request ->> 'actor', request ->> 'agentName', request ->> 'instructions', request ->> 'joinUrl',
          coalesce(request -> 'extra', '{}'), (request ->> 'ttlSeconds')::int, coalesce((request ->> 'priority')::smallint, 0),
          pool_now() + make_interval(secs => (request ->> 'deadlineSeconds')::double precision), request ->> 'key' is not null,
          case when picked is null then 'Waiting' else 'Bound' end, picked,
          case when picked is null then null else pool_now() end, pool_now());
  if request ->> 'key' is not null then
    insert into claim_keys (actor, key, claim_id, body_hash, created_at)
    values (request ->> 'actor', request ->> 'key', its_id, request ->> 'bodyHash', pool_now());
  end if;
  if picked is not null then
    -- The binding changes the instance's own row: a rival that saw it free is checked again and finds it taken.
    update instances set claim_id = its_id, claimed_at = pool_now() where id = picked;
  end if;
  perform record_event(its_pool, 'Normal', case when picked is null then 'ClaimWaiting' else 'ClaimBound' end,
    case when picked is null then 'It waits for an instance.' else 'An instance is held for it.' end,
    request ->> 'actor', null, its_id, picked);
  return jsonb_build_object('outcome', case when picked is null then 'Waiting' else 'Bound' end,
    'claimId', its_id, 'instanceId', picked);
end $$;

-- Ends what never began: waiting or bound claims that were cancelled or whose deadline passed. An instance that was bound
-- but not begun goes back to the shelf untouched, and the line is served at once.
create or replace function end_unbegun_claims(lease_pool text, lease_epoch bigint) returns setof claims
language plpgsql volatile as $$
declare
  c claims;
begin
  perform 1 from leases where pool = lease_pool and epoch = lease_epoch for key share;
  if not found then return; end if;
  -- Served here too: a row that was locked for a moment when its claim came is free by now, and nobody else looks.
  if not exists (select from claims where pool = lease_pool and phase in ('Waiting', 'Bound')
                    and (cancelled_at is not null or deadline_at <= pool_now() or released_at is not null))
     and not (exists (select from claims where pool = lease_pool and phase = 'Waiting')
              and exists (select from instances where pool = lease_pool and shelf)) then
    return;
  end if;
  perform lock_line(lease_pool);
  for c in
    select * from claims where pool = lease_pool and phase in ('Waiting', 'Bound')
       and (cancelled_at is not null or deadline_at <= pool_now() or released_at is not null)
     order by number limit 500 for no key update skip locked
  loop
    update instances set claim_id = null, claimed_at = null where claim_id = c.id and phase = 'idle';
    if not found and c.phase = 'Bound' and exists (select from instances where claim_id = c.id) then
      continue; -- begun meanwhile: only the outcome ends a delivery
    end if;
    update claims set
      phase = case when cancelled_at is not null or released_at is not null then 'Cancelled' else 'Expired' end,
      reason = case when cancelled_at is not null or released_at is not null then 'Cancelled' else 'DeadlineExceeded' end,
      message = case when cancelled_at is not null or released_at is not null then 'Cancelled before an instance was touched.'
                     else 'No instance could be delivered before the deadline. Claim again, or raise minIdle.' end,
      ended_at = pool_now()
     where id = c.id returning * into c;
    perform claim_ended(c, 'controller');
    perform tell(jsonb_build_object('kind', 'done', 'pool', c.pool, 'ids', jsonb_build_array(c.id)));
    return next c;
  end loop;
  perform serve_line(lease_pool);
end $$;
