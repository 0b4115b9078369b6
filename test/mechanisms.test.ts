// One test for each thing that keeps rows from being lost, at the moment that it is there for. Statements of ours are
// stopped in the middle by what they call themselves: the plugin's role finds functions of the test's first, and the
// table has a policy; each waits while the test holds a lock.

import type { Sql } from 'postgres'
import type { FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import { install } from '../lib/postgres/install.ts'
import { MAX_GAPS } from '../lib/tail/watermark.ts'
import type { FastifyPgTailOptions, LogRow } from '../plugin.ts'
import { startApp } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { connect, createDemoTables, startPostgres } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'
import type { SseClient } from './support/sse-client.ts'

/** Less than the 30 s between reads that nothing asked for: those shall not hide that one is missing. */
const timeout = 25_000
/** Milliseconds. A statement of ours may wait for as long as a test lasts. */
const QUICK = { pollInterval: 50, reconnect: { initialDelay: 50, maxDelay: 200 }, timeout: 600_000 }
const OPEN = 140
const server = await startPostgres(t)
/** The server was started again: what the driver says of older sessions is no news. */
const admin = () => connect(t, server.url)
await admin().unsafe("create role plain login password 'plain'")
let databases = 0

/** Where statements of the plugin can be stopped: the one that reads rows, the two of a look at the locks. */
const GATES = { rows: 1, 'last value': 2, locks: 3 } as const
/** Or a replay, before it sees the row with this id. */
type Gate = keyof typeof GATES | number

async function setup (t: Test, options: Partial<FastifyPgTailOptions> = {}, proxy?: TcpProxy, app: FastifyServerOptions = {}) {
  const database = `mechanisms_${++databases}`
  await admin().unsafe(`create database ${database}`)
  const url = Object.assign(new URL(server.url), { pathname: database }).href
  const sql = connect(t, url)
  await createDemoTables(sql)
  if (options.install !== false) await install(sql, { table: 'scraper_log', channel: 'log_updates', payload: 'none' })
  await sql.unsafe(`
    create schema gate;
    create function gate.pass (gate int) returns boolean language plpgsql as $$ begin
      perform pg_advisory_lock_shared(1, gate), pg_advisory_unlock_shared(1, gate); return true; end $$;
    create function gate.locks () returns setof pg_catalog.pg_locks language plpgsql as $$ begin
      perform gate.pass(${GATES.locks}); return query select * from pg_catalog.pg_locks; end $$;
    create view gate.pg_locks as select * from gate.locks();
    create function gate.pg_sequence_last_value (regclass) returns bigint language plpgsql as $$ begin
      perform gate.pass(${GATES['last value']}); return pg_catalog.pg_sequence_last_value($1); end $$;
    create policy gate on scraper_log for select using (gate.pass(
      case when current_setting('application_name') like 'fastify-pg-tail reader%' then ${GATES.rows} else 100 + id::int end));
    alter table scraper_log enable row level security;
    alter role plain in database ${database} set search_path = gate, pg_catalog, public;
    grant usage on schema gate to plain; grant select on scraper_log, gate.pg_locks to plain; grant select on sequence scraper_log_id_seq to plain`)
  const plain = Object.assign(new URL(url), { username: 'plain', password: 'plain' }).href
  const start = () => startApp(t, { connectionString: proxy?.url(plain) ?? plain, install: 'verify', ...QUICK, ...options },
    { state: options.install === false ? null : 'listening', server: app })
  const keeper = connect(t, url, { max: 1 })
  const number = (gate: Gate) => typeof gate === 'number' ? 100 + gate : GATES[gate]
  return {
    ...await start(),
    start,
    sql,
    url,
    close: (gate: Gate) => keeper`select pg_advisory_lock(1, ${number(gate)})`,
    open: (gate: Gate) => keeper`select pg_advisory_unlock(1, ${number(gate)})`,
    /** Somebody waits there. */
    reached: async (gate: Gate): Promise<number> => (await eventually(() => sql`
      select pid from pg_locks where locktype = 'advisory' and classid = 1 and objid = ${number(gate)} and not granted
        and database = (select oid from pg_database where datname = ${database})`, ({ length }) => length > 0))[0]!.pid
  }
}

type App = Awaited<ReturnType<typeof startApp>>
const status = async ({ app }: Pick<App, 'app'>): Promise<any> => (await app.inject('/logs/status')).json()
const ready = (client: SseClient) => client.until(({ data }) => data.type === 'connected')
const message = (client: SseClient, wanted: string) => client.until(({ data }) => data.message === wanted)
const got = (client: SseClient): string[] => client.logs().map(({ message }) => message)
const numbered = (name: string, from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `${name} ${from + i}`)

async function write (sql: Sql, message: string): Promise<number> {
  const [row] = await sql`insert into scraper_log (run_id, message) values (1, ${message}) returning id`
  return Number(row!.id)
}

/** A transaction that has taken an id and stays open. */
async function hold (t: Test, url: string, message: string) {
  const session = connect(t, url, { max: 1 })
  await session`begin`
  return Object.assign(session, { id: await write(session, message) })
}

/** A client that gets what is committed from now on, by a bell. */
async function watch (node: App): Promise<SseClient> {
  const client = await node.stream()
  await ready(client)
  await eventually(() => status(node), ({ doorbell }) => doorbell.state === 'armed')
  return client
}

/** So many more looks at the locks, unless there is nothing to look for. */
async function looks (node: Pick<App, 'app'>, count: number): Promise<void> {
  const { tailer } = await status(node)
  await eventually(() => status(node), ({ tailer: { looks }, gaps }) => looks >= tailer.looks + count || gaps.open === 0)
}

for (const order of ['arrival', 'id'] as const) {
  t.test(`order '${order}': a transaction ends while a read is under way that does not see its row`, { timeout }, async (t) => {
    const node = await setup(t, { order })
    const { sql, url } = node
    const client = await watch(node)
    const late = await hold(t, url, 'late')
    await node.close('rows')
    await write(sql, 'early')
    await node.reached('rows')
    await late`commit`
    t.same(await sql`select from pg_locks where relation = 'scraper_log_id_seq'::regclass and mode = 'RowExclusiveLock'`, [], 'nobody is left to wait for')
    await node.open('rows')
    await eventually(() => status(node), ({ watermark, gaps }) => watermark === '2' && gaps.open === 0)
    await write(sql, 'last')
    await message(client, 'last')
    t.same(got(client), order === 'id' ? ['late', 'early', 'last'] : ['early', 'late', 'last'])
  })
}

t.test('a sequence that has handed out nothing yet, and an id by hand above it', { timeout }, async (t) => {
  const node = await setup(t)
  const { sql, url } = node
  const client = await watch(node)
  await sql`insert into scraper_log (id, run_id, message) values (9, 1, 'by hand')`
  await message(client, 'by hand')
  await eventually(() => status(node), ({ tailer, doorbell }) => tailer.looks > 0 && doorbell.state === 'armed')
  const first = await hold(t, url, 'first')
  t.equal(first.id, 1)
  await write(sql, 'second')
  await message(client, 'second')
  await first`commit`
  await message(client, 'first')
  await eventually(() => status(node), ({ doorbell, tailer }) => doorbell.state === 'armed' && tailer.rows === 3)
  await write(sql, 'third')
  await message(client, 'third')
  t.same(got(client), ['by hand', 'second', 'first', 'third'])
  t.match((await status(node)).gaps, { open: 1, first: '4', held_back: false })
})

for (const where of Object.keys(GATES) as Array<keyof typeof GATES>) {
  t.test(`the reader is killed at '${where}' while a gap is open`, { timeout }, async (t) => {
    const node = await setup(t)
    const { sql, url } = node
    const client = await watch(node)
    for (const round of ['ends meanwhile', 'goes on']) {
      const late = await hold(t, url, `late, ${round}`)
      await node.close(where)
      await write(sql, `early, ${round}`)
      const pid = await node.reached(where)
      if (round === 'ends meanwhile') await late`commit`
      await sql`select pg_terminate_backend(${pid}, 60000)`
      await node.open(where)
      await message(client, `early, ${round}`)
      if (round === 'goes on') {
        await looks(node, 5)
        t.match((await status(node)).gaps, { open: 1, first: String(late.id) })
        await late`commit`
      }
      await eventually(() => status(node), ({ gaps }) => gaps.open === 0)
      await write(sql, `last, ${round}`)
      await message(client, `last, ${round}`)
      t.same(got(client).slice(-3).sort(), [`early, ${round}`, `last, ${round}`, `late, ${round}`])
    }
    t.equal(client.logs().length, 6)
  })
}

t.test(`${OPEN} transactions in flight, more than gaps may be open: nothing is lost, on no node`, { timeout: 4 * timeout }, async (t) => {
  const node = await setup(t)
  const { sql, url } = node
  const other = await node.start()
  const watchers = [await watch(node), await watch(other)]
  const hopper = await watch(node)
  const pool = connect(t, url, { max: OPEN })
  const sessions = await Promise.all(Array.from({ length: OPEN }, () => pool.reserve()))
  for (const [i, session] of sessions.entries()) {
    await session`begin`
    await write(session, `late ${i + 1}`)
    await write(sql, `row ${i + 1}`)
  }
  for (const each of [node, other]) {
    const { gaps } = await eventually(() => status(each), ({ watermark, gaps }) => (gaps.held_back && gaps.held_by.length >= OPEN) || watermark === String(2 * OPEN))
    t.match(gaps, { open: MAX_GAPS, first: '1', held_back: true }, 'and the status says by whom')
  }
  await hopper.waitFor(() => hopper.logs().length >= MAX_GAPS / 2)
  hopper.close()
  const back = await other.stream('', { lastEventId: hopper.lastEventId })
  await ready(back)

  const ended: Array<number | undefined> = []
  for (let n = 0; n < OPEN; n++) {
    const i = n * 37 % OPEN
    await sessions[i]!.unsafe(i % 3 === 0 ? 'rollback' : 'commit')
    ended.push(i % 3 === 0 ? undefined : i + 1)
    sessions[i]!.release()
  }
  await eventually(() => status(node), ({ gaps, watermark }) => gaps.open === 0 && watermark === String(2 * OPEN))
  await write(sql, 'last')
  const all = [...numbered('row', 1, OPEN), ...ended.filter((i) => i !== undefined).map((i) => `late ${i}`), 'last'].sort()
  for (const client of [...watchers, back]) await message(client, 'last')
  for (const client of watchers) t.same(got(client).sort(), all)
  t.same([...got(hopper), ...got(back)].sort(), all, 'where it was, and where it went on')

  const frames = watchers[0]!.events.filter(({ data }) => data.type === 'log')
  const longest = frames.reduce((longest, frame, i) => frame.id!.length > frames[longest]!.id!.length ? i : longest, 0)
  const cursor = frames[longest]!.id!
  t.ok(cursor.split(',').length > 100 && cursor.length < 8192, `${cursor.length} characters`)
  const resumed = await other.stream('', { lastEventId: cursor })
  await message(resumed, 'last')
  t.same([...got(watchers[0]!).slice(0, longest + 1), ...got(resumed)].sort(), all)
})

t.test('the ring moves on during a replay, again and again: every row once, in order', { timeout }, async (t) => {
  const node = await setup(t, { queueSize: 2 })
  const { app, sql } = node
  const watcher = await watch(node)
  let rows = 0
  /** Each is a batch of its own: the watcher has the one before. */
  const more = async (count: number) => {
    for (; count > 0; count--) {
      await write(sql, `row ${++rows}`)
      await message(watcher, `row ${rows}`)
    }
  }
  const iterator = app.logQueue.subscribe()
  await iterator.ready
  await more(5)
  await node.close(3)
  const client = await node.stream('after=0')
  for (const id of [3, 8, 13]) {
    await node.reached(id)
    t.equal((await status(node)).subscribers.replaying, 1)
    await more(5)
    await node.close(id + 5)
    await node.open(id)
  }
  await node.reached(18)
  // This one it finds in the ring: the place is noted before the page is read.
  await more(1)
  await node.open(18)
  await message(client, 'row 21')
  await eventually(() => status(node), ({ subscribers }) => subscribers.replaying === 0)
  t.equal(app.logQueue.counters.lagged, 0, 'whoever replays has not fallen out of the ring')

  // It takes no more than a batch until somebody iterates.
  await node.close(10)
  const taken = [await iterator.next()]
  const reading = (async () => { while (taken.length < 27) taken.push(await iterator.next()) })()
  await node.reached(10)
  await more(5)
  await node.open(10)
  await more(1)
  await Promise.all([reading, message(client, 'row 27')])
  t.equal(app.logQueue.counters.lagged, 1)
  t.same(taken.map(({ value }) => (value as LogRow).message), numbered('row', 1, 27))
  t.same(got(client), numbered('row', 1, 27))
})

t.test('ids are taken, and burnt, while the first look is under way: none of them is lost', { timeout }, async (t) => {
  const node = await setup(t)
  const { sql, url } = node
  await node.close('locks')
  const client = await node.stream()
  await node.reached('locks')
  const burn = () => sql`select nextval('scraper_log_id_seq')`
  for (let i = 0; i < 40; i++) {
    await write(sql, 'before')
    await burn()
  }
  const late = await hold(t, url, 'late')
  await burn()
  await write(sql, 'before')
  await node.open('locks')
  await ready(client)
  await write(sql, 'after')
  await late`commit`
  for (const wanted of ['late', 'after']) await message(client, wanted)
  t.same(got(client).sort(), ['after', 'late'])
})

t.test('ids begin anew while it is looked up where a client begins: it gets what comes next, and no more', { timeout }, async (t) => {
  const node = await setup(t)
  const { sql } = node
  const watcher = await watch(node)
  for (const name of numbered('row', 1, 3)) await write(sql, name)
  await message(watcher, 'row 3')
  const { tailer } = await status(node)
  await eventually(async () => {
    await sql`notify log_updates`
    return status(node)
  }, ({ tailer: { reads } }) => reads > tailer.reads + 1)
  await node.close(3)
  const client = await node.stream('tail=1')
  await node.reached(3)
  await sql`with gone as (delete from scraper_log) select setval('scraper_log_id_seq', 1, false)`
  await sql`notify log_updates`
  await watcher.until(({ data }) => data.type === 'reset')
  await ready(client)
  await node.open(3)
  await write(sql, 'anew')
  for (const each of [watcher, client]) await message(each, 'anew')
  t.same(client.events.map(({ data }) => data.message ?? data.type).slice(1), ['anew'])
})

for (const order of ['arrival', 'id'] as const) {
  t.test(`order '${order}': more rows by hand above the sequence than gaps may be open, and rows of the sequence meanwhile`, { timeout }, async (t) => {
    const warnings: string[] = []
    const log = { level: 'warn', stream: { write: (line: string) => { warnings.push(JSON.parse(line).msg) } } }
    const node = await setup(t, { order }, undefined, { logger: log })
    const { sql } = node
    const client = await watch(node)
    const insert = (id: number) => sql`insert into scraper_log (id, run_id, message) values (${id}, 1, ${`hand ${id}`})`
    const ids = Array.from({ length: 2 * MAX_GAPS }, (_, i) => 1000 + 2 * i)
    for (const id of ids.slice(0, MAX_GAPS)) await insert(id)
    await write(sql, 'of the sequence')
    for (const id of ids.slice(MAX_GAPS)) await insert(id)
    await write(sql, 'another')
    await insert(5000)
    const wanted = [...ids, 5000].map((id) => `hand ${id}`).concat('of the sequence', 'another').sort()
    await client.waitFor(() => got(client).length >= wanted.length)
    t.same(got(client).sort(), wanted)
    t.equal(warnings.filter((line) => /set by hand far above the sequence/.test(line)).length, 1)
    await eventually(() => status(node), ({ gaps, doorbell }) => !gaps.held_back && doorbell.state === 'armed')
  })
}

t.test('a node that knows of fewer ids above the sequence than another one: whoever comes from it goes on there', { timeout }, async (t) => {
  const node = await setup(t)
  const { sql, start } = node
  const client = await watch(node)
  const ids = Array.from({ length: 40 }, (_, i) => 1000 + 2 * i)
  for (const id of ids) await sql`insert into scraper_log (id, run_id, message) values (${id}, 1, ${`hand ${id}`})`
  await client.waitFor(() => got(client).length === ids.length)
  const late = await watch(await start())
  const { lastEventId } = late
  late.close()
  t.match(lastEventId, /^1078~/)
  const again = await node.stream('', { lastEventId })
  await eventually(() => status(node), ({ subscribers }) => subscribers.current === 2 && subscribers.replaying === 0)
  await write(sql, 'of the sequence')
  await Promise.all([client, again].map((each) => message(each, 'of the sequence')))
  t.same(got(again), ['of the sequence'])
})

t.test('after a crash the sequence has skipped ids, and goes on below one that was set by hand', { timeout }, async (t) => {
  const node = await setup(t, { order: 'id' })
  const { sql, url } = node
  const client = await watch(node)
  await write(sql, 'a')
  await sql`insert into scraper_log (id, run_id, message) values (200, 1, 'by hand')`
  await eventually(() => status(node), ({ tailer, doorbell }) => tailer.looks > 0 && doorbell.state === 'armed')
  await write(sql, 'b')
  await Promise.all(['a', 'b', 'by hand'].map((wanted) => message(client, wanted)))
  await server.stop('immediate')
  await server.start()
  const again = connect(t, url)
  const late = await hold(t, url, 'late')
  t.ok(late.id > 3, `it goes on with ${late.id}`)
  await write(again, 'next')
  await eventually(() => status(node), ({ gaps }) => gaps.held_by.length > 0)
  await looks(node, 3)
  t.notOk(got(client).includes('next'), 'it waits for the one below')
  await late`commit`
  await message(client, 'next')
  t.same(got(client).slice(-2), ['late', 'next'])
  const { gaps } = await eventually(() => status(node), ({ doorbell }) => doorbell.state === 'armed')
  t.match(gaps, { open: 1, first: String(late.id + 2), held_back: false }, 'those that were skipped are gone, those to come are not')
})

for (const how of ['fast', 'immediate'] as const) {
  t.test(`a prepared transaction holds a gap open over a restart of the server (${how})`, { timeout }, async (t) => {
    const node = await setup(t, { install: false })
    const { sql, url } = node
    const client = await node.stream()
    await ready(client)
    const one = await hold(t, url, 'one')
    const two = await hold(t, url, 'two')
    const names = (sql: Sql) => sql`select virtualtransaction as name from pg_locks where relation = 'scraper_log_id_seq'::regclass and pid is null order by 1`
    // The one is prepared before it is known, the other one after.
    await one`prepare transaction 'one'`
    await write(sql, 'early')
    await message(client, 'early')
    await looks(node, 2)
    await two`prepare transaction 'two'`
    const before = await names(sql)
    t.equal(before.length, 2)
    await server.stop(how)
    await server.start()
    const again = connect(t, url)
    t.notSame(await names(again), before, 'they go by other names')
    await write(again, 'after')
    await message(client, 'after')
    await looks(node, 5)
    await again`rollback prepared 'two'`
    await looks(node, 5)
    t.match((await status(node)).gaps, { first: String(one.id) }, 'it is waited for')
    await again`commit prepared 'one'`
    await eventually(() => status(node), ({ gaps }) => gaps.open === 0)
    await write(again, 'last')
    await message(client, 'last')
    t.same(got(client), ['early', 'after', 'one', 'last'])
  })
}

for (const how of ['fast', 'immediate'] as const) {
  t.test(`after a restart (${how}) somebody else goes by the name that a prepared transaction had`, { timeout }, async (t) => {
    // Sessions get the first places again.
    await server.stop()
    await server.start()
    const proxy = await TcpProxy.start(t, server.port)
    const node = await setup(t, { install: false }, proxy)
    const { sql, url } = node
    const client = await node.stream()
    await ready(client)
    const nameOf = async (sql: Sql) => (await sql`select virtualtransaction as name from pg_locks where locktype = 'virtualxid' and pid = pg_backend_pid()`)[0]!.name.split('/')
    const first = connect(t, url, { max: 1 })
    // Names count the transactions of a place for sessions: there is room below.
    await first`do $$ begin for i in 1..100 loop commit; end loop; end $$`
    await first`begin`
    const id = await write(first, 'prepared')
    const [place, count] = await nameOf(first)
    await write(sql, 'early')
    await message(client, 'early')
    await looks(node, 2)
    await first`prepare transaction 'it'`
    await looks(node, 2)
    // The node comes back only when the other one is there: whoever tries has a place, too, for a moment.
    proxy.refuse()
    await server.stop(how)
    await server.start()
    const again = connect(t, url)
    const pool = connect(t, url, { max: 80 })
    const crowd = await Promise.all(Array.from({ length: 80 }, () => pool.reserve()))
    const places = await Promise.all(crowd.map((session) => nameOf(session)))
    const stranger = crowd[places.findIndex(([other]) => other === place)]!
    for (const session of crowd) if (session !== stranger) session.release()
    while (Number((await nameOf(stranger))[1]) < Number(count) - 1);
    await stranger`begin`
    await write(stranger, 'stranger')
    t.same(await nameOf(stranger), [place, count])
    proxy.accept()
    await write(again, 'after')
    await message(client, 'after')
    await looks(node, 5)
    await stranger`commit`
    stranger.release()
    await message(client, 'stranger')
    const { tailer } = await status(node)
    await eventually(() => status(node), (later) => later.gaps.open === 0 || later.tailer.looks >= tailer.looks + 5)
    t.match((await status(node)).gaps, { first: String(id) }, 'it is waited for')
    await again`commit prepared 'it'`
    await write(again, 'last')
    await message(client, 'last')
    t.same(got(client).sort(), ['after', 'early', 'last', 'prepared', 'stranger'])
  })
}
