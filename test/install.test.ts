import { readFile } from 'node:fs/promises'
import type { Sql } from 'postgres'
import t, { type Test } from 'tap'
import { install, verify, type InstallTarget } from '../lib/postgres/install.ts'
import { ADVISORY_CLASS } from '../lib/postgres/locks.ts'
import { connect, createDatabase, startPostgres } from './support/postgres.ts'

const CHANNEL = 'log_updates'
const server = await startPostgres(t)
let databases = 0

async function fresh (t: Test): Promise<{ url: string, sql: Sql }> {
  const url = await createDatabase(t, server, `install_${++databases}`)
  return { url, sql: connect(t, url) }
}

/** One session for a transaction or a lock. */
async function session (t: Test, url: string) {
  const reserved = await connect(t, url).reserve()
  t.teardown(() => reserved.release())
  return reserved
}

async function createTables (sql: Sql): Promise<void> {
  await sql`create table scraper_run (id bigint primary key, status text)`
  await sql`create table scraper_log (id bigint generated always as identity, run_id bigint, message text)`
}

async function createPartitions (sql: Sql): Promise<void> {
  await sql`create table log (id bigserial, day integer, message text) partition by range (day)`
  await sql`create table log_1 partition of log for values from (0) to (10)`
  await sql`create table log_2 partition of log for values from (10) to (20) partition by range (day)`
  await sql`create table log_2_a partition of log_2 for values from (10) to (15)`
}

const LOG: InstallTarget = { table: 'public.scraper_log', channel: CHANNEL, payload: 'none' }
const BOTH: InstallTarget = { ...LOG, runs: 'public.scraper_run' }
const PARTITIONED: InstallTarget = { ...LOG, table: 'public.log' }

/** Collects what a channel says. A marker on the same channel proves what did not come before it. */
async function listen (sql: Sql, channel = CHANNEL) {
  let heard: string[] = []
  let marked: (() => void) | undefined
  await sql.listen(channel, payload => {
    if (payload === 'marker') marked?.()
    else heard.push(payload)
  })
  return async function heardSince (): Promise<string[]> {
    const seen = new Promise<void>(resolve => { marked = resolve })
    await sql.notify(channel, 'marker')
    await seen
    const since = heard
    heard = []
    return since
  }
}

/** Sleeps by the bell, as a reader does. */
async function sleeper (t: Test, url: string, table: string) {
  const reader = await session(t, url)
  const [row] = await reader`select ${table}::text::regclass::oid::bigint::bit(32)::integer as key`
  const key = row!.key as number
  return {
    sleep: async () => { await reader`select pg_advisory_lock_shared(${ADVISORY_CLASS}, ${key})` },
    wake: async () => { await reader`select pg_advisory_unlock_shared(${ADVISORY_CLASS}, ${key})` }
  }
}

async function advisoryLocks (sql: Sql): Promise<number> {
  const [row] = await sql`
    select count(*)::integer as count from pg_locks where locktype = 'advisory'
      and database = (select oid from pg_database where datname = current_database())`
  return row!.count
}

/** Changes whenever somebody touches a trigger, even to make it the same again. */
async function fingerprint (sql: Sql): Promise<unknown> {
  return [...await sql`select oid::text, xmin::text from pg_trigger where tgname like 'fastify%' order by oid`]
}

t.test('installs on a fresh database, and leaves alone what is right', async t => {
  const { sql, url } = await fresh(t)
  await createTables(sql)
  const absent = await verify(sql, BOTH)
  t.match(absent, { version: null, bundled: 1, bell: 'none', runsBell: false })
  t.same(absent.missing, [
    'schema fastify_pg_tail (version 1) is missing',
    'trigger fastify_pg_tail_insert on public.scraper_log is missing',
    'trigger fastify_pg_tail_truncate on public.scraper_log is missing',
    'trigger fastify_pg_tail_runs on public.scraper_run is missing'
  ])
  t.same(absent.remedy, [
    'psql -1 "$DATABASE_URL" -f node_modules/fastify-pg-tail/sql/install.sql;',
    "select fastify_pg_tail.install('public.scraper_log', 'log_updates', 'none');",
    "select fastify_pg_tail.install_runs('public.scraper_run', 'public.scraper_log', 'log_updates');"
  ])

  const complete = { version: 1, bundled: 1, bell: 'own', runsBell: true, missing: [], remedy: [] }
  t.same(await install(sql, BOTH), complete)
  const before = await fingerprint(sql)
  // A writer is at work: any DDL would wait for it.
  const writer = await session(t, url)
  await writer`begin`
  await writer`insert into scraper_log (message) values ('x')`
  await writer`insert into scraper_run values (1, 'running')`
  t.same(await install(sql, BOTH, { lockTimeout: 50 }), complete)
  const script = await readFile(new URL(import.meta.resolve('#sql/install.sql')), 'utf8')
  await sql.begin(async tx => {
    await tx`set local lock_timeout = '50ms'`
    await tx.unsafe(script).simple()
    await tx`select fastify_pg_tail.install('scraper_log')`
    await tx`select fastify_pg_tail.install_runs('scraper_run', 'scraper_log')`
  })
  await writer`commit`
  t.same(await fingerprint(sql), before)
  t.same(await verify(sql, BOTH), complete)
})

t.test('eight nodes install at once', async t => {
  const { sql, url } = await fresh(t)
  await createTables(sql)
  const nodes = Array.from({ length: 8 }, () => connect(t, url))
  const results = await Promise.all(nodes.map(node => install(node, BOTH, { lockTimeout: 20_000 })))
  for (const result of results) t.match(result, { bell: 'own', runsBell: true, missing: [] })
  t.equal(await advisoryLocks(sql), 0)
})

t.test('eight nodes install at once, whatever the defaults of transactions are', async t => {
  const { url, sql } = await fresh(t)
  await createTables(sql)
  for (const setting of ["default_transaction_isolation = 'serializable'", 'default_transaction_read_only = on']) {
    await sql.unsafe(`alter database ${new URL(url).pathname.slice(1)} set ${setting}`)
  }
  const nodes = Array.from({ length: 8 }, () => connect(t, url))
  const found = await Promise.all(nodes.map(node => install(node, BOTH, { lockTimeout: 20_000 })))
  t.ok(found.every(({ bell, missing }) => bell === 'own' && missing.length === 0))
})

t.test('a session that is killed in the middle takes nothing along', async t => {
  const { url, sql } = await fresh(t)
  await createTables(sql)
  const other = await session(t, url)
  await other`select pg_advisory_lock(${ADVISORY_CLASS}, 0)`
  const thrown: Error[] = []
  // Thrown by the driver, outside of all promises.
  const note = (error: Error) => { thrown.push(error) }
  process.on('uncaughtException', note)
  const installing = t.rejects(install(connect(t, url), LOG, { lockTimeout: 600_000 }), { code: 'FST_PG_TAIL_INSTALL' })
  let killed
  do killed = await sql`select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'advisory' and datname = current_database()`
  while (killed.length === 0)
  await installing
  // What the driver would have put off.
  await sql`select 1`
  t.same(thrown, [])
  process.off('uncaughtException', note)
  await other`select pg_advisory_unlock(${ADVISORY_CLASS}, 0)`
  t.match(await install(sql, LOG), { bell: 'own' })
})

t.test('eight sessions apply the file at once', async t => {
  const { url } = await fresh(t)
  const script = await readFile(new URL(import.meta.resolve('#sql/install.sql')), 'utf8')
  await Promise.all(Array.from({ length: 8 }, () => connect(t, url).unsafe(script).simple()))
})

t.test('upgrades an older schema, never downgrades a newer one', async t => {
  const { sql } = await fresh(t)
  await createTables(sql)
  await install(sql, LOG)
  await sql`create or replace function fastify_pg_tail.version() returns integer language sql as 'select 0'`
  t.same((await verify(sql, LOG)).missing, ['schema fastify_pg_tail has version 0, not 1'])
  t.match(await install(sql, LOG), { version: 1, missing: [] })
  await sql`create or replace function fastify_pg_tail.version() returns integer language sql as 'select 99'`
  await sql`drop trigger fastify_pg_tail_insert on scraper_log`
  t.match(await install(sql, LOG), { version: 99, bell: 'own', missing: [] })
})

t.test('rings only while somebody sleeps', async t => {
  const { sql, url } = await fresh(t)
  await createTables(sql)
  await install(sql, BOTH)
  const heard = await listen(sql)
  const { sleep, wake } = await sleeper(t, url, 'scraper_log')
  const writer = await session(t, url)

  await writer`insert into scraper_log (message) values ('a'), ('b')`
  await writer`insert into scraper_run values (1, 'running')`
  await writer`update scraper_run set status = 'finished'`
  await writer`truncate scraper_log`
  t.same(await heard(), [], 'nobody sleeps')
  t.equal(await advisoryLocks(sql), 0, 'nothing is left on the writer')

  await sleep()
  await writer`insert into scraper_log (message) select 'x' from generate_series(1, 100)`
  t.same(await heard(), [''], 'a statement rings once')
  await writer`begin`
  await writer`insert into scraper_log (message) values ('a')`
  await writer`insert into scraper_log (message) values ('b')`
  await writer`rollback`
  t.same(await heard(), [], 'a rollback does not ring')
  await writer`truncate scraper_log`
  t.same(await heard(), [''], 'truncate')
  await writer`insert into scraper_run values (2, 'running')`
  await writer`update scraper_run set status = 'finished'`
  t.same(await heard(), ['', ''], 'the table of runs')
  await writer`update scraper_log set message = 'y'`
  await writer`delete from scraper_run`
  t.same(await heard(), [], 'nothing new')
  t.equal(await advisoryLocks(sql), 1, 'the sleeper, and nobody else')

  await wake()
  await writer`insert into scraper_log (message) values ('c')`
  t.same(await heard(), [])
  t.equal(await advisoryLocks(sql), 0)
})

t.test('many writers at once leave no lock behind', async t => {
  const { sql, url } = await fresh(t)
  await createTables(sql)
  await install(sql, LOG)
  await Promise.all(Array.from({ length: 8 }, async () => {
    const writer = connect(t, url)
    await writer`set statement_timeout = '2ms'`
    for (let i = 0; i < 100; i++) {
      await writer`insert into scraper_log (message) values ('x')`.catch(() => {})
    }
  }))
  t.equal(await advisoryLocks(sql), 0)
})

t.test('partitions', async t => {
  const { sql, url } = await fresh(t)
  await createPartitions(sql)
  t.match(await install(sql, PARTITIONED), { bell: 'own', missing: [] })
  const heard = await listen(sql)
  await sql`insert into log_1 (day) values (1)`
  t.same(await heard(), [], 'nobody sleeps')
  const { sleep } = await sleeper(t, url, 'log')
  await sleep()
  for (const [table, day] of [['log', 1], ['log', 11], ['log_1', 1], ['log_2', 11], ['log_2_a', 11]] as const) {
    await sql`insert into ${sql(table)} (day) values (${day})`
    t.same(await heard(), [''], `a row into ${table}`)
  }
  await sql`truncate log`
  t.same(await heard(), [''])
  await sql`truncate log_2_a`
  t.same(await heard(), [''])

  await sql`create table log_3 partition of log for values from (20) to (30)`
  const behind = await verify(sql, PARTITIONED)
  t.match(behind, { bell: 'none' })
  t.same(behind.missing, [
    'trigger fastify_pg_tail_insert on partition public.log_3 is missing',
    'trigger fastify_pg_tail_truncate on partition public.log_3 is missing'
  ])
  // The others are busy, and need no change.
  const writer = await session(t, url)
  await writer`begin`
  await writer`insert into log_1 (day) values (1)`
  t.match(await install(sql, PARTITIONED, { lockTimeout: 200 }), { bell: 'own', missing: [] })
  await writer`rollback`
  await sql`insert into log_3 (day) values (20)`
  t.same(await heard(), [''])

  // A detached partition still rings for its old root: it goes with uninstall, so that both can be dropped.
  await sql`alter table log detach partition log_1`
  await sql`select fastify_pg_tail.uninstall('log')`
  t.same(await fingerprint(sql), [])
})

t.test('payload row: partitions get one message a row', async t => {
  const { sql } = await fresh(t)
  await createPartitions(sql)
  await install(sql, PARTITIONED)
  const row: InstallTarget = { ...PARTITIONED, payload: 'row' }
  t.match(await verify(sql, row), { bell: 'none' })
  t.match(await install(sql, row), { bell: 'own', missing: [] })
  const heard = await listen(sql)
  await sql`insert into log (day, message) values (1, 'a'), (11, 'b')`
  await sql`insert into log_2_a (day, message) values (12, 'c')`
  t.same((await heard()).map(text => JSON.parse(text)), [
    { id: 1, day: 1, message: 'a' }, { id: 2, day: 11, message: 'b' }, { id: 3, day: 12, message: 'c' }
  ])
  await sql`create table log_3 partition of log for values from (20) to (30)`
  t.same((await verify(sql, row)).missing, ['trigger fastify_pg_tail_truncate on partition public.log_3 is missing'])
  await install(sql, row)

  await sql`alter table log_3 disable trigger fastify_pg_tail_row`
  t.same((await verify(sql, row)).missing, ['trigger fastify_pg_tail_row on partition public.log_3 is disabled'])
  t.match(await install(sql, row), { bell: 'own', missing: [] })
  // And back: every trigger of the other payload is taken away.
  t.ok((await verify(sql, PARTITIONED)).missing.includes('trigger fastify_pg_tail_row on public.log is left over from another payload'))
  t.match(await install(sql, PARTITIONED), { bell: 'own', missing: [] })
  const [left] = await sql`select count(*)::integer as count from pg_trigger where tgname = 'fastify_pg_tail_row'`
  t.equal(left!.count, 0)

  // A row trigger on a partition alone is in the way of the one on the root.
  await sql`select fastify_pg_tail.install('log_1', payload => 'row')`
  t.match(await install(sql, row), { bell: 'own', missing: [] })
})

t.test('payload row: always less than 8,000 bytes of JSON', async t => {
  const { sql } = await fresh(t)
  await createTables(sql)
  const columns = Array.from({ length: 300 }, (_, i) => `c${i} text`).join(', ')
  await sql.unsafe(`create table wide (id bigint, extra jsonb, list text[], huge numeric, ${columns})`)
  const names = Array.from({ length: 200 }, (_, i) => `${'long'.repeat(14)}${i} bigint`).join(', ')
  await sql.unsafe(`create table names (${names})`)
  for (const table of ['scraper_log', 'wide', 'names']) await install(sql, { ...LOG, table, payload: 'row' })
  const heard = await listen(sql)
  const one = async () => {
    const [text, ...rest] = await heard()
    t.same(rest, [])
    t.ok(Buffer.byteLength(text!) < 8000)
    return JSON.parse(text!)
  }
  const insert = async (message: string) => {
    await sql`insert into scraper_log (run_id, message) values (9007199254740993, ${message})`
    return await one()
  }
  t.equal((await insert('short')).message, 'short')
  t.equal((await insert('x'.repeat(1_000_000))).message, 'x'.repeat(1000))
  t.equal((await insert('😀'.repeat(100_000))).message, '😀'.repeat(1000), 'characters, not bytes')
  t.equal((await insert('\u0001'.repeat(5000))).message, '\u0001'.repeat(1000))
  t.equal((await insert('"\\\n\r\u2028</script>')).message, '"\\\n\r\u2028</script>')
  await sql`insert into scraper_log (run_id, message) values (1, null)`
  t.equal((await one()).message, null)

  await sql`insert into wide ${sql({ id: 1, extra: sql.json({ a: 'x'.repeat(9000) }), list: ['y'.repeat(9000)], c0: 'z'.repeat(2000) })}`
  const first = await one()
  t.equal(first.c0, 'z'.repeat(1000), 'objects and arrays go before texts')
  t.notOk('extra' in first || 'list' in first)
  const filled = Array.from({ length: 300 }, (_, i) => [`c${i}`, '\u0001'.repeat(2000)])
  await sql`insert into wide ${sql({ id: 2, ...Object.fromEntries(filled.slice(0, 3)) })}`
  t.equal((await one()).c0.length, 200)
  await sql`insert into wide ${sql({ id: 3, ...Object.fromEntries(filled.slice(0, 10)) })}`
  t.equal((await one()).c0.length, 40)
  await sql`insert into wide ${sql({ id: 4, ...Object.fromEntries(filled) })}`
  t.match(await one(), { id: 4, c0: '' })
  await sql`insert into wide (id, huge) values (5, ${'9'.repeat(9000)})`
  t.same(await one(), {}, 'nothing is left to cut')
  await sql`insert into names default values`
  t.same(await one(), {})
})

t.test('another channel replaces the first', async t => {
  const { sql, url } = await fresh(t)
  await createTables(sql)
  await install(sql, BOTH)
  const odd: InstallTarget = { ...BOTH, channel: 'It\'s \\ "odd" – ü' }
  const found = await verify(sql, odd)
  t.match(found, { bell: 'none', runsBell: false })
  t.same(found.missing[0], `trigger fastify_pg_tail_insert on public.scraper_log rings channel "log_updates", not "${odd.channel}"`)
  t.match(await install(sql, odd), { bell: 'own', runsBell: true, missing: [] })
  const heard = await listen(sql, odd.channel)
  const heardOld = await listen(sql)
  const { sleep } = await sleeper(t, url, 'scraper_log')
  await sleep()
  await sql`insert into scraper_log (message) values ('x')`
  t.same(await heard(), [''])
  t.same(await heardOld(), [])
})

t.test('verify finds what was changed by hand', async t => {
  const { sql } = await fresh(t)
  await createTables(sql)
  await install(sql, BOTH)
  await sql`alter table scraper_log disable trigger fastify_pg_tail_insert`
  await sql`alter table scraper_run disable trigger user`
  const found = await verify(sql, BOTH)
  t.match(found, { bell: 'none', runsBell: false })
  t.same(found.missing, [
    'trigger fastify_pg_tail_insert on public.scraper_log is disabled',
    'trigger fastify_pg_tail_runs on public.scraper_run is disabled'
  ])
  t.match(await install(sql, BOTH), { bell: 'own', runsBell: true, missing: [] })

  await sql`alter table scraper_log enable always trigger fastify_pg_tail_insert`
  t.match(await verify(sql, BOTH), { bell: 'own' })

  // The WHEN condition is gone, or looks at another table: it would ring always, or never.
  await sql.unsafe(`create or replace trigger fastify_pg_tail_insert after insert on scraper_log
    for each statement execute function fastify_pg_tail.ring('log_updates')`)
  const strange = ['trigger fastify_pg_tail_insert on public.scraper_log is not as this version makes it']
  t.same((await verify(sql, BOTH)).missing, strange)
  await sql`select fastify_pg_tail.put_trigger('scraper_log', 'fastify_pg_tail_insert', 4, 'scraper_run', ${CHANNEL})`
  t.same((await verify(sql, BOTH)).missing, strange)
  await sql`create function mine() returns trigger language plpgsql as 'begin return null; end'`
  await sql.unsafe(`create or replace trigger fastify_pg_tail_insert after insert on scraper_log
    for each statement execute function mine()`)
  t.same((await verify(sql, BOTH)).missing, strange)
  t.match(await install(sql, BOTH), { bell: 'own', missing: [] })

  // A rename carries the triggers along.
  await sql`alter table scraper_log rename to event_log`
  t.match(await install(sql, { ...BOTH, table: 'public.event_log' }), { bell: 'own', runsBell: true, missing: [] })
})

t.test('somebody else\'s trigger is as good a bell', async t => {
  const { sql } = await fresh(t)
  await createTables(sql)
  await createPartitions(sql)
  await sql`create function by_name() returns trigger language plpgsql as
    $$begin perform pg_notify('log_updates', new.id::text); return null; end$$`
  await sql`create function by_argument() returns trigger language plpgsql as
    $$begin perform pg_catalog.pg_notify(tg_argv[0], ''); return null; end$$`
  await sql`create function by_statement() returns trigger language plpgsql as
    $$begin notify log_updates; return null; end$$`
  await sql`create function other() returns trigger language plpgsql as
    $$begin perform pg_notify('somewhere', 'log'); return null; end$$`

  await sql`create trigger other after insert on scraper_log for each row execute function other()`
  t.match(await verify(sql, LOG), { bell: 'none' })
  await sql`create trigger theirs after insert on scraper_log for each row execute function by_name()`
  const found = await verify(sql, LOG)
  t.match(found, { bell: 'foreign', missing: ['schema fastify_pg_tail (version 1) is missing'] })
  t.match(await install(sql, LOG), { version: 1, bell: 'foreign', missing: [] })
  t.same(await fingerprint(sql), [], 'no second bell')
  t.match(await verify(sql, { ...LOG, channel: 'another' }), { bell: 'none' })
  t.match(await verify(sql, { ...LOG, payload: 'row' }), {
    bell: 'foreign', missing: ['trigger fastify_pg_tail_row on public.scraper_log is missing', 'trigger fastify_pg_tail_truncate on public.scraper_log is missing']
  })
  await sql`alter table scraper_log disable trigger theirs`
  await sql`create trigger by_statement after insert on scraper_log for each statement execute function by_statement()`
  t.match(await verify(sql, LOG), { bell: 'foreign' })
  t.match(await verify(sql, { ...LOG, channel: 'log_up' }), { bell: 'none' }, 'the whole name')
  await sql`drop trigger by_statement on scraper_log`
  t.match(await verify(sql, LOG), { bell: 'none' })

  await sql`create trigger theirs after insert on log for each statement execute function by_argument('log_updates')`
  t.match(await verify(sql, PARTITIONED), { bell: 'none' }, 'it says nothing of rows put straight into a partition')
  await sql`drop trigger theirs on log`
  await sql`create trigger theirs after insert on log for each row execute function by_argument('log_updates')`
  t.match(await verify(sql, PARTITIONED), { bell: 'foreign', missing: [] })
  t.match(await verify(sql, { ...PARTITIONED, channel: 'log' }), { bell: 'none' }, 'the whole argument')
})

t.test('uninstall', async t => {
  const { sql } = await fresh(t)
  await createTables(sql)
  const script = await readFile(new URL(import.meta.resolve('#sql/uninstall.sql')), 'utf8')
  await sql.unsafe(script).simple()
  await install(sql, BOTH)
  await sql`create trigger mine after insert on scraper_log for each statement execute function fastify_pg_tail.ring('mine')`
  await sql`create function unrelated() returns trigger language plpgsql as 'begin return null; end'`
  await sql`create trigger unrelated after insert on scraper_log for each statement execute function unrelated()`
  await sql`select fastify_pg_tail.uninstall('scraper_log')`
  t.same(await fingerprint(sql), [])
  await sql`select fastify_pg_tail.uninstall('scraper_log')`
  await install(sql, BOTH)
  await sql.unsafe(script).simple()
  await sql.unsafe(script).simple()
  t.match(await verify(sql, BOTH), { version: null, bell: 'none' })
  t.same([...await sql`select tgname from pg_trigger where not tgisinternal`], [{ tgname: 'unrelated' }])
})

t.test('names with quotes, dots, capitals, unicode', async t => {
  const { sql, url } = await fresh(t)
  await sql.unsafe(String.raw`create schema "We.ird ""S' \ ü"`)
  const table = String.raw`"We.ird ""S' \ ü"."Log.😀 ""T' %s \"`
  const runs = String.raw`"We.ird ""S' \ ü"."Runs' %I"`
  await sql.unsafe(`create table ${table} (id bigserial, day integer) partition by range (day)`)
  await sql.unsafe(`create table "P.1's" partition of ${table} for values from (0) to (10)`)
  await sql.unsafe(`create table ${runs} (id bigint)`)
  const target: InstallTarget = { table, runs, channel: CHANNEL, payload: 'none' }
  t.match(await install(sql, target), { bell: 'own', runsBell: true, missing: [] })
  t.match(await install(sql, { ...target, payload: 'row' }), { bell: 'own', missing: [] })
  t.match(await install(sql, target), { bell: 'own', missing: [] })
  const heard = await listen(sql)
  const { sleep } = await sleeper(t, url, table)
  await sleep()
  await sql.unsafe(`insert into ${table} (day) values (1)`)
  await sql.unsafe('insert into "P.1\'s" (day) values (1)')
  await sql.unsafe(`insert into ${runs} values (1)`)
  t.same(await heard(), ['', '', ''])
  await sql.unsafe(await readFile(new URL(import.meta.resolve('#sql/uninstall.sql')), 'utf8')).simple()
  t.same(await fingerprint(sql), [])
})

t.test('nothing of the search_path of whoever writes gets in the way', async t => {
  const { sql, url } = await fresh(t)
  await createTables(sql)
  await install(sql, BOTH)
  const heard = await listen(sql)
  const { sleep } = await sleeper(t, url, 'scraper_log')
  await sleep()
  const writer = await session(t, url)
  const body = 'language plpgsql as $$ begin raise exception \'not ours\'; end $$'
  await writer.unsafe(`create schema trap;
    create domain trap.int4 as text; create domain trap.oid as text;
    create function trap.pg_try_advisory_lock(integer, integer) returns boolean ${body};
    create function trap.pg_advisory_unlock(integer, integer) returns boolean ${body};
    create function trap.pg_notification_queue_usage() returns float8 ${body};
    create function trap.pg_notify(text, text) returns void ${body};
    create function trap.less(float8, float8) returns boolean ${body};
    create function trap.less(float8, numeric) returns boolean ${body};
    create operator trap.< (leftarg = float8, rightarg = float8, function = trap.less);
    create operator trap.< (leftarg = float8, rightarg = numeric, function = trap.less);
    set search_path = trap, pg_catalog, public`)
  await t.rejects(writer`select pg_notify('x', '')`, { message: 'not ours' })
  await t.rejects(writer`select pg_notification_queue_usage() < 0.8`, { message: 'not ours' })
  await t.rejects(writer`select 1::float8 < 0.8`, { message: 'not ours' })
  await writer`insert into scraper_log (run_id, message) values (1, 'one')`
  await writer`insert into scraper_run (id) values (1)`
  t.same(await heard(), ['', ''])
})

t.test('a dump carries names, not oids', async t => {
  const { sql } = await fresh(t)
  await createPartitions(sql)
  await sql`create table scraper_run (id bigint)`
  await install(sql, { ...PARTITIONED, runs: 'scraper_run' })
  await sql.begin(async tx => {
    await tx`set local search_path = ''`
    const rows = await tx`select pg_get_triggerdef(oid) as def, tgrelid = 'public.log'::regclass as own from pg_trigger where tgname like 'fastify%'`
    t.equal(rows.length, 9)
    t.equal(rows.filter(({ own }) => own).length, 2)
    for (const { def, own } of rows) {
      if (own) t.match(def, / FOR EACH STATEMENT EXECUTE FUNCTION fastify_pg_tail\.look_and_ring\('log_updates'\)$/)
      else t.match(def, /pg_try_advisory_lock\(1885828193, \(*'public\.log'::regclass/)
    }
  })
})

t.test('roles', async t => {
  const { sql, url } = await fresh(t)
  await createTables(sql)
  await install(sql, BOTH)
  const role = `reader_${databases}`
  await sql.unsafe(`create role ${role}`)
  await sql.unsafe(`grant select on scraper_log to ${role}`)
  const as = async (role: string) => {
    const sql = connect(t, url, { max: 1 })
    await sql.unsafe(`set role ${role}`)
    return sql
  }
  const reader = await as(role)
  t.match(await verify(reader, BOTH), { version: 1, bell: 'own', runsBell: true, missing: [] })
  t.match(await install(reader, BOTH), { missing: [] }, 'nothing to do')
  await t.rejects(install(reader, { ...BOTH, channel: 'another' }), {
    code: 'FST_PG_TAIL_INSTALL', message: /permission denied.*select fastify_pg_tail\.install\('public\.scraper_log', 'another', 'none'\)/s
  })
  await t.rejects(reader`select fastify_pg_tail.stop('scraper_log', '1')`, { code: '42501' })

  // A writer needs its INSERT and nothing else, asleep or awake.
  const heard = await listen(sql)
  const { sleep } = await sleeper(t, url, 'scraper_log')
  await sleep()
  await sql.unsafe(`create role writer_${databases}`)
  await sql.unsafe(`grant insert on scraper_log to writer_${databases}`)
  const writer = await as(`writer_${databases}`)
  await writer`insert into scraper_log (message) values ('x')`
  t.same(await heard(), [''])

  await sql.unsafe(`grant usage on schema fastify_pg_tail to ${role}`)
  await sql.unsafe(`grant select, insert on fastify_pg_tail.stopped_run to ${role}`)
  await reader`select fastify_pg_tail.stop('scraper_log', '1', 'Enough')`
  await reader`select fastify_pg_tail.stop('scraper_log', '1', 'Twice')`
  t.match([...await reader`select run, message from fastify_pg_tail.stopped_run`], [{ run: '1', message: 'Enough' }])
})

t.test('stop', async t => {
  const { sql } = await fresh(t)
  await createTables(sql)
  await install(sql, LOG)
  const heard = await listen(sql)
  await sql`select fastify_pg_tail.stop('scraper_log', '7')`
  t.same(await heard(), [''])
  const before = [...await sql`select * from fastify_pg_tail.stopped_run`]
  t.match(before, [{ run: '7', message: null }])
  await sql`select fastify_pg_tail.stop('scraper_log', '7', 'too late')`
  t.same([...await sql`select * from fastify_pg_tail.stopped_run`], before)
  await sql`select fastify_pg_tail.stop('scraper_log', '8', 'Bye', 'elsewhere')`
  t.equal((await sql`select from fastify_pg_tail.stopped_run`).length, 2)
})

t.test('gives up soon when a writer holds the table', async t => {
  const { sql, url } = await fresh(t)
  await createTables(sql)
  const writer = await session(t, url)
  await writer`begin`
  await writer`insert into scraper_run values (1, 'running')`
  const [{ pid }] = await writer`select pg_backend_pid() as pid` as unknown as [{ pid: number }]
  // The log table comes first and is free: its triggers stay. Both in one transaction could make the writer the victim of a deadlock.
  await t.rejects(install(sql, BOTH, { lockTimeout: 100 }), {
    code: 'FST_PG_TAIL_INSTALL',
    message: new RegExp(`public\\.scraper_run was not installed.* no lock within 100 ms \\(now held by pid ${pid}\\).*select fastify_pg_tail`)
  })
  t.match(await verify(sql, BOTH), { version: 1, bell: 'own', runsBell: false })
  const [shown] = await sql`show lock_timeout`
  t.equal(shown!.lock_timeout, '0')
  await writer`commit`
  t.match(await install(sql, BOTH), { bell: 'own', runsBell: true, missing: [] })
})

t.test('says what is wrong with the arguments', async t => {
  const { sql } = await fresh(t)
  await createTables(sql)
  await install(sql, LOG)
  await sql`create view seen as select * from scraper_log`
  await sql`create sequence numbers`
  for (const table of ['seen', 'numbers']) {
    await t.rejects(sql`select fastify_pg_tail.install(${table})`, { code: '42809', message: /is not a table/, hint: /not a view/ })
    await t.rejects(sql`select fastify_pg_tail.install_runs(${table}, 'scraper_log')`, { code: '42809' })
  }
  await t.rejects(sql`select fastify_pg_tail.install('scraper_log', 'x', 'json')`, { code: '22023', hint: /none.*row/ })
  await t.rejects(sql`select fastify_pg_tail.install('scraper_log', 'x', null)`, { code: '22023' })
  for (const channel of ['', null, 'x'.repeat(64), 'ü'.repeat(32)]) {
    await t.rejects(sql`select fastify_pg_tail.install('scraper_log', ${channel})`, { code: '22023', hint: /1 to 63 bytes/ })
  }
  await t.rejects(sql`select fastify_pg_tail.install(null)`, { code: '42809' })
  await t.rejects(install(sql, { ...LOG, table: 'public.absent' }), { code: '42P01' })
  await sql`select fastify_pg_tail.install('scraper_log', ${'x'.repeat(63)})`
})
