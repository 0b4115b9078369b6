// Several tables in one registration: each with its routes, and one session that listens for all.

import t, { type Test } from 'tap'
import { install } from '../lib/postgres/install.ts'
import { readOptions } from '../lib/options.ts'
import type { FastifyPgTailOptions } from '../plugin.ts'
import { startApp } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'
import { SseClient } from './support/sse-client.ts'

const server = await startPostgres(t)
const INTERVALS = { pollInterval: 50, reconnect: { initialDelay: 50, maxDelay: 200 } }
let databases = 0

async function setup (t: Test) {
  const database = await createDatabase(t, server, `several_${++databases}`)
  const sql = connect(t, database)
  await createDemoTables(sql)
  await sql.unsafe(`create schema ci; create table ci.build (id int primary key, state text);
    create table ci.line (no bigserial primary key, build int, severity text default 'INFO', line text, at timestamptz default now())`)
  return { database, sql }
}

const BUILDS = { table: 'ci.line', channel: 'builds', columns: { id: 'no', run: 'build', level: 'severity', message: 'line', timestamp: 'at' } }
const SCRAPES = { table: 'public.scraper_log' }
/** `table` takes away what startApp() sets for a single one. */
const both = (tables: FastifyPgTailOptions['tables']) => ({ table: undefined as never, tables: tables!, ...INTERVALS })
const scrape = (sql: ReturnType<typeof connect>, message: string) => sql`insert into scraper_log (run_id, message) values (1, ${message})`
const build = (sql: ReturnType<typeof connect>, line: string) => sql`insert into ci.line (build, line) values (7, ${line})`
const open = async (url: string) => {
  const client = await SseClient.connect(url)
  await client.until(({ data }) => data.type === 'connected')
  return client
}
const message = (client: SseClient, wanted: string) => client.until(({ data }) => data.message === wanted)

t.test('each gets its own rows, over one session that listens', async (t) => {
  const { database, sql } = await setup(t)
  const { app, url } = await startApp(t, {
    connectionString: database,
    ...both({ scrapes: SCRAPES, builds: { ...BUILDS, runs: { table: 'ci.build', status: 'state', finished: ['green'] }, prefix: '/ci' } })
  })
  const [scrapes, builds] = [await open(`${url}/logs/scrapes/stream`), await open(`${url}/ci/stream?run_id=7`)]
  const status = async (path: string) => (await app.inject(path)).json()
  for (const path of ['/logs/scrapes/status', '/ci/status']) await eventually(() => status(path), ({ doorbell }) => doorbell.state === 'armed')
  await build(sql, 'compiles')
  await scrape(sql, 'fetched')
  await message(builds, 'compiles')
  await message(scrapes, 'fetched')
  t.match([await status('/logs/scrapes/status'), await status('/ci/status')], [
    { table: 'public.scraper_log', channel: 'log_updates', tailer: { rows: 1 }, doorbell: { rings: 1 }, subscribers: { current: 1 } },
    { table: 'ci.line', channel: 'builds', tailer: { rows: 1 }, doorbell: { rings: 1 }, subscribers: { current: 1 } }
  ])
  const sessions = await sql`select from pg_stat_activity where application_name = 'fastify-pg-tail listener' and datname = current_database()`
  t.equal(sessions.length, 1)
  await sql`insert into ci.build values (7, 'green')`
  t.equal(await builds.ended, 'end')
  t.same(builds.logs().map(({ run_id: run, message }) => [run, message]), [[7, 'compiles']])

  t.equal(app.logQueue, app.logQueues.scrapes)
  const iterator = app.logQueues.builds!.subscribe({ after: '0' })
  t.match((await iterator.next()).value, { run: 7, message: 'compiles' })
  await iterator.return!()
  t.equal((await app.inject('/logs/stream')).statusCode, 404)
  scrapes.close()
})

t.test('one that no trigger rings for is polled, and its clients are told; the other listens', async (t) => {
  const { database, sql } = await setup(t)
  const { app, url } = await startApp(t, {
    connectionString: database, listenerHeartbeat: 50, ...both({ scrapes: SCRAPES, builds: { ...BUILDS, install: false } })
  }, { state: 'polling' })
  const [scrapes, builds] = [await open(`${url}/logs/scrapes/stream`), await open(`${url}/logs/builds/stream`)]
  t.match([scrapes.events[0]!.data, builds.events[0]!.data], [{ mode: 'listen' }, { mode: 'poll' }])
  t.match((await app.inject('/logs/scrapes/status')).json().listener, { state: 'listening', last_error: null })
  t.match((await app.inject('/logs/builds/status')).json().listener, { state: 'polling', last_error: /no trigger rings/ })
  t.match(app.notifyListener.status(), { state: 'polling', last_error: /no trigger rings/ })
  await build(sql, 'polled')
  await message(builds, 'polled')
  await install(sql, { table: 'ci.line', channel: 'builds', payload: 'none' })
  await builds.until(({ data }) => data.type === 'mode' && data.mode === 'listen')
  await eventually(() => app.notifyListener.state === 'listening')
  t.notOk(scrapes.events.some(({ data }) => data.type === 'mode'), 'that was no news to the others')
  for (const client of [scrapes, builds]) client.close()
})

t.test('two on one channel hear the same bells, and each reads its own', async (t) => {
  const { database, sql } = await setup(t)
  const { app, url } = await startApp(t, { connectionString: database, ...both({ scrapes: SCRAPES, builds: { ...BUILDS, channel: 'log_updates' } }) })
  const clients = [await open(`${url}/logs/scrapes/stream`), await open(`${url}/logs/builds/stream`)]
  for (const name of ['scrapes', 'builds']) await eventually(async () => (await app.inject(`/logs/${name}/status`)).json().doorbell.state === 'armed')
  await build(sql, 'b')
  await scrape(sql, 's')
  await Promise.all([message(clients[0]!, 's'), message(clients[1]!, 'b')])
  t.same(clients.map((client) => client.logs().map(({ message }) => message)), [['s'], ['b']])
  for (const client of clients) client.close()
})

t.test('a session that dies: all of them go on', async (t) => {
  const { database, sql } = await setup(t)
  const { app, url } = await startApp(t, { connectionString: database, ...both({ scrapes: SCRAPES, builds: BUILDS }) })
  const clients = [await open(`${url}/logs/scrapes/stream`), await open(`${url}/logs/builds/stream`)]
  await sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'fastify-pg-tail listener' and datname = current_database()`
  for (const client of clients) await client.until(({ data }) => data.mode === 'poll')
  await scrape(sql, 's')
  await build(sql, 'b')
  await Promise.all([message(clients[0]!, 's'), message(clients[1]!, 'b')])
  for (const client of clients) await client.until(({ data }) => data.type === 'mode' && data.mode === 'listen')
  await app.close()
  for (const client of clients) t.equal(await client.ended, 'end')
})

t.test('one that cannot be tailed stops the start, and no session stays behind', async (t) => {
  const { database, sql } = await setup(t)
  await t.rejects(startApp(t, { connectionString: database, ...both({ scrapes: SCRAPES, none: { table: 'public.nowhere' } }) }), { code: 'FST_PG_TAIL_TABLE', message: /public\.nowhere/ })
  await eventually(async () => (await sql`select from pg_stat_activity where application_name like 'fastify-pg-tail %' and datname = current_database()`).length === 0)
})

t.test('what is said for all holds for each, unless it says otherwise', async (t) => {
  const authorize = () => true
  const { tables, prefix } = readOptions({
    connectionString: server.url,
    prefix: '/live',
    queueSize: 7,
    stream: { authorize },
    tables: { a: { table: 'a' }, b: { table: 'b', queueSize: 9, stream: { public: true }, prefix: '/b' } }
  })
  t.equal(prefix, '/live')
  t.match(tables.a, { table: 'a', prefix: '/live/a', queueSize: 7, stream: { authorize } })
  t.match(tables.b, { table: 'b', prefix: '/b', queueSize: 9, stream: { public: true } })
  t.equal(tables.b!.stream.authorize, undefined)
})

t.test('wrong options say where', async (t) => {
  const no = (options: any, message: RegExp) => t.throws(() => readOptions({ connectionString: server.url, ...options }), { code: 'FST_PG_TAIL_OPTION', message })
  no({}, /"table" is undefined/)
  no({ tables: {} }, /"tables" .* name at least one/)
  no({ table: 'x', tables: { a: { table: 'a' } } }, /not both/)
  no({ tables: { 'a/b': { table: 'a' } } }, /"tables" is "a\/b"; give each a name of letters/)
  no({ tables: { a: {} } }, /"table" is undefined.* \(in tables\.a\)/)
  no({ tables: { a: { table: 'a', timeout: 1 } } }, /"tables\.a\.timeout" .* there is no such option/)
  no({ tables: { a: { table: 'a', columns: { id: '' } } } }, /"columns\.id" .*\(in tables\.a\)/)
  no({ tables: { a: { table: 'a', prefix: '/x' }, b: { table: 'b', prefix: '/x' } } }, /"tables\.b\.prefix" is "\/x"; .* tables\.a/)
})
