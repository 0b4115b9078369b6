// Where something runs out: gaps, room in strings and sockets, patience, and what can be tailed at all.

import type { Socket } from 'node:net'
import { mock } from 'node:test'
import type { FastifyInstance } from 'fastify'
import type { Sql } from 'postgres'
import t, { type Test } from 'tap'
import { HEAD_GAPS, Source } from '../lib/postgres/source.ts'
import { inspectTable } from '../lib/postgres/table.ts'
import type { LogQueue } from '../lib/queue/log-queue.ts'
import { MAX_ID } from '../lib/tail/cursor.ts'
import type { FastifyPgTailOptions } from '../plugin.ts'
import { reach, startApp } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { holdClock } from './support/clock.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'
import type { SseClient } from './support/sse-client.ts'

const INTERVALS = { pollInterval: 50, reconnect: { initialDelay: 50, maxDelay: 200 } }
const MIB = 1024 * 1024
/** Milliseconds that no test lasts: a clock of the test's own says when they are over. */
const NEVER = 3_600_000

const server = await startPostgres(t)
let databases = 0

async function fresh (t: Test): Promise<{ url: string, sql: Sql }> {
  const url = await createDatabase(t, server, `limits_${++databases}`)
  const sql = connect(t, url)
  await createDemoTables(sql)
  return { url, sql }
}

const status = async (app: FastifyInstance): Promise<any> => (await app.inject('/logs/status')).json()
const ready = (client: SseClient) => client.until(({ data }) => data.type === 'connected')
const message = (client: SseClient, wanted: string) => client.until(({ data }) => data.message === wanted)
const got = (client: SseClient) => client.logs().map(({ message }) => message)
const numbered = (name: string, count: number) => Array.from({ length: count }, (_, i) => `${name} ${i + 1}`)
const write = (sql: Sql, message: string, run = 1) => sql`insert into scraper_log (run_id, message) values (${run}, ${message})`

/** A stream of run 1, and the server's end of it, of which nothing is read for now. */
async function pausedStream ({ app, stream }: Awaited<ReturnType<typeof startApp>>): Promise<{ client: SseClient, socket: Socket }> {
  const connected = new Promise<Socket>((resolve) => app.server.once('connection', resolve))
  const client = await stream('run_id=1')
  await ready(client)
  client.pause()
  return { client, socket: await connected }
}

/** Changes whenever the kernel takes something. */
const taken = (socket: Socket) => `${socket.bytesWritten} ${(socket as any)._handle?.writeQueueSize}`

/**
 * Writes until there is no more room on the way to the client: three statements in a row change nothing.
 * In JSON a control character is six, so a page of 256 KiB is one write that the kernel takes in several pieces.
 * @returns how many rows
 */
async function fill (app: FastifyInstance, sql: Sql, socket: Socket): Promise<number> {
  const { rows: first } = (await status(app)).tailer
  for (let rows = 0, same = 0, before = ''; ; before = taken(socket)) {
    const count = same === 0 ? 500 : 1
    await sql`insert into scraper_log (run_id, message) select 1, repeat(chr(1), 8192) from generate_series(1, ${count}::int)`
    rows += count
    await eventually(() => status(app), ({ tailer }) => tailer.rows >= first + rows)
    same = socket.writableNeedDrain && taken(socket) === before ? same + 1 : 0
    if (same === 3) return rows
    if (socket.destroyed) throw new Error('the client was cut off')
  }
}

t.test('more gaps than a head may have: it waits for whoever may fill them, and for nobody else', async (t) => {
  const { url, sql } = await fresh(t)
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const late = await connect(t, url).reserve()
  await late`begin`
  await write(late, 'late')
  await sql.unsafe(`do $$ begin for i in 1..${HEAD_GAPS + 50} loop
    begin insert into scraper_log (run_id, message) values (1, 'never'); raise exception 'rolled back';
    exception when others then insert into scraper_log (run_id, message) values (1, 'row ' || i); end;
  end loop; end $$`)
  // They wait for 10 s, and looking may take longer.
  holdClock(t, 5000)
  const [client, fromNow] = [await stream('after=0'), await stream()]
  const looks = new Set<string>()
  await eventually(() => sql`select query_start::text as at from pg_stat_activity
    where application_name like 'fastify-pg-tail reader%' and datname = current_database() and query like '%pg_locks%'`,
  ([look]) => look !== undefined && looks.add(look.at).size === 100)
  t.equal((await status(app)).watermark, null, 'it looks at the locks again and again, and does not begin')
  t.same(fromNow.events, [], 'and promises nothing yet')
  await late`commit`
  late.release()
  await write(sql, 'last')
  await message(client, 'last')
  const all = ['late', ...numbered('row', HEAD_GAPS + 50), 'last']
  t.same(got(client), all)
  await ready(fromNow)
  await write(sql, 'after connected')
  await message(fromNow, 'after connected')
  client.close()
  fromNow.close()

  await eventually(() => status(app), ({ watermark }) => watermark === null)
  const again = await stream('after=0')
  await message(again, 'last')
  await write(sql, 'live')
  await message(again, 'live')
  t.same(got(again), [...all, 'after connected', 'live'])
  const { gaps, tailer } = await status(app)
  t.same([gaps.open, tailer.looks], [0, 0], 'no gap was ever open')
})

t.test('a message that is too long is cut and says so, and what follows arrives', async (t) => {
  const { url, sql } = await fresh(t)
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const client = await stream()
  await ready(client)
  const expected: object[] = []
  const brief = ({ message, truncated }: any) => ({ length: message.length, ...(truncated !== undefined && { truncated }) })
  for (const [length, row] of [[15 * MIB, { length: 15 * MIB }], [20 * MIB, { length: 4194304, truncated: true }], [300 * MIB, { length: 4194304, truncated: true }]] as const) {
    // A repeat() of single characters would take PostgreSQL seconds.
    await sql`insert into scraper_log (run_id, message) values (1, repeat(repeat('x', 1024), ${length / 1024}::int))`
    await write(sql, 'small')
    expected.push(row, { length: 5 })
    await client.waitFor(() => client.logs().length === expected.length)
  }
  t.same(client.logs().map(brief), expected)
  client.close()
  const replayed: object[] = []
  for await (const row of app.logQueue.subscribe({ after: '0' })) if (replayed.push(brief(row)) === expected.length) break
  t.same(replayed, expected)
})

t.test('large extra columns end a page early, and each row comes once, in order', async (t) => {
  const { url, sql } = await fresh(t)
  const columns = { id: 'id', run: 'run_id', level: 'level', message: 'message', timestamp: 'created_at', extra: ['details'] }
  await sql.unsafe(`alter table scraper_log add column details jsonb;
    with noise as materialized (select string_agg(md5(i::text), '') as noise from generate_series(1, 940) i)
    insert into scraper_log (run_id, message, details) select 1, 'row ' || n, to_jsonb(noise) from noise, generate_series(1, 200) n`)
  const page = await new Source(await inspectTable(sql, 'scraper_log', columns)).read(sql, [{ lo: 0n, hi: MAX_ID }], null)
  t.ok(page.more && page.rows.length < 12, `${page.rows.length} rows of 30 kB are about 256 KiB`)

  const { stream } = await startApp(t, { connectionString: url, columns })
  const client = await stream('after=0')
  await client.waitFor(() => client.logs().length >= 200)
  await write(sql, 'last')
  await message(client, 'last')
  t.same(got(client), [...numbered('row', 200), 'last'])
  t.ok(client.logs().slice(0, 200).every(({ details }) => details.length === 940 * 32))
  client.close()
})

t.test('text in extra columns counts unpacked, whatever it takes on disk', async (t) => {
  const { url, sql } = await fresh(t)
  const columns = { id: 'id', run: 'run_id', level: 'level', message: 'message', timestamp: 'created_at', extra: ['details'] }
  await sql`create domain note as text`
  for (const type of ['text', 'varchar', 'note', 'xml']) {
    await sql.unsafe(`drop table if exists packed; create table packed (like scraper_log including all, details ${type});
      insert into packed (run_id, message, details) select 1, 'row', repeat(repeat('x', 1024), 100)::${type} from generate_series(1, 20) n`)
    const page = await new Source(await inspectTable(sql, 'packed', columns)).read(sql, [{ lo: 0n, hi: MAX_ID }], null)
    t.equal(page.rows.length, 3, `${type}: of 100 KiB each`)
    t.ok(page.more)
  }
  const { stream } = await startApp(t, { connectionString: url, table: 'packed', columns })
  const client = await stream('after=0')
  await client.waitFor(() => client.logs().length === 20)
  // The table is looked up again only once nobody is there.
  await sql`alter table packed alter column details type jsonb using to_jsonb(details::text)`
  await sql`insert into packed (run_id, message, details) values (1, 'last', '{"a": 1}')`
  t.same((await message(client, 'last')).data.details, { a: 1 })
  client.close()
})

t.test("in order 'id' extra columns of rows that wait count, too", async (t) => {
  const { url, sql } = await fresh(t)
  await sql.unsafe('alter table scraper_log add note text, add details jsonb')
  const { app } = await startApp(t, { connectionString: url, columns: { extra: ['note', 'details'] }, order: 'id', ...INTERVALS })
  const rows = app.logQueue.subscribe()
  await eventually(() => status(app), ({ watermark }) => watermark !== null)
  for (const extra of ["repeat('x', 4194304), null", "null, jsonb_build_object('a', repeat('x', 4194304))"]) {
    const late = await connect(t, url).reserve()
    await late`begin`
    await write(late, 'late')
    const { rows: before } = (await status(app)).tailer
    await sql.unsafe(`insert into scraper_log (run_id, message, note, details) select 1, 'row', ${extra} from generate_series(1, 30)`)
    const { reads } = (await eventually(() => status(app), ({ tailer }) => tailer.rows >= before + 16)).tailer
    const { tailer } = await eventually(() => status(app), ({ tailer }) => tailer.reads >= reads + 5)
    t.equal(tailer.rows - before, 16, 'of 4 Mi characters each')
    await late`commit`
    late.release()
    for (let i = 0; i <= 30; i++) t.equal((await rows.next()).value.message, i === 0 ? 'late' : 'row')
  }
})

async function refuses (t: Test, url: string, sql: Sql, options: Partial<FastifyPgTailOptions>, message: RegExp): Promise<void> {
  await t.rejects(startApp(t, { connectionString: url, ...options }, { state: null }), { code: 'FST_PG_TAIL_TABLE', message }, String(message))
  await eventually(() => sql`select from pg_stat_activity where application_name like 'fastify-pg-tail%' and datname = current_database()`, ({ length }) => length === 0)
}

t.test('what cannot be tailed stops the start, and no session stays behind', async (t) => {
  const { url, sql } = await fresh(t)
  await sql.unsafe(`create table in_json (id bigserial primary key, run_id json, level text, message text, created_at timestamptz);
    create table in_bigint (id bigserial primary key, run_id int, level text, message text, created_at bigint);
    create table in_range (id bigserial primary key, run_id int, level text, message text, created_at daterange)`)
  await refuses(t, url, sql, { table: 'in_json' }, /"run_id" is json, which has no equality/)
  await refuses(t, url, sql, { table: 'in_bigint' }, /"created_at" is bigint, not a time/)
  await refuses(t, url, sql, { table: 'in_range' }, /"created_at" is daterange, not a time/)
  await refuses(t, url, sql, { table: 'a.b.c.d' }, /does not exist/)
})

t.test('a name that cannot be stops the start', async (t) => {
  const { url, sql } = await fresh(t)
  await refuses(t, url, sql, { table: 'another.public.scraper_log' }, /another/)
  await refuses(t, url, sql, { table: 'scraper_log', runs: { table: 'a.b.c.d', finished: ['finished'] } }, /a\.b\.c\.d/)
})

t.test('behind a link that swallows everything the app becomes ready, and rows arrive once it is fixed', async (t) => {
  const { url, sql } = await fresh(t)
  const proxy = await TcpProxy.start(t, server.port)
  proxy.blackhole()
  // Longer than the start waits, so that no statement of ours gives up before.
  const { app, stream } = await startApp(t, { connectionString: proxy.url(url), ...INTERVALS, timeout: 6000 }, { state: null })
  t.equal((await status(app)).available, false)
  const client = await stream('after=0')
  t.match((await ready(client)).data, { mode: 'poll' })
  await write(sql, 'before')
  proxy.restore()
  proxy.cut()
  await message(client, 'before')
  await reach(app, 'listening')
  await write(sql, 'after')
  await message(client, 'after')
  t.same(got(client), ['before', 'after'])
  client.close()
})

t.test('a row that takes longer than the time-out to arrive, over a slow link, arrives', async (t) => {
  const { url, sql } = await fresh(t)
  const proxy = await TcpProxy.start(t, server.port)
  const { stream } = await startApp(t, { connectionString: proxy.url(url), listenConnectionString: url, ...INTERVALS, timeout: 1500 })
  const client = await stream()
  await client.until(({ data }) => data.type === 'connected')
  proxy.trickle(50_000, 100)
  const message = 'x'.repeat(2_000_000)
  await sql`insert into scraper_log (run_id, message) values (1, ${message})`
  t.equal((await client.until(({ data }) => data.type === 'log')).data.message.length, message.length)
  client.close()
})

t.test('a client that takes nothing is cut off; a slow one is not, nor an iterator that takes its time', async (t) => {
  const { url, sql } = await fresh(t)
  const started = await startApp(t, { connectionString: url, ...INTERVALS, heartbeat: 10, stallTimeout: NEVER })
  const { app } = started
  const { client, socket } = await pausedStream(started)
  const quiet = { beats: 0, write: () => true, notice: () => true, heartbeat: () => ++quiet.beats > 0, progress: () => null, end () {}, destroy () {} }
  const queue = app.logQueue as LogQueue
  queue.attach({ run: '2', levels: null }, 'now', quiet)
  /** By the second heartbeat from now on, a whole round of them is over. */
  const beat = () => {
    const end = quiet.beats + 2
    return eventually(async () => quiet.beats, (beats) => beats >= end)
  }
  const total = await fill(app, sql, socket)
  let clock = performance.now()
  const { mock: real } = mock.method(performance, 'now', () => clock)
  t.teardown(() => real.restore())
  for (let round = 0; round < 8 && app.logQueue.counters.stalled === 0; round++) {
    const before = taken(socket)
    client.resume()
    await client.waitFor(() => taken(socket) !== before || client.logs().length === total)
    client.pause()
    await beat()
    clock += NEVER * 0.6
    await beat()
  }
  client.resume()
  await client.waitFor(() => client.logs().length === total)

  await sql`insert into scraper_log (run_id, message) select 3, 'row ' || n from generate_series(1, 3) n`
  const rows = app.logQueue.subscribe({ run: 3, after: '0' })
  t.match(await rows.next(), { value: { message: 'row 1' } })
  await beat()
  clock += NEVER * 2
  await beat()
  t.match([await rows.next(), await rows.next()], [{ value: { message: 'row 2' } }, { value: { message: 'row 3' } }])
  await rows.return!()

  client.pause()
  await fill(app, sql, socket)
  await beat()
  clock += NEVER * 0.6
  await beat()
  t.equal(app.logQueue.counters.stalled, 0, 'nobody yet')
  clock += NEVER * 0.6
  await beat()
  t.match((await status(app)).subscribers, { stalled: 1, current: 1 })
  client.resume()
  t.equal(await client.ended, 'error')
})

t.test('a wrong `tail` is refused at once, and leaves no subscriber', async (t) => {
  const { app } = await startApp(t, { connectionString: (await fresh(t)).url, ...INTERVALS })
  for (const tail of [-1, 1.5, 1e9]) t.throws(() => app.logQueue.subscribe({ tail }), { code: 'FST_PG_TAIL_OPTION', message: /"tail"/ }, String(tail))
  t.equal(app.logQueue.subscribers, 0)
})

t.test('what is to be told while a socket is full is told afterwards: once, and as it is by then', async (t) => {
  const { url, sql } = await fresh(t)
  const started = await startApp(t, { connectionString: url, ...INTERVALS, stallTimeout: NEVER })
  const { app } = started
  const { client, socket } = await pausedStream(started)
  await fill(app, sql, socket)
  const polling = reach(app, 'polling')
  await sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'fastify-pg-tail listener' and datname = current_database()`
  await polling
  await reach(app, 'listening')
  await sql.begin(async (tx) => {
    await tx`truncate scraper_log restart identity`
    await tx`insert into scraper_log (run_id, message) select 1, 'new ' || n from generate_series(1, 3) n`
  })
  await eventually(() => status(app), ({ tailer }) => tailer.resets === 1)
  client.resume()
  await message(client, 'new 3')
  await write(sql, 'last')
  await message(client, 'last')
  const told = client.events.map(({ data }) => data.mode ?? (data.type !== 'log' ? data.type : data.message.length === 8192 ? 'old' : data.message))
  t.same(told.filter((what) => what !== 'old'), ['listen', 'listen', 'reset', 'new 1', 'new 2', 'new 3', 'last'], 'the first mode is the greeting')
  t.ok(told.lastIndexOf('old') < told.indexOf('reset'))
  client.close()
})

t.test('a run that came before the table was known, not as its column writes it, ends its stream', async (t) => {
  const { url, sql } = await fresh(t)
  const proxy = await TcpProxy.start(t, server.port)
  proxy.refuse()
  const { stream } = await startApp(t, { connectionString: proxy.url(url), ...INTERVALS }, { state: null })
  const [odd, wrong, right] = await Promise.all(['007', 'seven', '7'].map((run) => stream(`run_id=${run}&after=0`))) as [SseClient, SseClient, SseClient]
  await write(sql, 'row', 7)
  proxy.accept()
  t.same(await Promise.all([odd.ended, wrong.ended]), ['end', 'end'])
  t.same([...odd.logs(), ...wrong.logs()], [])
  const back = await stream('run_id=007&after=0')
  for (const client of [right, back]) {
    await message(client, 'row')
    client.close()
  }
  t.equal((await stream('run_id=seven')).status, 400)
})

t.test('what the status says of an error names no host, port or user', async (t) => {
  const { url } = await fresh(t)
  const nobody = await TcpProxy.start(t, server.port)
  const down = nobody.url(url)
  await nobody.close()
  for (const [connectionString, code] of [[down, 'ECONNREFUSED'], [Object.assign(new URL(url), { password: 'wrong' }).href, '28P01']] as const) {
    const { app } = await startApp(t, { connectionString, ...INTERVALS }, { state: null })
    const { listener: { last_error: error } } = await eventually(() => status(app), ({ listener }) => listener.last_error !== null)
    t.match(error, code)
    const { hostname, port, username } = new URL(connectionString)
    for (const part of [hostname, port, username]) t.notOk(error.includes(part), part)
  }
})
