-- Everything the controller writes about an instance.

-- A decision is fenced by a locked read of the lease and by the row's version; the outcome of a call already made, by its
-- attempt alone: neither a missed renewal nor an edit of the spec may drop a conversation that exists.
--   attempt_id null: a decision; `expected` is compared
--   patch: columns of instances, by their SQL names; only the keys it has are changed
--   claim: null, or {id, phase, ...columns of claims}; phase Waiting sends it back to the head of its line
--   secret: null, or {gateway_key, gateway_token}
--   news: array of {type, reason, message, claim_id?}
-- Returns the row as written; no row when somebody else was first.
create or replace function write_instance(
  lease_pool text, lease_epoch bigint, its_id text, expected bigint, attempt_id text,
  patch jsonb, claim jsonb, secret jsonb, build jsonb, news jsonb, its_actor text
) returns setof instances language plpgsql volatile as $$
declare
  i instances;
  n instances;
  c claims;
  d claims;
  serves constant boolean := coalesce(patch -> 'machine' ->> 'value' = 'idle', false) or coalesce(claim ->> 'phase' = 'Waiting', false);
begin
  if attempt_id is null then
    perform 1 from leases where pool = lease_pool and epoch = lease_epoch for key share;
    if not found then return; end if;
  end if;
  if serves then perform lock_line(lease_pool); end if;
  if claim is not null then
    select * into c from claims where id = claim ->> 'id' for no key update;
    if claim ->> 'phase' = 'Expired' and c.phase = 'Ready' and (c.expires_at is null or c.expires_at > pool_now()) then
      return; -- renewed since it was read: the row has the last word
    end if;
  end if;
  select * into i from instances where id = its_id for no key update;
  if not found then return; end if;
  if attempt_id is null and i.resource_version <> expected then return; end if;
  if attempt_id is not null and coalesce(i.attempt ->> 'id', '') <> attempt_id then return; end if;

  n := jsonb_populate_record(i, patch);
  -- Unbind and bind are two statements of one function: a unique index refuses, row by row, what moves between rows in one.
  update instances set
    machine = n.machine, attempt = n.attempt, touched = n.touched, proven_at = n.proven_at, recycled = n.recycled,
    reuses = n.reuses, revision = n.revision, rank = n.rank, sprite_id = n.sprite_id, sprite_url = n.sprite_url,
    checkpoint_id = n.checkpoint_id, checkpoint_at = n.checkpoint_at, canary = n.canary, commit = n.commit, takes = n.takes,
    progress = n.progress, conditions = n.conditions, error = n.error, next_look_at = n.next_look_at,
    first_ready_at = n.first_ready_at, ready_at = n.ready_at, claimed_at = n.claimed_at, claim_id = n.claim_id
   where id = its_id;

  if secret is not null then
    insert into instance_secrets (instance_id, gateway_key, gateway_token)
    values (its_id, secret ->> 'gateway_key', secret ->> 'gateway_token')
    on conflict (instance_id) do update set gateway_key = excluded.gateway_key, gateway_token = excluded.gateway_token;
  end if;
  if claim is not null and c.id is not null and c.ended_at is null then
    d := jsonb_populate_record(c, claim);
    if d.phase in ('Ready', 'AwaitingAcceptance', 'Waiting') and coalesce(c.cancelled_at, c.released_at) is not null then
      d.phase := 'Cancelled'; -- asked for while the request was under way: what was made is recycled
      d.reason := 'Cancelled';
      d.ended_at := pool_now();
    end if;
    update claims set phase = d.phase, attempts = d.attempts, instance_id = d.instance_id, conversation_id = d.conversation_id,
      invite_url = d.invite_url, invite_slug = d.invite_slug, joined = d.joined, reason = d.reason, message = d.message,
      ready_at = d.ready_at, ended_at = d.ended_at,
      expires_at = case when d.phase = 'Ready' and c.ready_at is null and c.ttl_seconds is not null
                        then pool_now() + make_interval(secs => c.ttl_seconds) else d.expires_at end
     where id = c.id returning * into d;
    if d.ended_at is not null then
      perform claim_ended(d, its_actor);
    end if;
    if d.phase in ('Ready', 'AwaitingAcceptance', 'Released', 'Failed', 'Cancelled', 'Expired') then
      perform tell(jsonb_build_object('kind', 'done', 'pool', d.pool, 'ids', jsonb_build_array(d.id)));
    end if;
  end if;
  perform count_build(lease_pool, n.revision, build);
  perform record_event(lease_pool, e ->> 'type', e ->> 'reason', e ->> 'message', its_actor, null,
                       coalesce(e ->> 'claim_id', i.claim_id), its_id)
     from jsonb_array_elements(coalesce(news, '[]')) e;
  if serves then perform serve_line(lease_pool); end if;
  return query select * from instances where id = its_id;
end $$;

-- Begins the delivery of a bound claim: the attempt is committed before the request is sent, and the claim's own row
-- decides whether there is still anything to deliver. -> {instance, claim, gatewayKey}, or null when somebody was first.
create or replace function begin_delivery(lease_pool text, lease_epoch bigint, its_id text, its_attempt jsonb, its_machine jsonb)
returns jsonb language plpgsql volatile as $$
declare
  c claims;
  i instances;
begin
  perform 1 from leases where pool = lease_pool and epoch = lease_epoch for key share;
  if not found then return null; end if;
  select cl.* into c from claims cl where cl.id = (select claim_id from instances where id = its_id) for no key update;
  if not found or c.phase <> 'Bound' or c.cancelled_at is not null or c.released_at is not null or c.deadline_at <= pool_now() then
    return null;
  end if;
  its_attempt := its_attempt || jsonb_build_object('call', case when c.join_url is null then 'converse' else 'join' end);
  update instances set machine = its_machine, attempt = its_attempt, touched = true, proven_at = null, next_look_at = pool_now()
   where id = its_id and phase = 'idle' and claim_id = c.id and wanted = 'present' and machine -> 'context' ->> 'missingAt' is null
  returning * into i;
  if not found then return null; end if;
  update claims set phase = 'Delivering', attempts = attempts + 1 where id = c.id returning * into c;
  return jsonb_build_object('instance', to_jsonb(i), 'claim', to_jsonb(c),
    'gatewayKey', (select gateway_key from instance_secrets where instance_id = its_id),
    'template', (select template from pool_revisions where pool = i.pool and number = i.revision));
end $$;

-- Rows for new members. `expected_plan` is the version the plan was made from: a plan of old news inserts nothing.
create or replace function insert_instances(lease_pool text, lease_epoch bigint, expected_plan bigint, members jsonb, operation text)
returns int language plpgsql volatile as $$
declare
  room int;
  made int;
begin
  perform 1 from leases where pool = lease_pool and epoch = lease_epoch for key share;
  if not found then return -1; end if;
  update pools set plan_version = plan_version + 1 where name = lease_pool and plan_version = expected_plan;
  if not found then return -1; end if;
  room := jsonb_array_length(members);
  if operation is not null then
    update operations set picked = picked + room where id = operation and phase in ('Pending', 'Running') and picked + room <= wanted;
    if not found then return 0; end if;
  end if;
  insert into instances (id, pool, machine, revision, rank, sprite_name, stamp, made_by, next_look_at, created_at)
  select m ->> 'id', lease_pool, m -> 'machine', (m ->> 'revision')::int, (m ->> 'revision')::int, m ->> 'sprite_name', m ->> 'stamp',
         operation, pool_now(), pool_now()
    from jsonb_array_elements(members) m;
  get diagnostics made = row_count;
  insert into instance_probes (instance_id) select m ->> 'id' from jsonb_array_elements(members) m;
  return made;
end $$;

-- The row goes last, once nothing of it is left outside. A claim that still held it fails with a reason in the same transaction.
create or replace function remove_instance(lease_pool text, lease_epoch bigint, its_id text, expected bigint,
  claim_reason text, claim_message text, build jsonb, news jsonb, its_actor text
) returns boolean language plpgsql volatile as $$
declare
  its_claim text;
  its_revision int;
  gone claims;
begin
  perform 1 from leases where pool = lease_pool and epoch = lease_epoch for key share;
  if not found then return false; end if;
  select claim_id into its_claim from instances where id = its_id;
  if its_claim is not null then
    perform 1 from claims where id = its_claim for no key update;
  end if;
  delete from instances where id = its_id and resource_version = expected and claim_id is not distinct from its_claim
    returning revision into its_revision;
  if not found then return false; end if;
  if its_claim is not null then
    update claims set phase = 'Failed', reason = claim_reason, message = claim_message, ended_at = pool_now()
     where id = its_claim and ended_at is null returning * into gone;
    if found then
      perform claim_ended(gone, its_actor);
    end if;
    perform tell(jsonb_build_object('kind', 'done', 'pool', lease_pool, 'ids', jsonb_build_array(its_claim)));
  end if;
  perform count_build(lease_pool, its_revision, build);
  perform record_event(lease_pool, e ->> 'type', e ->> 'reason', e ->> 'message', its_actor, null, its_claim, its_id)
     from jsonb_array_elements(coalesce(news, '[]')) e;
  return true;
end $$;

-- Marks idle members for deletion. Those that a claim is taking at this moment are skipped, protected ones never picked.
create or replace function unwant_idle(lease_pool text, lease_epoch bigint, how_many int, operation text, only_revision int)
returns int language plpgsql volatile as $$
declare
  marked int;
begin
  perform 1 from leases where pool = lease_pool and epoch = lease_epoch for key share;
  if not found then return -1; end if;
  update instances set wanted = 'absent', drained_by = coalesce(operation, drained_by)
   where id in (
     select id from instances
      where pool = lease_pool and shelf and not protected and (only_revision is null or revision = only_revision)
      order by (revision = (select revision from pools where name = lease_pool)), ready_at
      limit how_many for no key update skip locked);
  get diagnostics marked = row_count;
  if operation is not null and marked > 0 then
    update operations set picked = picked + marked where id = operation;
  end if;
  return marked;
end $$;

-- What a revision's builds came to: read by the breaker, kept when the failed instance's own row is gone, and so counted
-- by the statement that ends the attempt. A burst of failures is one round; a failure after the breaker was open for its
-- time (the one build it let through) is the next. A permanent one opens it at once: every further build would end the
-- same.  build: {error: null for one that became ready, permanent, threshold, openSeconds}; null: no build ended.
create or replace function count_build(its_pool text, its_revision int, build jsonb) returns void language plpgsql as $$
declare
  its_error constant text := build ->> 'error';
  threshold constant int := build ->> 'threshold';
begin
  if build is null then return; end if;
  if its_error is null then
    update pool_revisions set builds_ok = builds_ok + 1, failures = 0, rounds = 0
     where pool = its_pool and number = its_revision;
  else
    update pool_revisions set
      failures = case when (build ->> 'permanent')::boolean then greatest(failures + 1, threshold) else failures + 1 end,
      rounds = rounds + (case when failures >= threshold
                               and last_failed_at < pool_now() - make_interval(secs => (build ->> 'openSeconds')::int)
                              then 1 else 0 end),
      last_failed_at = pool_now(),
      last_error = left(its_error, 500)
     where pool = its_pool and number = its_revision;
  end if;
end $$;
