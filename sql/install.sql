-- fastify-pg-tail: the doorbell, for PostgreSQL 14 and later.
--
-- Rows are read from the table itself. These triggers only tell a sleeping reader to look: they send
-- an empty NOTIFY, and none at all while nobody sleeps. A sleeping reader holds a shared advisory
-- lock (1885828193, oid of the table); the trigger tries that lock and lets it go, which is all a
-- writer pays while nobody waits.
--
--   psql -1 -f install.sql
--   select fastify_pg_tail.install('public.scraper_log');
--   select fastify_pg_tail.install_runs('public.scraper_run', 'public.scraper_log');
--
-- Psql, a migration tool or one simple query can apply this file as it is, best in one transaction.
-- Applying it again changes nothing, or upgrades in place. To create the triggers takes the TRIGGER
-- right on the table (its owner has it), to remove them its owner. Writers need no right of their own.
--
-- * Partitions: rows put into the root always ring. For rows put straight into a partition, call
--   install() again after you have added one; it touches only what is new.
-- * The triggers name the table by its identity, so renames, dumps and restores carry them along. The
--   trigger on the table of runs depends on the log table: call uninstall() before you drop that, or
--   drop it with CASCADE.
-- * A transaction that has rung cannot be prepared (two-phase commit): poll such a table instead.
--
-- A role of an application that does not own the schema needs this to stop runs:
--
--   grant usage on schema fastify_pg_tail to app;
--   grant select, insert on fastify_pg_tail.stopped_run to app;

do $do$
begin
  if pg_catalog.current_setting('server_version_num')::integer < 140000 then
    raise exception 'fastify-pg-tail needs PostgreSQL 14 or later'
      using errcode = 'feature_not_supported';
  end if;
  -- Nodes start at once, and "if not exists" and "or replace" both fail in a race. It is held to the end of the transaction.
  perform pg_catalog.pg_advisory_xact_lock(1885828193, 0);
  -- Looked for first: "create schema if not exists" asks for a right on the database even when it is there.
  if pg_catalog.to_regnamespace('fastify_pg_tail') is null then
    create schema fastify_pg_tail;
  end if;
  if pg_catalog.to_regclass('fastify_pg_tail.stopped_run') is null then
    create table fastify_pg_tail.stopped_run (
      target regclass not null,
      run text not null,
      message text,
      stopped_at timestamptz not null default pg_catalog.now(),
      primary key (target, run)
    );
  end if;
end
$do$;

comment on schema fastify_pg_tail is 'The doorbell of fastify-pg-tail: triggers that wake a sleeping reader of a log table.';
comment on table fastify_pg_tail.stopped_run is 'Runs that were stopped from an application, so that every node and every later visitor knows.';

-- The body is read from pg_proc by roles that may not call it: keep it one number.
create or replace function fastify_pg_tail.version() returns integer
language sql immutable parallel safe as 'select 1';
comment on function fastify_pg_tail.version() is 'The version of this schema.';

-- Every writer pays for this one, so it goes without what the others have: a search_path of its own (setting that takes more than
-- trying the lock; hence each name and operator with its schema, for it runs as whoever writes), and a snapshot ("stable": it reads no table).
-- Of 19,500 instructions that it takes, with 10,500 for any trigger in plpgsql, the search_path would make 25,100, the snapshot 20,100.
create or replace function fastify_pg_tail.look_and_ring() returns trigger
language plpgsql stable as $$
begin
  -- One expression, for an interrupt between two statements would leak the lock. CASE, for its order.
  if (case when pg_catalog.pg_try_advisory_lock(1885828193, tg_relid::integer)
      then pg_catalog.pg_advisory_unlock(1885828193, tg_relid::integer) else false end) then
    return null;
  end if;
  -- Once the queue is full, every commit that notifies fails. Not on our account: a reader that hears
  -- nothing still reads, later.
  if pg_catalog.pg_notification_queue_usage() operator(pg_catalog.<) 0.8 then
    perform pg_catalog.pg_notify(tg_argv[0], '');
  end if;
  return null;
end
$$;
comment on function fastify_pg_tail.look_and_ring() is 'Trigger function: rings the channel in its argument, with no payload, if somebody sleeps by the lock of the table it is on.';

create or replace function fastify_pg_tail.ring() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- As in look_and_ring().
  if pg_notification_queue_usage() < 0.8 then
    perform pg_notify(tg_argv[0], '');
  end if;
  return null;
end
$$;
comment on function fastify_pg_tail.ring() is 'Trigger function: rings the channel in its argument, with no payload. Whether somebody sleeps is for the WHEN condition to say.';

create or replace function fastify_pg_tail.ring_row() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  body text;
begin
  -- As in look_and_ring().
  if pg_notification_queue_usage() >= 0.8 then
    return null;
  end if;
  -- A row that cannot be told must not fail the writer (jsonb refuses a string of 256 MB).
  begin
    select pg_catalog.jsonb_object_agg(f.key, case pg_catalog.jsonb_typeof(f.value)
        when 'string' then pg_catalog.to_jsonb(pg_catalog.left(f.value #>> '{}', 1000))
        else f.value end)::text
      into body from pg_catalog.jsonb_each(pg_catalog.to_jsonb(new)) f;
    if octet_length(body) >= 8000 then
      -- Objects and arrays go first, then the texts, step by step.
      select s.body into body
        from (values (1000), (200), (40), (0)) as step(keep)
        cross join lateral (
          select pg_catalog.jsonb_object_agg(f.key, case pg_catalog.jsonb_typeof(f.value)
              when 'string' then pg_catalog.to_jsonb(pg_catalog.left(f.value #>> '{}', step.keep))
              else f.value end)::text as body
            from pg_catalog.jsonb_each(body::jsonb) f
            where pg_catalog.jsonb_typeof(f.value) not in ('object', 'array')
        ) s
        where octet_length(s.body) < 8000
        order by step.keep desc limit 1;
    end if;
  exception when others then
    body := null;
  end;
  perform pg_catalog.pg_notify(tg_argv[0], coalesce(body, '{}'));
  return null;
end
$$;
comment on function fastify_pg_tail.ring_row() is 'Trigger function: sends the new row as JSON of less than 8,000 bytes, texts cut to 1,000 characters.';

-- The table and all its partitions, root first: writers take their locks in that order.
create or replace function fastify_pg_tail.relations(target regclass) returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp as $$
  select relid from (
    select target as relid, 0 as level
    union
    select p.relid, p.level from pg_partition_tree(target) p join pg_class c on c.oid = p.relid
      where c.relkind in ('r', 'p')
  ) tree
  order by level, relid::oid
$$;
comment on function fastify_pg_tail.relations(regclass) is 'A table and its partitions at every level, foreign ones left out.';

create or replace function fastify_pg_tail.check_arguments(target regclass, channel text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from pg_class c where c.oid = target and c.relkind in ('r', 'p')) then
    raise exception 'fastify_pg_tail: % is not a table', coalesce(target::text, 'null')
      using errcode = 'wrong_object_type',
        hint = 'The doorbell needs statement triggers: name an ordinary or a partitioned table, not a view, a foreign table or a sequence.';
  end if;
  if octet_length(channel) between 1 and 63 then return; end if;
  raise exception 'fastify_pg_tail: % is not a channel', coalesce(quote_literal(channel), 'null')
    using errcode = 'invalid_parameter_value',
      hint = 'A channel has 1 to 63 bytes, such as log_updates.';
end
$$;
comment on function fastify_pg_tail.check_arguments(regclass, text) is 'Fails with a hint unless target is a table and channel can be notified.';

-- bits is pg_trigger.tgtype: 1 row, 4 insert, 16 update, 32 truncate. On another relation than the target a WHEN condition
-- looks whether somebody sleeps: there a dump carries the name of the target, and a rename does not matter. PostgreSQL
-- reads such a condition anew for each statement, which takes it longer than the insert of a row.
create or replace function fastify_pg_tail.put_trigger(
  rel regclass, trigger_name text, bits integer, target regclass, channel text
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  per_row boolean := bits & 1 = 1;
  conditional boolean := not per_row and rel <> target;
  ringer text := format('fastify_pg_tail.%I', case when per_row then 'ring_row' when conditional then 'ring' else 'look_and_ring' end);
  key text := format('1885828193, %L::regclass::oid::integer', target);
begin
  -- What is right is left alone: even "create or replace trigger" waits for every writer.
  if exists (
    select from pg_trigger t
    where t.tgrelid = rel and t.tgname = trigger_name and t.tgtype = bits and t.tgenabled in ('O', 'A')
      and t.tgfoid = format('%s()', ringer)::regprocedure
      and t.tgargs = convert_to(channel, getdatabaseencoding()) || decode('00', 'hex')
      and case when not conditional then t.tgqual is null else
        pg_get_triggerdef(t.oid) like '%pg_try_advisory_lock(1885828193,%pg_advisory_unlock(1885828193,%'
        and exists (
          select from pg_depend d
          where d.classid = 'pg_trigger'::regclass and d.objid = t.oid
            and d.refclassid = 'pg_class'::regclass and d.refobjid = target and d.deptype = 'n'
        ) end
  ) and not exists (
    select from pg_partition_tree(rel) p join pg_trigger c on c.tgrelid = p.relid
    where c.tgname = trigger_name and c.tgparentid <> 0 and c.tgenabled not in ('O', 'A')
  ) then
    return;
  end if;
  execute format('create or replace trigger %I after %s on %s for each %s execute function %s(%L)',
    trigger_name,
    case bits when 20 then 'insert or update' when 32 then 'truncate' else 'insert' end,
    rel,
    -- As in look_and_ring().
    case when per_row then 'row' when conditional then format('statement when (case when pg_catalog.pg_try_advisory_lock(%1$s) '
      'then not pg_catalog.pg_advisory_unlock(%1$s) else true end)', key) else 'statement' end,
    ringer,
    channel);
end
$$;
comment on function fastify_pg_tail.put_trigger(regclass, text, integer, regclass, text) is 'Creates or replaces one trigger, unless it is right already.';

-- Partitions have clones of a row trigger: those go with their parent.
create or replace function fastify_pg_tail.drop_trigger(rel regclass, trigger_name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from pg_trigger where tgrelid = rel and tgname = trigger_name and tgparentid = 0) then
    execute format('drop trigger %I on %s', trigger_name, rel);
  end if;
end
$$;
comment on function fastify_pg_tail.drop_trigger(regclass, text) is 'Drops one trigger, if it is there.';

create or replace function fastify_pg_tail.install(
  target regclass, channel text default 'log_updates', payload text default 'none'
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  rel regclass;
begin
  perform fastify_pg_tail.check_arguments(target, channel);
  if payload is null or payload not in ('none', 'row') then
    raise exception 'fastify_pg_tail: % is not a payload', coalesce(quote_literal(payload), 'null')
      using errcode = 'invalid_parameter_value',
        hint = 'Use none (the bell rings only while a reader sleeps) or row (every row is sent as JSON).';
  end if;
  for rel in select fastify_pg_tail.relations(target) loop
    if payload = 'row' then
      perform fastify_pg_tail.drop_trigger(rel, 'fastify_pg_tail_insert');
    else
      perform fastify_pg_tail.put_trigger(rel, 'fastify_pg_tail_insert', 4, target, channel);
    end if;
    -- PostgreSQL clones the row trigger of the root; one of the partition's own would be in its way.
    if payload = 'none' or rel <> target then
      perform fastify_pg_tail.drop_trigger(rel, 'fastify_pg_tail_row');
    end if;
    perform fastify_pg_tail.put_trigger(rel, 'fastify_pg_tail_truncate', 32, target, channel);
  end loop;
  if payload = 'row' then
    perform fastify_pg_tail.put_trigger(target, 'fastify_pg_tail_row', 5, target, channel);
  end if;
end
$$;
comment on function fastify_pg_tail.install(regclass, text, text) is 'Puts the doorbell on a log table and its partitions, or replaces it.';

create or replace function fastify_pg_tail.install_runs(
  runs regclass, target regclass, channel text default 'log_updates'
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  rel regclass;
begin
  perform fastify_pg_tail.check_arguments(runs, channel);
  perform fastify_pg_tail.check_arguments(target, channel);
  for rel in select fastify_pg_tail.relations(runs) loop
    perform fastify_pg_tail.put_trigger(rel, 'fastify_pg_tail_runs', 20, target, channel);
  end loop;
end
$$;
comment on function fastify_pg_tail.install_runs(regclass, regclass, text) is 'Puts a bell on the table of runs, so that the end of a run is noticed at once by readers of the log table.';

create or replace function fastify_pg_tail.uninstall(target regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  t record;
begin
  for t in
    select tgrelid::regclass as rel, tgname from pg_trigger
    where tgparentid = 0 and tgfoid in ('fastify_pg_tail.look_and_ring()'::regprocedure, 'fastify_pg_tail.ring()'::regprocedure, 'fastify_pg_tail.ring_row()'::regprocedure)
      and (tgrelid in (select fastify_pg_tail.relations(target)) or oid in (
        -- The bell on the table of runs, and those of partitions that were detached since.
        select objid from pg_depend
        where classid = 'pg_trigger'::regclass and refclassid = 'pg_class'::regclass and refobjid = target
      ))
  loop
    execute format('drop trigger %I on %s', t.tgname, t.rel);
  end loop;
end
$$;
comment on function fastify_pg_tail.uninstall(regclass) is 'Removes the doorbell from a log table and its partitions, and the bell on its table of runs.';

create or replace function fastify_pg_tail.stop(
  target regclass, run text, message text default null, channel text default 'log_updates'
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- The first stop counts.
  insert into fastify_pg_tail.stopped_run (target, run, message) values (stop.target, stop.run, stop.message)
    on conflict do nothing;
  if pg_notification_queue_usage() < 0.8 then
    perform pg_notify(channel, '');
  end if;
end
$$;
comment on function fastify_pg_tail.stop(regclass, text, text, text) is 'Ends a run for every reader, and rings. A second stop of the same run changes nothing.';
