// What seldom happens, and loses rows where nobody has thought of it.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Sql } from 'postgres'
import t, { type Test } from 'tap'
import { install } from '../lib/postgres/install.ts'
import { lookAtSequence, writersInFlight } from '../lib/postgres/locks.ts'
import type { Pool } from '../lib/postgres/pool.ts'
import type { Reader } from '../lib/postgres/reader.ts'
import { Source } from '../lib/postgres/source.ts'
import { inspectTable } from '../lib/postgres/table.ts'
import { MAX_ID } from '../lib/tail/cursor.ts'
import { TableFeed } from '../lib/tail/table-feed.ts'
import { askedSince, startApp, statusCodeOf } from './support/app.ts'
import { holdClock } from './support/clock.ts'
import { eventually } from './support/eventually.ts'
import { connect, createDatabase, createDemoTables, startPostgres, VERSION } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'
import type { SseClient } from './support/sse-client.ts'

const INTERVALS = { pollInterval: 50, reconnect: { initialDelay: 50, maxDelay: 200 } }
const server = await startPostgres(t)
let databases = 0

async function fresh (t: Test): Promise<{ url: string, sql: Sql }> {
  const url = await createDatabase(t, server, `seldom_${++databases}`)
  const sql = connect(t, url)
  await createDemoTables(sql)
  return { url, sql }
}

/** When the row had its id, and was not committed yet. */
async function write (sql: Sql, message: string, run = 1): Promise<number> {
  const [row] = await sql`insert into scraper_log (run_id, message) values (${run}, ${message}) returning extract(epoch from clock_timestamp())::float8 as at`
  return row!.at
}

const ready = (client: SseClient) => client.until(({ data }) => data.type === 'connected')
const message = (client: SseClient, wanted: string) => client.until(({ data }) => data.message === wanted)
const got = (client: SseClient) => client.events.filter(({ data }) => data.type !== 'mode').map(({ data }) => data.type === 'log' ? data.message : data.type)

/** Three rows, and the node knows how far the sequence is. */
async function writeThree (sql: Sql, client: SseClient): Promise<void> {
  for (const name of ['1', '2']) await write(sql, name)
  const last = await write(sql, '3')
  await message(client, '3')
  await askedSince(sql, last)
}

const LOG = { table: 'public.scraper_log', channel: 'log_updates', payload: 'none' } as const
const COLUMN_NAMES = { id: 'id', run: 'run_id', level: 'level', message: 'message', timestamp: 'created_at', extra: [] }
const COLUMNS = "run_id bigint, level text default 'INFO', message text, created_at timestamptz default now()"

t.test('the table is made anew while nobody watches: late rows of the new one arrive', async (t) => {
  const { url, sql } = await fresh(t)
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const before = await stream()
  await ready(before)
  await write(sql, 'old')
  await message(before, 'old')
  before.close()
  await eventually(async () => app.logQueue.subscribers === 0)
  await sql.unsafe(`drop table scraper_log; create table scraper_log (id bigserial primary key, ${COLUMNS})`)
  await install(sql, LOG)
  const client = await stream()
  await ready(client)
  const late = await connect(t, url).reserve()
  await late`begin`
  await write(late, 'late')
  await write(sql, 'early')
  await message(client, 'early')
  await late`commit`
  late.release()
  await message(client, 'late')
  t.same(got(client), ['connected', 'early', 'late'])
})

t.test('another table is renamed into its place while somebody watches: reset, and its rows', async (t) => {
  const { url, sql } = await fresh(t)
  await sql.unsafe(`create table other (id bigserial primary key, ${COLUMNS}); insert into other (run_id, message) values (1, 'of the other')`)
  const { stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const client = await stream()
  await ready(client)
  for (const name of ['a', 'b', 'c']) await write(sql, name)
  await message(client, 'c')
  await sql.begin(async (tx) => tx.unsafe('alter table scraper_log rename to gone; alter table other rename to scraper_log'))
  await write(sql, 'after it')
  await message(client, 'after it')
  t.same(got(client), ['connected', 'a', 'b', 'c', 'reset', 'of the other', 'after it'])
})

t.test('order id, from now on, while a transaction is open: nothing of what was there', async (t) => {
  const { url, sql } = await fresh(t)
  for (let i = 0; i < 20; i++) await write(sql, `old ${i}`)
  await sql`delete from scraper_log where id = 10`
  await install(sql, LOG)
  const open = await connect(t, url).reserve()
  await open`begin`
  await write(open, 'open')
  await write(sql, 'above it')
  const { stream } = await startApp(t, { connectionString: url, order: 'id', ...INTERVALS })
  const [now, tail] = [await stream(), await stream('tail=1')]
  await Promise.all([ready(now), ready(tail)])
  await write(sql, 'new')
  await open`commit`
  open.release()
  await Promise.all([message(now, 'new'), message(tail, 'new')])
  t.same(got(now), ['connected', 'open', 'new'])
  t.same(got(tail), ['connected', 'open', 'above it', 'new'])
})

t.test('an extra column that cannot be JSON costs the column, not the row', async (t) => {
  const { url, sql } = await fresh(t)
  await sql`alter table scraper_log add details text`
  const own = connect(t, url, { types: { odd: { to: 25, from: [25], serialize: String, parse: (text: string) => text === 'odd' ? { toJSON () { throw new Error('no') } } : text } } as any })
  const { stream } = await startApp(t, { sql: own, columns: { extra: ['details'] }, ...INTERVALS })
  const client = await stream()
  await ready(client)
  await sql`insert into scraper_log (run_id, message, details) values (1, 'a', 'plain'), (1, 'b', 'odd'), (1, 'c', 'plain')`
  await message(client, 'c')
  t.match(client.logs(), [{ message: 'a', details: 'plain' }, { message: 'b', truncated: true }, { message: 'c', details: 'plain' }])
  const again = await stream('after=0')
  await message(again, 'c')
  t.same(got(again), ['connected', 'a', 'b', 'c'])
})

t.test('a date that is no timestamp is null, and what follows arrives', async (t) => {
  const { url, sql } = await fresh(t)
  await sql`alter table scraper_log alter created_at drop default, alter created_at type date`
  const { stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const client = await stream()
  await ready(client)
  await sql`insert into scraper_log (run_id, message, created_at) values (1, 'far', '300000-01-01'), (1, 'never', 'infinity'), (1, 'today', '2026-01-21')`
  await message(client, 'today')
  t.match(client.logs(), [{ timestamp: null }, { timestamp: null }, { timestamp: /^2026-01-2/ }])
})

t.test('many ids by hand above the sequence do not delay the start', async (t) => {
  const { url, sql } = await fresh(t)
  await sql`insert into scraper_log (id, run_id, message) select n * 2, 1, 'even' from generate_series(1, 300) n`
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const client = await stream()
  await ready(client)
  // Nobody is waited for: the first of them are watched, where the sequence will get to.
  t.match((await app.inject('/logs/status')).json().gaps, { open: 16, first: '1' })
  const odd = Array.from({ length: 10 }, (_, i) => `odd ${2 * i + 1}`)
  for (const name of odd) {
    await write(sql, name)
    // Every other one is taken.
    await write(sql, 'even').catch(() => {})
  }
  await message(client, odd.at(-1)!)
  t.same(got(client), ['connected', ...odd])
})

t.test('where a table stands: what was handed out is all there, and of what is to come the beginning', async (t) => {
  const { sql } = await fresh(t)
  const source = new Source(await inspectTable(sql, 'scraper_log', COLUMN_NAMES))
  const head = async (floor: bigint, lastValue: bigint) => {
    await sql`select setval('scraper_log_id_seq', greatest(${String(lastValue)}::bigint, 1), ${lastValue > 0n})`
    const { high, lastValue: last, gaps, complete, future } = await source.head(sql, floor, 0n)
    t.equal(last, lastValue)
    const ranges = [gaps, future].map((ranges) => ranges.map(({ lo, hi }) => `${lo}-${hi}`))
    return [high, ...ranges, complete]
  }
  t.same(await head(0n, 0n), [0n, [], [], true])
  t.same(await head(9n, 4n), [4n, [], [], true], 'it was set back meanwhile, below where nothing could appear any more')
  const add = (ids: number[]) => sql`insert into scraper_log (id, run_id, message) select id, 1, 'x' from unnest(${ids}::int[]) id`
  await add([2, 3, 6, 10, 12])
  t.same(await head(0n, 0n), [12n, [], ['1-1', '4-5', '7-9', '11-11'], true])
  t.same(await head(0n, 12n), [12n, ['1-1', '4-5', '7-9', '11-11'], [], true])
  t.same(await head(0n, 14n), [12n, ['1-1', '4-5', '7-9', '11-11'], [], true])
  t.same(await head(0n, 8n), [12n, ['1-1', '4-5', '7-8'], ['9-9', '11-11'], true])
  t.same(await head(0n, 9n), [12n, ['1-1', '4-5', '7-9'], ['11-11'], true])
  t.same(await head(4n, 8n), [12n, ['5-5', '7-8'], ['9-9', '11-11'], true])
  t.same(await head(8n, 8n), [12n, [], ['9-9', '11-11'], true])
  t.same(await head(9n, 4n), [12n, [], ['5-5', '7-9', '11-11'], true], 'likewise')
  t.same(await head(12n, 12n), [12n, [], [], true])
  await sql`insert into scraper_log (id, run_id, message) select 12 + 2 * n, 1, 'x' from generate_series(1, 200) n`
  const odd = (from: number, to: number) => Array.from({ length: (to - from) / 2 + 1 }, (_, i) => `${from + 2 * i}-${from + 2 * i}`)
  t.same(await head(0n, 412n), [412n, odd(213, 411), [], false])
  t.same(await head(12n, 12n), [412n, [], odd(13, 43), true])
  const last = 9223372036854775807n
  await sql`insert into scraper_log (id, run_id, message) values (${String(last)}, 1, 'x')`
  t.same(await head(412n, 500n), [last, ['413-500'], [`501-${last - 1n}`], true])
  t.same(await head(412n, last - 1n), [last, [`413-${last - 1n}`], [], true])
  await sql`alter sequence scraper_log_id_seq restart`
  const unknown = await source.head(sql, 412n, null)
  t.match(unknown, { high: last, lastValue: last - 1n, gaps: [{ lo: 413n, hi: last - 1n }], future: [] })
})

t.test('a sequence that is used up', async (t) => {
  const { url, sql } = await fresh(t)
  await sql`insert into scraper_log (run_id, message) values (7, 'before')`
  await sql`select setval('scraper_log_id_seq', 9223372036854775807)`
  const { stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const client = await stream('run_id=7&tail=1')
  await ready(client)
  await message(client, 'before')
  client.close()
})

t.test('the end of a run in a transaction that was open before anybody slept is heard', async (t) => {
  const { url, sql } = await fresh(t)
  await sql`insert into scraper_run (id, name) values (1, 'a')`
  const { app, stream } = await startApp(t, { connectionString: url, runs: { table: 'public.scraper_run', finished: ['finished'] }, ...INTERVALS })
  const open = await connect(t, url).reserve()
  await open`begin`
  await open`update scraper_run set status = 'finished' where id = 1`
  const client = await stream('run_id=1')
  await ready(client)
  const { doorbell } = (await app.inject('/logs/status')).json()
  t.not(doorbell.state, 'armed', 'it does not sleep while that one may commit unheard')
  await open`commit`
  open.release()
  t.equal(await client.ended, 'end')
  t.same(got(client), ['connected', 'stopped'])
})

t.test('stop() looks whether the others can be told now', async (t) => {
  const { url, sql } = await fresh(t)
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS, install: false }, { state: 'polling' })
  const client = await stream('run_id=7')
  await ready(client)
  await write(sql, 'a', 7)
  await message(client, 'a')
  await install(sql, LOG)
  await app.logQueue.stop(7, 'Enough')
  t.equal((await sql`select from fastify_pg_tail.stopped_run where run = '7'`).length, 1)
  t.equal(await client.ended, 'end')
})

t.test("a sentence of the host's that throws: the default is sent", async (t) => {
  const { url, sql } = await fresh(t)
  const no = () => { throw new Error('no') }
  const { app, stream } = await startApp(t, { connectionString: url, texts: { connected: no, stopped: no, reset: no, mode: no }, ...INTERVALS })
  const client = await stream('run_id=7')
  t.match((await ready(client)).data, { message: /^Connected/ })
  await write(sql, 'a', 7)
  await message(client, 'a')
  await app.logQueue.stop(7)
  await client.ended
  t.match(client.events.at(-1)!.data, { type: 'stopped', message: 'Run was stopped' })
})

t.test('a URL that the driver cannot read stops the start, and is not repeated', async (t) => {
  const { url } = await fresh(t)
  for (const wrong of ['postgres://u:secret%@localhost/db', 'postgres://u:secret@localhost:99999/db', 'postgres://u:p@secret,word@localhost/db']) {
    for (const options of [{ connectionString: wrong }, { connectionString: url, listenConnectionString: wrong }]) {
      const error: any = await startApp(t, options).then(() => null, (error) => error)
      t.match(error, { code: 'FST_PG_TAIL_OPTION', message: /onnectionString" is string; give a URL/ })
      t.notMatch(JSON.stringify([error.message, error.stack, error.cause, Object.entries(error)]), /secret/)
    }
  }
})

t.test("a writer's bell does not call a stranger's operators", async (t) => {
  const { url, sql } = await fresh(t)
  await install(sql, LOG)
  await sql.unsafe(`create function public.evil (float8, numeric) returns boolean language plpgsql as $$ begin raise 'evil'; end $$;
    create operator public.< (leftarg = float8, rightarg = numeric, function = public.evil)`)
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const client = await stream()
  await ready(client)
  await eventually(async () => (await app.inject('/logs/status')).json().doorbell.state === 'armed')
  await write(sql, 'it rings')
  await message(client, 'it rings')
  t.pass()
})

t.test('the primary becomes a standby: nothing is believed of it, and once there is a primary again rows arrive', async (t) => {
  const own = await startPostgres(t)
  const sql = connect(t, own.url)
  await createDemoTables(sql)
  const lines: any[] = []
  const logger = { level: 'debug', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } }
  const { app, stream } = await startApp(t, { connectionString: own.url, ...INTERVALS, listenerHeartbeat: 50 }, { server: { logger } })
  const client = await stream()
  await ready(client)
  await write(sql, 'before')
  await message(client, 'before')
  await own.stop()
  await writeFile(join(own.dataDir, 'standby.signal'), '')
  await own.start()
  await eventually(() => lines.some(({ msg, err }) => err?.code === 'FST_PG_TAIL_SERVER' && /could not be read/.test(msg)))
  await eventually(() => app.notifyListener.state === 'polling')

  const standby = connect(t, own.url, { max: 1 })
  const source = new Source({ ...await inspected(sql), name: 'public.scraper_log' })
  const all = [{ lo: 0n, hi: MAX_ID }]
  const everything = { run: null, levels: null }
  const refused = { code: 'FST_PG_TAIL_SERVER' }
  await t.rejects(source.read(standby, all, null), refused, 'rows')
  await t.rejects(source.read(standby, [{ lo: 1000n, hi: MAX_ID }], null), refused, 'no rows')
  await t.rejects(source.replay(standby, all, { run: '99', levels: null }), refused, 'a replay')
  await t.rejects(source.nthLast(standby, all, everything, 1), refused)
  await t.rejects(source.head(standby, 0n, null), refused)
  await t.rejects(source.count(standby, '1'), refused)
  await t.rejects(lookAtSequence(standby, source.table), refused)
  await t.rejects(writersInFlight(standby, source.table), refused)

  await standby`select pg_promote()`
  await eventually(() => app.notifyListener.state === 'listening')
  await write(connect(t, own.url), 'after')
  await message(client, 'after')
  t.same(got(client), ['connected', 'before', 'after'])
  client.close()

  /** As if it had been looked up while it was a primary. */
  async function inspected (sql: Sql) {
    const [row] = await sql`select 'scraper_log'::regclass::oid::int as oid, pg_get_serial_sequence('scraper_log', 'id')::regclass::oid::int as sequence`
    return {
      oid: row!.oid,
      sequence: row!.sequence,
      lockKey: row!.oid,
      runs: null,
      runType: 'bigint',
      texts: [],
      warnings: [],
      columns: COLUMN_NAMES
    }
  }
})

t.test('setval() with false: up is no restart, down is one', async (t) => {
  const { url, sql } = await fresh(t)
  const { stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const client = await stream()
  await ready(client)
  await writeThree(sql, client)
  const [{ at }] = await sql`select setval('scraper_log_id_seq', 100, false), extract(epoch from clock_timestamp())::float8 as at` as [any]
  await askedSince(sql, at)
  await write(sql, '100')
  await message(client, '100')
  t.same(got(client), ['connected', '1', '2', '3', '100'])
  await sql`delete from scraper_log`
  await sql`select setval('scraper_log_id_seq', 1, false)`
  await sql`notify log_updates`
  const { raw } = await client.until(({ data }) => data.type === 'reset')
  t.match(raw, /^id: 0$/m, 'who comes back now begins anew')
  t.equal(client.lastEventId, '0')
  await write(sql, 'anew')
  const later = await write(sql, 'and more')
  await message(client, 'and more')
  await askedSince(sql, later)
  await sql`with gone as (delete from scraper_log) select setval('scraper_log_id_seq', 1, false)`
  await write(sql, 'at once')
  await message(client, 'at once')
  t.same(got(client).slice(-4), ['anew', 'and more', 'reset', 'at once'])
  client.close()
})

for (const when of ['soon', 'late']) {
  t.test(`setval() down in a transaction: seen before the rows are gone, and what it writes ${when} arrives`, async (t) => {
    const { url, sql } = await fresh(t)
    const { stream } = await startApp(t, { connectionString: url, ...INTERVALS })
    const client = await stream()
    await ready(client)
    await writeThree(sql, client)
    const session = connect(t, url)
    // More than there were.
    const anew = ['1st', '2nd', '3rd', '4th', '5th']
    await sql.begin(async (transaction) => {
      const sql = transaction as unknown as Sql
      await sql`delete from scraper_log`
      await sql`select setval('scraper_log_id_seq', 1, false)`
      await session`notify log_updates`
      await client.until(({ data }) => data.type === 'reset')
      // It waits for 10 s, and so many statements may take longer.
      holdClock(t, 5000)
      if (when === 'soon') for (const name of anew) await write(sql, name)
      // So many statements later it would have begun, above the old rows.
      const statements = new Set<number>()
      await eventually(async () => {
        for (const { at } of await session`select extract(epoch from query_start)::float8 as at from pg_stat_activity
          where application_name like 'fastify-pg-tail reader%' and datname = current_database()`) statements.add(at)
        return statements.size > 40
      })
      if (when === 'late') for (const name of anew) await write(sql, name)
    })
    await message(client, '5th')
    t.same(got(client).slice(-6), ['reset', ...anew])
    client.close()
  })
}

t.test('a role that may use the sequence, but not read it: setval() with false, up, is no restart', async (t) => {
  const { url, sql } = await fresh(t)
  const role = `plain_${databases}`
  await sql.unsafe(`create role ${role} login password 'plain'; grant select on scraper_log, scraper_run to ${role}; grant usage on sequence scraper_log_id_seq to ${role}`)
  await install(sql, LOG)
  const { stream } = await startApp(t, { connectionString: Object.assign(new URL(url), { username: role, password: 'plain' }).href, ...INTERVALS, install: 'verify' })
  const client = await stream()
  await ready(client)
  // Above what the sequence has handed out, which nobody may tell this role.
  await sql`insert into scraper_log (id, run_id, message) values (3, 1, 'by hand')`
  await message(client, 'by hand')
  const before = await write(sql, '1')
  await message(client, '1')
  await askedSince(sql, before)
  const [{ at }] = await sql`select setval('scraper_log_id_seq', 100, false), extract(epoch from clock_timestamp())::float8 as at` as [any]
  await askedSince(sql, at)
  const back = await stream('', { lastEventId: client.lastEventId })
  await ready(back)
  const last = await write(sql, '100')
  for (const each of [client, back]) await message(each, '100')
  t.same([got(client), got(back)], [['connected', 'by hand', '1', '100'], ['connected', '100']])
  await askedSince(sql, last)
  await sql`delete from scraper_log`
  await sql`select setval('scraper_log_id_seq', 1)`
  await sql`notify log_updates`
  for (const each of [client, back]) await each.until(({ data }) => data.type === 'reset')
  await write(sql, 'anew')
  for (const each of [client, back]) {
    await message(each, 'anew')
    each.close()
  }
})

t.test('closed while the table is looked up for somebody: nobody goes on reading', async (t) => {
  const { sql } = await fresh(t)
  let open = () => {}
  const opened = new Promise<void>((resolve) => { open = resolve })
  const reader = { answer: async (ask: (sql: Sql) => unknown) => opened.then(() => ask(sql)) } as unknown as Reader
  const doorbell = () => { throw new Error('who sleeps?') }
  const feed = new TableFeed({ ...LOG, columns: COLUMN_NAMES, runs: null, order: 'arrival', pollInterval: 50, reader, pool: reader as unknown as Pool, lookups: reader as unknown as Pool, admit () {}, doorbell, log: {} as any })
  const woken = feed.wakeUp()
  feed.close()
  open()
  await woken
  t.equal(feed.tailer.watermark, null)
})

t.test('the column of runs becomes another type while rows come', async (t) => {
  const { url, sql } = await fresh(t)
  const { stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const client = await stream()
  await ready(client)
  await write(sql, 'a number')
  await message(client, 'a number')
  await sql`alter table scraper_log alter run_id type text`
  await sql`insert into scraper_log (run_id, message) values ('7', 'still one'), ('seven', 'a text'), ('8', 'after it')`
  await message(client, 'after it')
  t.same(client.logs().map(({ run_id: run, message }) => [run, message]), [[1, 'a number'], [7, 'still one'], ['seven', 'a text'], [8, 'after it']])
  client.close()
})

t.test('what is stopped on this node only stays stopped', async (t) => {
  const { url, sql } = await fresh(t)
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS, install: false }, { state: 'polling' })
  const client = await stream('run_id=1')
  await ready(client)
  await write(sql, 'x')
  await message(client, 'x')
  await app.logQueue.stop(1)
  await client.until(({ data }) => data.type === 'stopped')
  await client.ended
  await eventually(() => app.logQueue.subscribers === 0)
  t.equal(await statusCodeOf(() => stream('run_id=1', { lastEventId: client.lastEventId })), 204)
})

t.test('an UNLOGGED table after a crash, with more rows than before by the time it is read: reset, and its rows', async (t) => {
  const own = await startPostgres(t)
  const before = connect(t, own.url)
  await before.unsafe(`create unlogged table scraper_log (id bigserial primary key, ${COLUMNS})`)
  const proxy = await TcpProxy.start(t, own.port)
  const { stream } = await startApp(t, { connectionString: proxy.url(own.url), ...INTERVALS })
  const client = await stream()
  await ready(client)
  for (const n of [1, 2, 3]) await write(before, `old ${n}`)
  await message(client, 'old 3')
  proxy.refuse()
  await own.stop('immediate')
  await own.start()
  const after = connect(t, own.url)
  await after`insert into scraper_log (run_id, message) select 1, 'new ' || n from generate_series(1, 5) n`
  proxy.accept()
  await message(client, 'new 5')
  // Before PostgreSQL 15 the sequence of an UNLOGGED table survives: ids go on, and cursors are good.
  const reset = Number(VERSION) < 15 ? [] : ['reset']
  t.same(got(client), ['connected', 'old 1', 'old 2', 'old 3', ...reset, 'new 1', 'new 2', 'new 3', 'new 4', 'new 5'])
})
