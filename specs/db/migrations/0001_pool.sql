-- The rows a pool is made of: what is wanted beside what was seen, and the constraints that hold even if the code is wrong.

-- SQL reads time here and nowhere else, so that a simulation can own it by replacing this one function.
create function pool_now() returns timestamptz language sql volatile as 'select clock_timestamp()';

-- Whose database this is. One row: a process of another environment, or one that points at another Sprites API, refuses to start.
create table identity (
  only_row boolean primary key default true check (only_row),
  environment text not null,
  sprites_api text not null,
  created_at timestamptz not null default clock_timestamp()
);

create table pools (
  name text primary key check (name ~ '^[a-z][a-z0-9-]{0,30}$'),
  uid text not null unique,                     -- the label that marks a Sprite as ours; a copy of the database gets a new one
  spec jsonb not null,
  generation bigint not null default 1,         -- counts spec edits that changed something; moved by trigger only
  revision int not null default 1,              -- number of the newest row in pool_revisions; moved by trigger only
  template_hash text generated always as (md5((spec -> 'template')::text)) stored,
  plan_version bigint not null default 0,       -- a plan made of older news compares this and inserts nothing
  applied_environment jsonb not null default '{}', -- the variables as last applied: only a changed one is an edit
  status jsonb not null default '{}',
  created_at timestamptz not null default clock_timestamp(),
  check (jsonb_typeof(spec -> 'template') = 'object'),
  check ((spec ->> 'minIdle')::bigint between 0 and 10000),
  check ((spec ->> 'maxTotal')::bigint between 1 and 20000)
);

create table pool_revisions (
  pool text not null references pools (name) on delete cascade,
  number int not null,
  template jsonb not null,
  hash text not null,
  created_at timestamptz not null default clock_timestamp(),
  builds_ok int not null default 0,
  failures int not null default 0,              -- builds that failed in a row since the last good one: what the breaker counts
  rounds int not null default 0,                -- times the breaker opened again after the one build it let through
  last_failed_at timestamptz,
  last_error text,
  primary key (pool, number)
);

create table claims (
  id text primary key,
  pool text not null references pools (name),
  number bigint generated always as identity,   -- the place in the line: first come, first served
  priority smallint not null default 0 check (priority between 0 and 9),
  actor text not null,
  agent_name text not null,
  instructions text not null,
  join_url text,
  extra jsonb not null default '{}',
  ttl_seconds int check (ttl_seconds > 0),
  deadline_at timestamptz not null,             -- undelivered by then: Expired
  released_at timestamptz,
  cancelled_at timestamptz,
  keyed boolean not null default false,         -- came with an Idempotency-Key: its caller can find it again
  callers int not null default 1,               -- who asked for it and was not seen to go away unanswered
  unseen_at timestamptz,                        -- when the last of them went; null: somebody may know of it
  instance_id text,                             -- the binding while live; history afterwards
  -- status
  phase text not null default 'Waiting' check (phase in ('Waiting', 'Bound', 'Delivering', 'AwaitingAcceptance', 'Ready',
    'Releasing', 'Released', 'Failed', 'Cancelled', 'Expired')),
  attempts smallint not null default 0,         -- instances tried so far
  conversation_id text,
  invite_url text,
  invite_slug text,
  joined boolean not null default false,
  reason text,
  message text,
  created_at timestamptz not null default clock_timestamp(),
  bound_at timestamptz,
  ready_at timestamptz,
  ended_at timestamptz,
  expires_at timestamptz,                       -- set at Ready from ttl_seconds; null: never
  check (phase <> 'Bound' or instance_id is not null)
);
create unique index claims_one_per_instance on claims (instance_id)
  where phase in ('Bound', 'Delivering', 'AwaitingAcceptance', 'Ready', 'Releasing');
create index claims_line on claims (pool, priority desc, number) where phase = 'Waiting';
create index claims_unsettled on claims (pool, deadline_at) where phase in ('Waiting', 'Bound', 'Delivering', 'AwaitingAcceptance');
create index claims_expiring on claims (pool, expires_at) where phase = 'Ready' and expires_at is not null;
create index claims_history on claims (pool, number desc);
create index claims_by_link on claims (pool, md5(join_url)) where join_url is not null and ended_at is null;
create index claims_unseen on claims (pool, unseen_at) where unseen_at is not null and ended_at is null;

-- One Idempotency-Key of one caller is one claim, whatever became of it.
create table claim_keys (
  actor text not null,
  key text not null,
  claim_id text not null references claims (id) on delete cascade,
  body_hash text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (actor, key)
);
create index claim_keys_age on claim_keys (created_at);

create table instances (
  id text primary key check (id ~ '^[a-z][a-z0-9]{11}$'),
  pool text not null references pools (name),
  -- spec
  wanted text not null default 'present' check (wanted in ('present', 'absent')),
  recycle_requested int not null default 0,     -- only grows; answered when `recycled` has reached it
  protected boolean not null default false,
  claim_id text unique references claims (id),  -- the other end of claims.instance_id
  made_by text,                                 -- the operation that asked for it; null: the plan
  drained_by text,
  -- status
  machine jsonb not null,                       -- {version, value, context}
  phase text generated always as (machine ->> 'value') stored,
  attempt jsonb,                                -- a call that is sent at most once: {id, call, until}
  touched boolean not null default false,       -- somebody's words may be on its disk: only a recorded proof clears it
  proven_at timestamptz,
  recycled int not null default 0,
  reuses int not null default 0,
  revision int not null,
  rank int not null default 0,                  -- claims take the highest first
  sprite_name text not null unique,
  sprite_id text,
  sprite_url text,
  checkpoint_id text,
  checkpoint_at text,                           -- the provider's create time, word for word: part of the proof
  stamp text not null,                          -- random word on the disk and in the checkpoint: this disk is ours
  canary text,                                  -- random word on the disk since the checkpoint: gone means restored
  commit text,
  takes jsonb,                                  -- fields the gateway's claim request knows; null: not known yet
  progress jsonb,
  conditions jsonb not null default '[]',
  error text,
  next_look_at timestamptz,                     -- null: settled, only news can matter
  created_at timestamptz not null default clock_timestamp(),
  first_ready_at timestamptz,
  ready_at timestamptz,
  claimed_at timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  resource_version bigint not null default 1,   -- counts every change of the row; moved by trigger only
  shelf boolean generated always as (
    machine ->> 'value' = 'idle' and claim_id is null and wanted = 'present' and recycle_requested <= recycled
      and machine -> 'context' ->> 'missingAt' is null) stored,
  -- The seven promised words. One definition, so that no two readers ever count differently.
  status text generated always as (case
    when machine ->> 'value' = 'deleting' then 'deleting'
    when machine ->> 'value' = 'quarantined' then 'quarantined'
    when claim_id is not null or machine ->> 'value' in ('delivering', 'awaiting', 'claimed') then 'claimed'
    when machine ->> 'value' = 'idle' then 'idle'
    when machine ->> 'value' = 'recovering' then 'recovering'
    when machine ->> 'value' in ('marking', 'restoring') then 'recycling'
    when machine ->> 'value' in ('proving', 'arming') and first_ready_at is not null then 'recycling'
    else 'provisioning' end) stored,
  constraint known_phase check (machine ->> 'value' in ('pending', 'installing', 'configuring', 'starting', 'proving', 'sealing',
    'checkpointing', 'arming', 'idle', 'delivering', 'awaiting', 'claimed', 'marking', 'restoring', 'recovering',
    'quarantined', 'deleting')),
  -- Nobody ever receives what another user touched, unless a restore was proven.
  constraint idle_is_proven check (machine ->> 'value' <> 'idle' or (not touched and proven_at is not null))
);
create index instances_shelf on instances (pool, rank desc, ready_at) where shelf;
create index instances_pool on instances (pool, status);
create index instances_due on instances (next_look_at) where next_look_at is not null;
-- Dead index entries of bound instances are what slows a claim down: vacuum early and often.
alter table instances set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
alter table claims set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Apart from instances, so that a heartbeat never locks, moves or versions a row that a claim looks for.
create table instance_probes (
  instance_id text primary key references instances (id) on delete cascade,
  ok_at timestamptz,
  failed_at timestamptz,
  strikes int not null default 0,               -- failures in a row
  latency_ms int,
  verdict text
);
alter table instance_probes set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, fillfactor = 50);

-- Never readable by the API's role.
create table instance_secrets (
  instance_id text primary key references instances (id) on delete cascade,
  gateway_key text not null,
  gateway_token text not null
);

create table operations (
  id text primary key,
  pool text not null references pools (name),
  kind text not null check (kind in ('drain', 'replenish', 'reconcile', 'probe', 'logs', 'action')),
  selector jsonb not null default '{}',         -- which instances: {instance, verb, claim, revision, all}
  wanted int not null default 0,                -- how many; 0 where it does not apply
  arguments jsonb not null default '{}',
  actor text not null,
  deadline_at timestamptz not null,
  cancelled_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  -- status
  phase text not null default 'Pending' check (phase in ('Pending', 'Running', 'Succeeded', 'Failed', 'Cancelled', 'Expired')),
  attempt jsonb,                                -- a call that is sent at most once: {id, until}
  picked int not null default 0,                -- instances made or marked so far: begun twice, it does nothing twice
  done int not null default 0,
  failed int not null default 0,
  message text,
  result jsonb,
  started_at timestamptz,
  finished_at timestamptz
);
create index operations_open on operations (pool, created_at) where phase in ('Pending', 'Running');
create index operations_history on operations (pool, created_at desc);
create index operations_of_claim on operations ((selector ->> 'claim'), created_at)
  where kind = 'action' and phase in ('Pending', 'Running');
create index operations_of_instance on operations ((selector ->> 'instance'), created_at desc) where kind = 'action';

create table leases (
  pool text primary key references pools (name) on delete cascade,
  holder text not null,
  epoch bigint not null,
  expires_at timestamptz not null,
  drain_until timestamptz
);
-- The epoch is a key column: a take-over waits for the writes under way, a renewal waits for nobody.
create unique index leases_fence on leases (pool, epoch);

-- Creation is limited for each Sprites account, whoever creates: a token bucket in a row.
create table limits (
  account text primary key,
  tokens double precision not null,
  refilled_at timestamptz not null default clock_timestamp(),
  blocked_until timestamptz
);

create table events (
  seq bigint generated always as identity,
  xid xid8 not null default pg_current_xact_id(), -- sequence numbers are not given in the order of commits; read below the oldest open one
  at timestamptz not null default clock_timestamp(),
  first_at timestamptz not null default clock_timestamp(),
  pool text not null,
  type text not null check (type in ('Normal', 'Warning')),
  reason text not null,
  message text not null check (length(message) <= 500),
  actor text not null,
  cause text,
  claim_id text,
  instance_id text,                             -- no foreign keys: history outlives them
  count int not null default 1
) partition by range (at);
create table events_default partition of events default;
create index events_order on events (pool, xid, seq);
create index events_instance on events (instance_id, xid, seq) where instance_id is not null;
create index events_claim on events (claim_id, xid, seq) where claim_id is not null;
