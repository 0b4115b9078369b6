// Several tables in one registration: each with its routes, and one session that listens for all.

import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { install } from '../lib/postgres/install.ts'
import { readOptions } from '../lib/options.ts'
import { Service } from '../lib/service.ts'
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
  await sql.unsafe(`create schema ci; ${RUNS}; ${LINES}`)
  return { database, sql }
}

const RUNS = 'create table ci.build (id int primary key, state text)'
const LINES = "create table ci.line (no bigserial primary key, build int, severity text default 'INFO', line text, at timestamptz default now())"
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
const mode = (client: SseClient, wanted: string) => client.until(({ data }) => data.type === 'mode' && data.mode === wanted)
const statusOf = async (app: FastifyInstance, path: string): Promise<any> => (await app.inject(path)).json()
const sessions = (sql: ReturnType<typeof connect>, name = '%') => sql`select pid, query, query_start::text as since from pg_stat_activity
  where application_name like ${`fastify-pg-tail ${name}`} and datname = current_database()`

t.test('each gets its own rows, over one session that listens', async (t) => {
  const { database, sql } = await setup(t)
  const { app, url } = await startApp(t, {
    connectionString: database,
    ...both({ scrapes: SCRAPES, builds: { ...BUILDS, runs: { table: 'ci.build', status: 'state', finished: ['green'] }, prefix: '/ci' } })
  })
  const [scrapes, builds] = [await open(`${url}/logs/scrapes/stream`), await open(`${url}/ci/stream?run_id=7`)]
  const status = (path: string) => statusOf(app, path)
  for (const path of ['/logs/scrapes/status', '/ci/status']) await eventually(() => status(path), ({ doorbell }) => doorbell.state === 'armed')
  await build(sql, 'compiles')
  await scrape(sql, 'fetched')
  await message(builds, 'compiles')
  await message(scrapes, 'fetched')
  t.match([await status('/logs/scrapes/status'), await status('/ci/status')], [
    { table: 'public.scraper_log', channel: 'log_updates', tailer: { rows: 1 }, doorbell: { rings: 1 }, subscribers: { current: 1 } },
    { table: 'ci.line', channel: 'builds', tailer: { rows: 1 }, doorbell: { rings: 1 }, subscribers: { current: 1 } }
  ])
  t.equal((await sessions(sql, 'listener')).length, 1)
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
  await eventually(async () => (await app.inject('/logs/scrapes/status')).json().listener.state === 'listening')
  const [scrapes, builds] = [await open(`${url}/logs/scrapes/stream`), await open(`${url}/logs/builds/stream`)]
  t.match([scrapes.events[0]!.data, builds.events[0]!.data], [{ mode: 'listen' }, { mode: 'poll' }])
  t.match((await app.inject('/logs/scrapes/status')).json().listener, { state: 'listening', last_error: null })
  t.match((await app.inject('/logs/builds/status')).json().listener, { state: 'polling', last_error: /no trigger rings/ })
  t.match(app.notifyListener.status(), { state: 'polling', last_error: /no trigger rings/ })
  await build(sql, 'polled')
  await message(builds, 'polled')
  await install(sql, { table: 'ci.line', channel: 'builds', payload: 'none' })
  await mode(builds, 'listen')
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
  for (const client of clients) await mode(client, 'listen')
  await app.close()
  for (const client of clients) t.equal(await client.ended, 'end')
})

t.test('one that cannot be tailed stops the start, and no session stays behind', async (t) => {
  const { database, sql } = await setup(t)
  await t.rejects(startApp(t, { connectionString: database, ...both({ scrapes: SCRAPES, none: { table: 'public.nowhere' } }) }), { code: 'FST_PG_TAIL_TABLE', message: /public\.nowhere/ })
  await t.rejects(startApp(t, { connectionString: database, ...both({ scrapes: SCRAPES, twin: { table: 'scraper_log', channel: 'other' } }) }),
    { code: 'FST_PG_TAIL_TABLE', message: /tables\.scrapes and tables\.twin are both this one/ })
  await eventually(() => sessions(sql), ({ length }) => length === 0)
})

t.test('two names for one table, with two channels, where the server comes later: the second one is refused, and the trigger stays as it is', async (t) => {
  const { database, sql } = await setup(t)
  await sql.end()
  await server.stop()
  const { app } = await startApp(t, { connectionString: database, listenerHeartbeat: 50, ...both({ scrapes: SCRAPES, twin: { table: 'scraper_log', channel: 'other' } }) }, { state: null })
  await server.start()
  const statuses = () => Promise.all(['scrapes', 'twin'].map((name) => statusOf(app, `/logs/${name}/status`)))
  const settled = await eventually(statuses, (all) => all.some(({ listener }) => listener.state === 'listening') && all.some(({ listener }) => /^FST_PG_TAIL_TABLE/.test(listener.last_error)))
  const again = connect(t, database)
  const trigger = async () => (await again`select xmin::text as written, pg_get_triggerdef(oid) as text from pg_trigger where tgname = 'fastify_pg_tail_insert'`)[0]!
  const before = await trigger()
  t.match(before.text, `('${settled.find(({ listener }) => listener.state === 'listening').channel}')`)
  // Each is looked at some times more.
  const looks = new Map<number, Set<string>>()
  const looking = async () => [...await sessions(again, 'reader%'), ...await sessions(again, 'lookup%')]
  await eventually(looking, (found) => {
    for (const { pid, since } of found) looks.set(pid, (looks.get(pid) ?? new Set()).add(since))
    return [...looks.values()].filter(({ size }) => size > 3).length >= 2
  })
  t.same(await trigger(), before)
  t.same((await statuses()).map(({ listener }) => listener.mode).sort(), ['listen', 'poll'])
})

/** What can become of one table, whether it can be read then, and what makes it whole again. */
const FAULTS: Record<string, { readable: boolean, act: (sql: ReturnType<typeof connect>) => Promise<() => Promise<unknown>> }> = {
  'dropped, and made anew': {
    readable: false,
    act: async (sql) => {
      await sql`drop table ci.line cascade`
      return () => sql.unsafe(LINES)
    }
  },
  'locked for longer than anybody waits': {
    readable: false,
    act: async (sql) => {
      const locker = await sql.reserve()
      await locker`begin`
      await locker`lock table ci.line in access exclusive mode`
      return async () => {
        await locker`commit`
        locker.release()
      }
    }
  },
  'without its runs': {
    readable: true,
    act: async (sql) => {
      await sql`drop table ci.build`
      return () => sql.unsafe(RUNS)
    }
  }
}

for (const [what, { readable, act }] of Object.entries(FAULTS)) {
  t.test(`one of them is ${what}: it is polled for and comes back, and the other goes on listening`, async (t) => {
    const { database, sql } = await setup(t)
    const { app, url } = await startApp(t, {
      connectionString: database, listenerHeartbeat: 50, timeout: 5000, ...both({ scrapes: SCRAPES, builds: { ...BUILDS, runs: { table: 'ci.build', status: 'state', finished: ['green'] } } })
    })
    const { notifyListener } = app
    const [scrapes, builds] = [await open(`${url}/logs/scrapes/stream`), await open(`${url}/logs/builds/stream`)]
    for (const name of ['scrapes', 'builds']) await eventually(() => statusOf(app, `/logs/${name}/status`), ({ doorbell }) => doorbell.state === 'armed')
    const fix = await act(sql)
    await mode(builds, 'poll')
    // Whoever looks in the middle of it finds something else first.
    const { listener } = await eventually(() => statusOf(app, '/logs/builds/status'), ({ listener }) => /^\w+; the log says more$|^no answer from PostgreSQL/.test(listener.last_error))
    t.match(listener, { state: 'polling', reconnects: 0 })
    await eventually(() => notifyListener.isReady('builds') === readable)
    t.same([notifyListener.isReady(), notifyListener.isReady('scrapes'), notifyListener.isReady('nobody')], [true, true, false])
    await scrape(sql, 'meanwhile')
    await message(scrapes, 'meanwhile')
    t.match((await statusOf(app, '/logs/scrapes/status')).listener, { state: 'listening', last_error: null })
    await fix()
    await mode(builds, 'listen')
    await build(sql, 'back')
    await message(builds, 'back')
    await eventually(() => notifyListener.isReady('builds'))
    t.match((await statusOf(app, '/logs/scrapes/status')).listener, { state: 'listening', reconnects: 0 })
    t.notOk(scrapes.events.some(({ data }) => data.type === 'mode'), 'that was no news to the other')
    for (const client of [scrapes, builds]) client.close()
  })
}

t.test('one of them is locked: replays of the other do not wait', async (t) => {
  const { database, sql } = await setup(t)
  await scrape(sql, 'before')
  const { app, url } = await startApp(t, { connectionString: database, ...both({ scrapes: SCRAPES, builds: BUILDS }) })
  const first = await open(`${url}/logs/builds/stream`)
  await build(sql, 'before')
  await message(first, 'before')
  const locker = await sql.reserve()
  await locker`begin`
  await locker`lock table ci.line in access exclusive mode`
  const clients = await Promise.all(Array.from({ length: 5 }, () => SseClient.connect(`${url}/logs/builds/stream?after=0`)))
  const waiting = () => sql`select from pg_locks join pg_stat_activity using (pid) where relation = 'ci.line'::regclass and not granted and application_name like 'fastify-pg-tail replay%'`
  await eventually(waiting, ({ length }) => length === 4)
  const other = await SseClient.connect(`${url}/logs/scrapes/stream?after=0`)
  await message(other, 'before')
  await locker`commit`
  locker.release()
  for (const client of clients) await message(client, 'before')
  await app.close()
})

t.test('one table of runs for two: its trigger is for the first, and stays as it is', async (t) => {
  const { database, sql } = await setup(t)
  const runs = { table: 'public.scraper_run', finished: ['finished'] }
  await startApp(t, { connectionString: database, listenerHeartbeat: 50, ...both({ scrapes: { ...SCRAPES, runs }, builds: { ...BUILDS, runs } }) })
  const trigger = () => sql`select xmin::text as written, pg_get_triggerdef(oid) as text from pg_trigger where tgname = 'fastify_pg_tail_runs'`
  const [before] = await trigger()
  t.match(before!.text, /scraper_log/)
  // Both are looked at, some times.
  const looks = new Map<number, Set<string>>()
  await eventually(() => sessions(sql, 'lookup%'), (readers) => {
    for (const { pid, query, since } of readers) if (query.includes('with root as')) looks.set(pid, (looks.get(pid) ?? new Set()).add(since))
    return [...looks.values()].filter(({ size }) => size > 3).length >= 2
  })
  t.same(await trigger(), [before])
})

t.test('three of them, and the server comes later', async (t) => {
  const { database, sql } = await setup(t)
  await sql`create table other_log (like scraper_log including all)`
  await sql.end()
  await server.stop()
  const { app, url } = await startApp(t, {
    connectionString: database, listenerHeartbeat: 50, ...both({ scrapes: SCRAPES, builds: BUILDS, others: { table: 'public.other_log', channel: 'others' } })
  }, { state: null })
  const names = ['scrapes', 'builds', 'others']
  const clients = await Promise.all(names.map((name) => open(`${url}/logs/${name}/stream`)))
  for (const { events } of clients) t.match(events[0]!.data, { mode: 'poll', message: /^The database cannot be read/ })
  t.notOk(app.notifyListener.isReady())
  await server.start()
  for (const client of clients) {
    await mode(client, 'listen')
    // From here on it has a place to start from.
    await client.waitFor(({ lastEventId }) => lastEventId !== '')
  }
  const again = connect(t, database)
  await scrape(again, 'scrapes')
  await build(again, 'builds')
  await again`insert into other_log (run_id, message) values (1, 'others')`
  for (const [i, name] of names.entries()) await message(clients[i]!, name)
  t.same(clients.map((client) => client.logs().map(({ message }) => message)), names.map((name) => [name]))
  for (const client of clients) client.close()
})

t.test('closed while it starts: nothing is opened afterwards', async (t) => {
  const { database, sql } = await setup(t)
  const said: unknown[] = []
  const say = (...what: unknown[]) => { said.push(what.at(-1)) }
  const log: any = { debug () {}, info () {}, warn: say, error: say, child: () => log }
  const service = new Service(readOptions({ connectionString: database, ...both({ scrapes: SCRAPES, builds: BUILDS }) }), log)
  const starting = service.start()
  await service.close()
  await starting
  t.equal(service.listener.state, 'closed')
  await eventually(() => sessions(sql), ({ length }) => length === 0)
  t.notOk(said.some((text) => /cannot be reached/.test(String(text))), 'it was not asked any more')
})

t.test('a guard for all holds for one that says another path, and knows which one it is', async (t) => {
  const { database } = await setup(t)
  const asked: unknown[] = []
  const authorize = (_request: unknown, what: object) => {
    asked.push(what)
    return false
  }
  const { app } = await startApp(t, {
    connectionString: database,
    stream: { authorize },
    status: { authorize },
    ...both({ scrapes: { ...SCRAPES, stream: { path: '/s' }, status: { path: '/state' } }, builds: { ...BUILDS, stream: { authorize: undefined as never, public: true } } })
  }, { state: null })
  for (const path of ['/logs/scrapes/s?run_id=7', '/logs/scrapes/state', '/logs/builds/stream', '/logs/builds/status']) t.equal((await app.inject(path)).statusCode, 403, path)
  t.same(asked, [{ run: '7', table: 'scrapes' }, { run: null, table: 'scrapes' }, { run: null, table: 'builds' }, { run: null, table: 'builds' }])
})

t.test('so does a hook for all, before its own', async (t) => {
  const asked: string[] = []
  const { app } = await startApp(t, {
    connectionString: (await setup(t)).database,
    stream: { onRequest: async (_request, reply) => { asked.push('all'); return reply.code(401).send() } },
    ...both({ scrapes: { ...SCRAPES, stream: { onRequest: async () => { asked.push('own') } } }, builds: { ...BUILDS, stream: { onRequest: [] } } })
  }, { state: null })
  for (const name of ['scrapes', 'builds']) t.equal((await app.inject(`/logs/${name}/stream`)).statusCode, 401, name)
  t.same(asked, ['all', 'all'])
})

t.test('what is said for all holds for each, unless it says otherwise', async (t) => {
  const authorize = () => true
  const { tables, prefix } = readOptions({
    connectionString: server.url,
    prefix: '/live',
    queueSize: 7,
    stream: { authorize, reauthorize: 500 },
    viewer: { authorize, levels: ['info'] },
    tables: { a: { table: 'a', queueSize: undefined as never, viewer: false }, b: { table: 'b', queueSize: 9, stream: { path: '/s' }, viewer: true, prefix: '/b' } }
  })
  t.equal(prefix, '/live')
  t.match(tables.a, { name: 'a', table: 'a', prefix: '/live/a', queueSize: 7, stream: { authorize, reauthorize: 500, path: '/stream' }, viewer: null })
  t.match(tables.b, { name: 'b', table: 'b', prefix: '/b', queueSize: 9, stream: { authorize, reauthorize: 500, path: '/s' }, viewer: { authorize, levels: ['info'] } })
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
  no({ tables: { a: { table: 'x' }, b: { table: 'x', channel: 'c' } } }, /"tables\.b\.channel" is "c"; give the same as tables\.a/)
  no({ payload: 'row', tables: { a: { table: 'x', payload: 'none' }, b: { table: 'x' } } }, /"tables\.b\.payload" is "row"; give the same as tables\.a/)
  no({ stream: true, tables: { a: { table: 'a', stream: { path: '/s' } } } }, /"stream" is true; give an object \(in tables\.a\)/)
  no({ metrics: {}, tables: { metrics: { table: 'a', viewer: true } } }, /"metrics\.path" is "\/metrics"; .* the viewer of metrics is there/)
})
