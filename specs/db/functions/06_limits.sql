-- A token bucket in a row, refilled by the database's clock: every process and pool of one Sprites account shares it.
-- A fifth of the limit may come at once, the rest is spread: burst and refill of any rolling minute add up to the limit.
-- Returns 0 when a create may be sent now (its token is taken), else the seconds until the next one.
create or replace function take_create_token(its_account text, per_minute double precision) returns double precision
language plpgsql volatile as $$
declare
  l limits;
  burst constant double precision := greatest(1, per_minute * 0.2);
  tokens_now double precision;
begin
  insert into limits (account, tokens, refilled_at) values (its_account, burst, pool_now()) on conflict (account) do nothing;
  select * into l from limits where account = its_account for update;
  if l.blocked_until > pool_now() then
    return extract(epoch from l.blocked_until - pool_now());
  end if;
  tokens_now := least(burst, l.tokens + extract(epoch from pool_now() - l.refilled_at) * per_minute * 0.8 / 60);
  if tokens_now < 1 then
    return (1 - tokens_now) * 60 / (per_minute * 0.8);
  end if;
  update limits set tokens = tokens_now - 1, refilled_at = pool_now() where account = its_account;
  return 0;
end $$;

-- The provider said 429: nobody creates before it said so.
create or replace function block_creates(its_account text, seconds double precision) returns void language sql as $$
  update limits set blocked_until = greatest(blocked_until, pool_now() + make_interval(secs => seconds)) where account = its_account
$$;
