-- What an operation asked for.

-- A member that was ready once is done for whoever asked for it, whatever becomes of it later. Counted where it becomes so: a
-- reader that comes by now and then would take one that was claimed and destroyed meanwhile for a failed build.
create or replace function instances_first_ready() returns trigger language plpgsql as $$
begin
  update operations set done = done + 1 where id = new.made_by and phase in ('Pending', 'Running');
  return null;
end $$;
create or replace trigger instances_first_ready after update of first_ready_at on instances
  for each row when (old.first_ready_at is null and new.first_ready_at is not null and new.made_by is not null)
  execute function instances_first_ready();
