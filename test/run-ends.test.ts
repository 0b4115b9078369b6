// How streams learn that a run is over: with tables of runs as people have them, and when something is in the way.

import t, { type Test } from 'tap'
import { install } from '../lib/postgres/install.ts'
import { RunEnds } from '../lib/postgres/run-ends.ts'
import { inspectTable } from '../lib/postgres/table.ts'
import type { FastifyPgTailOptions } from '../plugin.ts'
import { startApp, statusCodeOf } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { connect, startPostgres } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'
import type { SseClient } from './support/sse-client.ts'

/** Less than the 30 s between reads that nothing asked for: those shall not hide that one is missing. */
const timeout = 25_000
/** Milliseconds. Longer than any test. */
const NEVER = 600_000
const QUICK = { pollInterval: 50, listenerHeartbeat: 50, reconnect: { initialDelay: 50, maxDelay: 50 } }
const server = await startPostgres(t)
const sql = connect(t, server.url)
/** A role that owns nothing: rights and policies count for it. */
const plain = new URL(server.url)
plain.username = plain.password = 'plain'
await sql.unsafe(`create role plain login password 'plain'; create sequence counts;
  create type shade as enum ('red', 'blue'); create domain code as text check (value like 'r%');
  create domain short as text check (value::smallint > 0)`)

/** Types of the log's run column and of the id of the runs; whether our schema is there, and the plain role may use it. */
interface Setup extends Partial<FastifyPgTailOptions> { run?: string, id?: string, schema?: 'open' | 'closed' | 'none', partitions?: string }

let made = 0
/** A log and a table of runs of their own, and an app that follows them. */
async function setup (t: Test, { run = 'bigint', id = run, schema = 'open', partitions = '', ...options }: Setup = {}) {
  const table = `log_${++made}`
  const runs = `run_${made}`
  const createRuns = `create table ${runs} (id ${id} primary key, status text not null) ${partitions.replaceAll('runs', runs)}; grant select on ${runs} to plain`
  await sql.unsafe(`${createRuns}; create table ${table} (id bigint generated always as identity primary key,
    run_id ${run}, level text default 'INFO', message text, created_at timestamptz default now());
    create index on ${table} (run_id, id); grant select on ${table}, ${table}_id_seq to plain`)
  if (schema === 'none') await sql`drop schema if exists fastify_pg_tail cascade`
  else {
    await install(sql, { table, runs, channel: 'log_updates', payload: 'none' })
    await sql.unsafe(`grant select, insert on fastify_pg_tail.stopped_run to plain;
      ${schema === 'open' ? 'grant usage on schema fastify_pg_tail to plain' : 'revoke usage on schema fastify_pg_tail from plain'}`)
  }
  const warnings: string[] = []
  const log = (line: string) => { warnings.push(line) }
  const { app, stream } = await startApp(t,
    { connectionString: server.url, table, runs: { table: runs, finished: ['finished'] }, install: false, ...options },
    { state: schema === 'none' ? 'polling' : 'listening', server: { logger: { level: 'warn', stream: { write: log } } } })
  const write = async (run: number | string, ...messages: string[]) => {
    for (const message of messages) await sql`insert into ${sql(table)} (run_id, message) values (${run}, ${message})`
  }
  const finish = async (run: number | string) => { await sql`insert into ${sql(runs)} values (${run}, 'finished')` }
  const status = async () => (await app.inject('/logs/status')).json()
  const warned = (text: RegExp) => eventually(async () => warnings.some((line) => text.test(line)))
  /** Is called with each row of a table that the plain role reads. */
  const onReadOf = (table: string) => (body: string) => sql.unsafe(`create function ${table}_on_read (session text) returns boolean language plpgsql
      security definer as $$ begin ${body}; return true; end $$;
    create policy on_read on ${table} using (${table}_on_read(current_setting('application_name'))); alter table ${table} enable row level security`)
  /** Which of our sessions wait for a lock, and since when, once they are so many. */
  const waits = (name: string, kind: string, count = 1) => eventually(() => sql`select pid, query_start from pg_stat_activity
    where application_name like ${`fastify-pg-tail ${name}%`} and pid in (select pid from pg_locks where not granted and locktype = ${kind}) order by pid`,
  ({ length }) => length === count)
  /** A client that has seen run 1 to its end. */
  const seeOff = async () => {
    const client = await stream('run_id=1')
    await ready(client)
    await write(1, 'a', 'b', 'c')
    await finish(1)
    await over(t, client, ['connected', 'a', 'b', 'c', '1 finished, 3 rows'])
    return client
  }
  return { app, stream, table, runs, createRuns, write, finish, status, warnings, warned, waits, onRead: onReadOf(table), onRunRead: onReadOf(runs), seeOff }
}

const ready = (client: SseClient) => client.until(({ data }) => data.type === 'connected')
const row = (client: SseClient, message: string) => client.until(({ data }) => data.type === 'log' && data.message === message)
/** Everything that a client was told, in order. */
const told = (client: SseClient) => client.events.filter(({ data }) => data.type !== 'mode').map(({ data }) =>
  data.type === 'log' ? data.message : data.type === 'stopped' ? `${data.run_id} ${data.status}, ${data.rows} rows` : data.type)

async function over (t: Test, client: SseClient, all: string[]): Promise<void> {
  t.equal(await client.ended, 'end')
  t.same(told(client), all)
}

t.test('a run that ended before anybody watched: its rows, then stopped, once for each client', { timeout }, async (t) => {
  const { app, stream, write, finish, status } = await setup(t)
  const rows = Array.from({ length: 25 }, (_, i) => `row ${i}`)
  await write(1, ...rows)
  await finish(1)
  const wanted = ['connected', ...rows.slice(-10), '1 finished, 25 rows']
  // It keeps the node awake, and waiting for a bell: only the newcomers make it ask for the end.
  const all = await stream()
  await eventually(async () => (await status()).doorbell.state === 'armed')
  const crowd = await Promise.all(['', '', '', '&level=INFO'].map((more) => stream(`run_id=1&tail=10${more}`)))
  for (const client of crowd) await over(t, client, wanted)
  all.close()
  await eventually(async () => (await status()).doorbell.state === 'off')
  await over(t, await stream('run_id=1&tail=10'), wanted)
  const seen: Array<string | null> = []
  for await (const { message } of app.logQueue.subscribe({ run: 1, tail: 2 })) seen.push(message)
  t.same(seen, rows.slice(-2))
})

t.test('many that come at once do not each cause a read', { timeout }, async (t) => {
  const { app, stream, status } = await setup(t)
  await ready(await stream())
  await eventually(async () => (await status()).doorbell.state === 'armed')
  const { reads } = (await status()).tailer
  const start = performance.now()
  // In a turn each: those of one turn would share a read in any case.
  for (let run = 1; run <= 100; run++) {
    app.logQueue.subscribe({ run })
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await eventually(async () => (await status()).doorbell.state === 'armed')
  // At most five times a second, however long it took.
  const took = performance.now() - start
  t.ok((await status()).tailer.reads - reads <= 10 + took / 100, `within ${took} ms`)
})

t.test('the last row is committed together with the end: the row comes first, and counts', { timeout }, async (t) => {
  const { table, runs, stream, write, finish, onRead, waits } = await setup(t, { connectionString: plain.href })
  // While somebody holds this lock, rows can be counted, but new ones not be read.
  await onRead("if session like '% reader %' then perform pg_advisory_xact_lock_shared(7); end if")
  await finish(3)
  const client = await stream('run_id=1')
  await ready(client)
  const [keeper, next] = [await connect(t, server.url).reserve(), await connect(t, server.url).reserve()]
  let held: Promise<unknown> = Promise.resolve()
  await sql.begin(async (tx) => {
    await tx`lock table ${tx(runs)} in access exclusive mode`
    await write(2, 'of another run')
    await waits('lookup', 'relation')
    // The question waits. A read begins, which does not see the last row, and is not over when the answer comes.
    await keeper`select pg_advisory_lock(7)`
    await write(2, 'one more')
    await waits('reader', 'advisory')
    held = next`select pg_advisory_lock(7)`.execute()
    await eventually(async () => (await sql`select from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock' and not granted`).length > 0)
    await tx`insert into ${tx(table)} (run_id, message) values (1, 'last')`
    await tx`insert into ${tx(runs)} values (1, 'finished')`
  })
  // By the time that others have got their answers, a hasty end would have been told.
  const others = async () => { for (let i = 0; i < 5; i++) t.equal(await statusCodeOf(() => stream('run_id=3', { lastEventId: '0' })), 204) }
  await others()
  await keeper`select pg_advisory_unlock(7)`
  await held
  // That read is over, and the next one is under way.
  await waits('reader', 'advisory')
  await others()
  t.same(told(client), ['connected'])
  await next`select pg_advisory_unlock(7)`
  for (const each of [keeper, next]) each.release()
  await over(t, client, ['connected', 'last', '1 finished, 1 rows'])
})

for (const partitions of ['', 'partition by range (id); create table runs_all partition of runs default']) {
  t.test(`the table of runs is locked (${partitions || 'no partitions'}): rows arrive, clients come and go, and the end is told afterwards`, { timeout }, async (t) => {
    const { table, runs, stream, write, status, waits } = await setup(t, { partitions, ...QUICK, timeout: NEVER })
    const locker = await connect(t, server.url).reserve()
    const client = await stream('run_id=1')
    await ready(client)
    await locker`begin`
    await locker`lock table ${locker(runs)} in access exclusive mode`
    // Of the locks of writers it is asked which tables they are of.
    await locker`lock table ${locker(table)} in row exclusive mode`
    await write(1, 'a')
    await row(client, 'a')
    // Both who asks for ends and who looks for the trigger.
    const before = await waits('lookup', 'relation', 2)
    await write(1, 'b')
    await row(client, 'b')
    client.close()
    await eventually(async () => (await status()).doorbell.state === 'off')
    const again = await stream('run_id=1&tail=2')
    await row(again, 'b')
    await write(1, 'c')
    await row(again, 'c')
    t.same(await waits('lookup', 'relation', 2), before, 'nobody has given up meanwhile')
    await locker`insert into ${locker(runs)} values (1, 'finished')`
    await locker`commit`
    locker.release()
    await over(t, again, ['connected', 'a', 'b', 'c', '1 finished, 3 rows'])
  })
}

t.test('closed while the table of runs is locked: no question stays behind, and no complaint', { timeout }, async (t) => {
  const { app, runs, stream, write, waits, warnings } = await setup(t, { timeout: NEVER })
  const locker = await connect(t, server.url).reserve()
  await locker`begin`
  await locker`lock table ${locker(runs)} in access exclusive mode`
  const client = await stream('run_id=1')
  await ready(client)
  await write(1, 'a')
  await row(client, 'a')
  await waits('lookup', 'relation')
  await app.close()
  await waits('lookup', 'relation', 0)
  await locker`commit`
  locker.release()
  t.same(warnings.filter((line) => /the ends of runs/.test(line)), [])
})

t.test('where ends cannot be looked up, reads do not make it try again sooner', { timeout }, async (t) => {
  const { stream, write, finish, warned, onRunRead } = await setup(t, { connectionString: plain.href })
  const client = await stream('run_id=1')
  await ready(client)
  await sql`alter sequence counts restart`
  await onRunRead("perform nextval('counts'); raise 'not now'")
  const start = performance.now()
  await finish(1)
  let i = 0
  for (; performance.now() - start < 2000; i++) {
    await write(1, String(i))
    await row(client, String(i))
  }
  await warned(/not now.*the ends of runs could not be looked up/)
  const [{ asked }] = await sql<[{ asked: number }]>`select last_value::int as asked from counts`
  const took = performance.now() - start
  t.ok(asked <= 1 + took / 1000, `${asked} questions after ${i} reads in ${took} ms`)
})

t.test('a run that cannot be one costs the others neither their answer nor the index', { timeout }, async (t) => {
  const { runs, stream, write, finish, onRunRead } = await setup(t, { run: 'text', id: 'bigint', connectionString: plain.href })
  await sql.unsafe(`insert into ${runs} select i, 'finished' from generate_series(1, 5000) i; analyze ${runs}`)
  await sql`alter sequence counts restart`
  await onRunRead("perform nextval('counts')")
  const odd = await Promise.all(['abc', '7.5'].map((run) => stream(`run_id=${run}`)))
  const clients = await Promise.all([7001, 7002, 7003].map((run) => stream(`run_id=${run}`)))
  await Promise.all([...odd, ...clients].map(ready))
  for (const [i, client] of clients.entries()) {
    await write('abc', String(i))
    await row(odd[0]!, String(i))
    await finish(7001 + i)
    await over(t, client, ['connected', `${7001 + i} finished, 0 rows`])
  }
  const [{ rows }] = await sql<[{ rows: number }]>`select last_value::int as rows from counts`
  t.ok(rows < 100, `it has looked at ${rows} rows`)
})

for (const { type, id } of [
  { type: 'uuid', id: '6b1d9a7e-0000-4000-8000-00000000abcd' },
  { type: 'bigint', id: '7' },
  // Its check does not say no, but fails.
  { type: 'short', id: '7' }
]) {
  t.test(`however many runs cannot be ones, and however slow the server is, it takes few statements (${type})`, { timeout }, async (t) => {
    const { table, runs, finish } = await setup(t, { run: 'text', id: type })
    const inspected = await inspectTable(sql, table, { id: 'id', run: 'run_id', level: 'level', message: 'message', timestamp: 'created_at', extra: [] })
    const ends = await RunEnds.inspect(sql, inspected, { table: runs, id: 'id', status: 'status', finished: ['finished'] }, new Map())
    await finish(id)
    // Each statement takes eleven seconds, by this clock.
    let statements = 0
    const now = performance.now.bind(performance)
    t.teardown(() => { performance.now = now })
    performance.now = () => now() + statements * 11_000
    const count = <T>(send: () => T): T => {
      if (++statements > 50) throw new Error('so many statements')
      return send()
    }
    const slow = Object.assign((text: TemplateStringsArray) => count(() => sql(text)),
      { unsafe: (...args: Parameters<typeof sql.unsafe>) => count(() => sql.unsafe(...args)) }) as unknown as typeof sql
    const ask = async (more: string[]) => {
      const before = statements
      t.match(await ends.find(slow, [...more, id]), [{ run: id, status: 'finished' }])
      return statements - before
    }
    const made = (name: string, count: number) => Array.from({ length: count }, (_, i) => `${name} '"\\{$find_odd$}é${i}`)
    const first = made('a', 1500)
    t.equal(await ask(['', ...first]), 4, 'may runs be stopped, the question, which are none, the question again')
    t.equal(await ask(first), 2, 'they are known')
    // Two groups that are too many to be known both.
    const groups = [made('b', 6000), made('c', 6000)]
    for (const group of [...groups, ...groups]) t.ok(await ask(group) <= 4)
    t.ok(await ask(groups.flat()) <= 4)
  })
}

t.test('whoever watches all runs is told once of each that it saw rows of, and goes on', { timeout }, async (t) => {
  const { stream, write, finish } = await setup(t)
  await write(9, 'before')
  const all = await stream()
  const one = await stream('run_id=1')
  await Promise.all([ready(all), ready(one)])
  const end = async (run: number) => {
    await finish(run)
    await all.until(({ data }) => data.type === 'stopped' && data.run_id === run)
  }
  await finish(9)
  await write(1, 'a')
  await write(2, 'b', 'c')
  await end(1)
  await over(t, one, ['connected', 'a', '1 finished, 1 rows'])
  await end(2)
  await write(3, 'd')
  await end(3)
  await write(3, 'after its end')
  await write(4, 'e')
  await row(all, 'e')
  await end(4)
  t.same(told(all), ['connected', 'a', 'b', 'c', '1 finished, 1 rows', '2 finished, 2 rows', 'd', '3 finished, 1 rows', 'after its end', 'e', '4 finished, 1 rows'])
})

t.test('a late visitor of a run that ended is no news to whoever watches all', { timeout }, async (t) => {
  const { stream, write, finish } = await setup(t)
  const all = await stream()
  await ready(all)
  await write(1, 'a')
  await finish(1)
  await all.until(({ data }) => data.type === 'stopped')
  await over(t, await stream('run_id=1&tail=10'), ['connected', 'a', '1 finished, 1 rows'])
  await write(2, 'b')
  await row(all, 'b')
  t.same(told(all), ['connected', 'a', '1 finished, 1 rows', 'b'])
})

const UUID = '6b1d9a7e-0000-4000-8000-00000000abcd'
for (const { type, id = type, run, asked = run, none } of [
  { type: 'varchar(5)', run: 'abcde', none: 'abcdefgh' },
  { type: 'char(5)', id: 'text', run: 'abc', none: 'a' },
  { type: 'char(5)', run: 'abc', none: 'a' },
  { type: 'uuid', run: UUID, asked: UUID.toUpperCase(), none: UUID.replace('6', '7') },
  { type: 'shade', run: 'red', none: 'green' },
  { type: 'code', run: 'r7', none: 'green' },
  { type: 'numeric(10,2)', run: '7.00', none: '8' },
  { type: 'numeric(10,2)', run: '7.00', none: 'seven' }
] as Array<{ type: string, id?: string, run: string, asked?: string, none: string }>) {
  t.test(`runs are ${type}, ids of runs ${id}: ${asked} is found, and ${none} is in nobody's way`, { timeout }, async (t) => {
    const { stream, write, finish, status } = await setup(t, { run: type, id })
    await write(run, 'a')
    const nothing = await Promise.all(['', '&tail=10', '&after=0'].map((start) => stream(`run_id=${none}${start}`)))
    // Where the database says that there cannot be such a run, the stream is over.
    await Promise.all(nothing.map((each) => Promise.race([each.ended, ready(each).catch(() => {})])))
    const client = await stream(`run_id=${asked}&tail=10`)
    await row(client, 'a')
    await write(run, 'b')
    await row(client, 'b')
    await finish(run)
    await over(t, client, ['connected', 'a', 'b', `${run} finished, 2 rows`])
    t.equal(await statusCodeOf(() => stream(`run_id=${asked}`, { lastEventId: client.lastEventId })), 204)
    await eventually(async () => (await status()).subscribers.replaying === 0)
    for (const each of nothing) t.match(told(each).join(), /^(connected)?$/)
  })
}

t.test('ids of runs have another type than in the log: what cannot be one is in nobody\'s way', { timeout }, async (t) => {
  const { stream, write, finish } = await setup(t, { run: 'text', id: 'integer' })
  const all = await stream()
  const odd = await Promise.all(['abc', '99999999999', '7.5'].map((run) => stream(`run_id=${run}`)))
  const client = await stream('run_id=7')
  await Promise.all([all, client, ...odd].map(ready))
  await write('abc', 'a')
  await write('7', 'b')
  await row(all, 'b')
  await finish(7)
  await over(t, client, ['connected', 'b', '7 finished, 1 rows'])
  await all.until(({ data }) => data.type === 'stopped')
  t.same(told(all), ['connected', 'a', 'b', '7 finished, 1 rows'])
  t.equal((await stream('run_id=07', { lastEventId: '0' })).status, 200, '07 is another run than 7')
  await write('abc', 'c')
  await row(odd[0]!, 'c')
})

t.test('the table of runs may not be read, is dropped, and comes back: rows go on arriving', { timeout }, async (t) => {
  const { stream, write, warned, runs, createRuns } = await setup(t, { connectionString: plain.href, ...QUICK })
  const client = await stream('run_id=1')
  await ready(client)
  await sql.unsafe(`revoke select on ${runs} from plain`)
  await write(1, 'a')
  await row(client, 'a')
  await warned(/"42501".*the ends of runs could not be looked up/)
  await sql.unsafe(`drop table ${runs}`)
  await write(1, 'b')
  await row(client, 'b')
  await warned(/"42P01".*the ends of runs could not be looked up/)
  const late = await stream('run_id=1&tail=10')
  await row(late, 'b')
  // The listener looks for its trigger there. From now on there are reads without a bell.
  await client.until(({ data }) => data.mode === 'poll')
  await sql.unsafe(`${createRuns}; insert into ${runs} values (1, 'finished')`)
  for (const each of [client, late]) await over(t, each, ['connected', 'a', 'b', '1 finished, 2 rows'])
})

t.test('an end that could not be looked for is looked for again', { timeout }, async (t) => {
  const { stream, finish, warned, runs } = await setup(t, { connectionString: plain.href })
  const client = await stream('run_id=1')
  await ready(client)
  await sql.unsafe(`revoke select on ${runs} from plain`)
  await finish(1)
  await warned(/"42501".*the ends of runs could not be looked up/)
  await sql.unsafe(`grant select on ${runs} to plain`)
  await over(t, client, ['connected', '1 finished, 0 rows'])
})

for (const { schema } of [{ schema: 'open' }, { schema: 'none' }] as const) {
  t.test(`a run is stopped, its rows cannot be counted at once: stopped comes later (schema: ${schema})`, { timeout }, async (t) => {
    const { app, stream, table, write, warned, onRead } = await setup(t, { connectionString: plain.href, schema, ...QUICK })
    await onRead("if session like '% replay %' then raise 'not now'; end if")
    const client = await stream('run_id=1')
    await ready(client)
    await write(1, 'a')
    await row(client, 'a')
    await app.logQueue.stop(1, 'Enough')
    await warned(/not now.*the end of a run could not be told yet/)
    t.same(told(client), ['connected', 'a'])
    await sql`alter table ${sql(table)} disable row level security`
    await over(t, client, ['connected', 'a', '1 stopped, 1 rows'])
    t.equal(client.events.at(-1)!.data.message, 'Enough')
  })
}

t.test('a role that may read the list of stopped runs, but not write to it, is told so', { timeout }, async (t) => {
  const { app, stream } = await setup(t, { connectionString: plain.href })
  await sql`revoke insert on fastify_pg_tail.stopped_run from plain`
  const client = await stream('run_id=1')
  await ready(client)
  const { message } = await app.logQueue.stop(1).then(() => { throw new Error('it was stopped') }, (error) => {
    t.equal(error.code, 'FST_PG_TAIL_STOP')
    return error
  })
  const fix = /grant .*;$/.exec(message)![0]
  t.equal(fix, 'grant insert on fastify_pg_tail.stopped_run to plain;')
  await sql.unsafe(fix)
  await app.logQueue.stop(1)
  await over(t, client, ['connected', '1 stopped, 0 rows'])
})

t.test('of runs that were stopped on this node alone, it knows the last 10,000', { timeout }, async (t) => {
  const { table } = await setup(t, { schema: 'none' })
  const stopped = new Map<string, string | null>(Array.from({ length: 10_000 }, (_, i) => [`${i}`, null]))
  const inspected = await inspectTable(sql, table, { id: 'id', run: 'run_id', level: 'level', message: 'message', timestamp: 'created_at', extra: [] })
  const ends = await RunEnds.inspect(sql, inspected, null, stopped)
  for (const run of ['0', '10000', '10001']) t.equal(await ends.stop(sql, run, null, 'log_updates'), false)
  t.equal(stopped.size, 10_000)
  t.same((await ends.find(sql, ['0', '1', '2', '10001'])).map(({ run }) => run), ['2', '10001'])
})

t.test('a run is stopped whose table was made anew while nobody watched', { timeout }, async (t) => {
  const { app, stream, table } = await setup(t)
  await app.logQueue.stop(1)
  await sql.unsafe(`drop table ${table} cascade; create table ${table} (id bigint generated always as identity primary key,
    run_id bigint, level text default 'INFO', message text, created_at timestamptz default now())`)
  await app.logQueue.stop(2)
  const client = await stream('run_id=2&after=0')
  await client.until(({ data }) => data.type === 'stopped')
})

t.test('a role that may not look into our schema learns of the end all the same', { timeout }, async (t) => {
  const { stream, write, finish, status } = await setup(t, { connectionString: plain.href, schema: 'closed' })
  await write(1, 'a')
  await finish(1)
  await stream()
  await eventually(async () => (await status()).doorbell.state === 'armed')
  await over(t, await stream('run_id=1&tail=10'), ['connected', 'a', '1 finished, 1 rows'])
})

t.test('whoever comes back after the end: 204 where it lacks nothing, else the rest and stopped', { timeout }, async (t) => {
  const { stream, write, seeOff } = await setup(t)
  const { events, lastEventId } = await seeOff()
  await write(2, 'of another run')
  const [a, , c] = events.filter(({ data }) => data.type === 'log').map(({ id }) => id!)
  for (const id of [lastEventId, c!]) t.equal(await statusCodeOf(() => stream('run_id=1', { lastEventId: id })), 204)
  t.equal(await statusCodeOf(() => stream('run_id=1&level=ERROR', { lastEventId: a! })), 204)
  await over(t, await stream('run_id=1', { lastEventId: a! }), ['connected', 'b', 'c', '1 finished, 3 rows'])
  await row(await stream('run_id=2', { lastEventId }), 'of another run')
})

t.test('whoever comes back while the database does not answer gets its headers all the same', { timeout }, async (t) => {
  const proxy = await TcpProxy.start(t, server.port)
  const { stream, seeOff } = await setup(t, { connectionString: proxy.url(server.url) })
  const { lastEventId } = await seeOff()
  proxy.blackhole()
  // The question itself is given up after a minute, when this test is long over.
  t.equal((await stream('run_id=1', { lastEventId })).status, 200)
})

t.test('all places are taken: whoever comes back after the end gets 204 and not 503', { timeout }, async (t) => {
  const { stream, seeOff } = await setup(t, { maxSubscribers: 1 })
  const { lastEventId } = await seeOff()
  t.equal((await stream()).status, 200)
  t.equal((await stream('run_id=1', { lastEventId: '0' })).status, 503)
  t.equal(await statusCodeOf(() => stream('run_id=1', { lastEventId })), 204)
})

t.test('whoever is ahead of this node gets stopped as well', { timeout }, async (t) => {
  const { table, stream, write, finish, status } = await setup(t)
  // It keeps the node awake: one that wakes up begins at the sequence's last value.
  await ready(await stream())
  await write(1, 'a')
  // Taken, and never a row: another node that has seen this counts it as had.
  const [taken] = await sql`select nextval(${`${table}_id_seq`}::regclass) as id`
  const ahead: string = taken!.id
  const client = await stream('run_id=1', { lastEventId: ahead })
  await ready(client)
  t.ok(BigInt((await status()).watermark) < BigInt(ahead))
  await finish(1)
  await over(t, client, ['connected', '1 finished, 1 rows'])
  t.equal(client.lastEventId, ahead, 'its cursor does not go back')
  await over(t, await stream(`run_id=1&after=${ahead}`), ['connected', '1 finished, 1 rows'])
  t.equal(await statusCodeOf(() => stream('run_id=1', { lastEventId: ahead })), 204)
})
