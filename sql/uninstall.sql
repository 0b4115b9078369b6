-- fastify-pg-tail: takes away everything that install.sql and install() have made, the list of
-- stopped runs with it. Harmless when nothing is there.

do $do$
declare
  t record;
begin
  perform pg_catalog.pg_advisory_xact_lock(1885828193, 0);
  if pg_catalog.to_regnamespace('fastify_pg_tail') is null then return; end if;
  for t in
    -- Ours is what calls a function of our schema. Clones on partitions go with their parent.
    select n.nspname, c.relname, g.tgname
    from pg_catalog.pg_trigger g
    join pg_catalog.pg_proc p on p.oid = g.tgfoid
    join pg_catalog.pg_class c on c.oid = g.tgrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where g.tgparentid operator(pg_catalog.=) 0::pg_catalog.oid and p.pronamespace operator(pg_catalog.=) pg_catalog.to_regnamespace('fastify_pg_tail')::pg_catalog.oid
  loop
    execute pg_catalog.format('drop trigger %I on %I.%I', t.tgname, t.nspname, t.relname);
  end loop;
  set local client_min_messages = warning;
  drop schema fastify_pg_tail cascade;
end
$do$;
