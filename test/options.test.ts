// What the options do, each with another value than its default.

import { fastifySSE } from '@fastify/sse'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { inspectTable } from '../lib/postgres/table.ts'
import { NotifyListener } from '../lib/tail/notify-listener.ts'
import fastifyPgTail, { type FastifyPgTailOptions } from '../plugin.ts'
import { startApp, statusCodeOf } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'
import { SseClient } from './support/sse-client.ts'

const server = await startPostgres(t)
let databases = 0

async function fresh (t: Test) {
  const url = await createDatabase(t, server, `options_${++databases}`)
  const sql = connect(t, url)
  await createDemoTables(sql)
  return { url, sql, write: (message: string) => sql`insert into scraper_log (run_id, message) values (7, ${message})` }
}

const message = (client: SseClient, text: string) => client.until(({ data }) => data.message === text)

t.test('other paths', async (t) => {
  const { url, write } = await fresh(t)
  const { app, url: origin } = await startApp(t, { connectionString: url, prefix: '/a/b', stream: { public: true, path: '/c' }, status: { public: true, path: '' } })
  const client = await SseClient.connect(`${origin}/a/b/c`)
  await client.until(({ data }) => data.type === 'connected')
  await write('here')
  t.ok(await message(client, 'here'))
  client.close()
  t.equal((await app.inject('/a/b')).statusCode, 200)
  for (const path of ['/logs/stream', '/logs/status', '/a/b/stream']) t.equal((await app.inject(path)).statusCode, 404, path)
})

t.test('routes in the hands of the host: authorize, hooks, config, its log', async (t) => {
  const { url } = await fresh(t)
  const lines: any[] = []
  const logger = { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } }
  const { app } = await startApp(t, {
    connectionString: url,
    stream: { preHandler: async (request, reply) => reply.code(418).send(request.routeOptions.config) as never, config: { tea: 'green' } as object },
    status: { authorize: ({ headers }) => headers['x-role'] === 'admin' },
    logLevel: 'silent'
  }, { server: { logger } })
  const stream = await app.inject('/logs/stream')
  t.equal(stream.statusCode, 418)
  t.match(stream.json(), { tea: 'green' })
  t.equal((await app.inject('/logs/status')).statusCode, 403)
  t.equal((await app.inject({ url: '/logs/status', headers: { 'x-role': 'admin' } })).statusCode, 200)
  t.ok(lines.some(({ msg }) => /listener connected/.test(msg)), 'ours is heard')
  t.notOk(lines.some(({ reqId }) => reqId !== undefined), 'requests are not')
})

t.test('a host that has @fastify/sse already', async (t) => {
  const { url, write } = await fresh(t)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifySSE)
  await app.register(fastifyPgTail, { connectionString: url, table: 'public.scraper_log', install: true, stream: { public: true }, retry: 1234 })
  const client = await SseClient.connect(`${await app.listen({ port: 0, host: '127.0.0.1' })}/logs/stream`)
  await client.until(({ data }) => data.type === 'connected')
  t.equal(client.retry, 1234)
  t.equal(client.headers['x-accel-buffering'], 'no', 'nginx does not buffer')
  await write('here')
  t.ok(await message(client, 'here'))
  client.close()
})

t.test('where to start: Last-Event-ID before after, after before tail', async (t) => {
  const { url, write } = await fresh(t)
  for (let i = 1; i <= 5; i++) await write(`row ${i}`)
  const { stream } = await startApp(t, { connectionString: url })
  const first = async (query: string, lastEventId?: string) => {
    const client = await stream(query, lastEventId === undefined ? {} : { lastEventId })
    const { data } = await client.until(({ data }) => data.type === 'log')
    client.close()
    return data.message
  }
  t.equal(await first('tail=1'), 'row 5')
  t.equal(await first('tail=1&after=2'), 'row 3')
  t.equal(await first('tail=1&after=2', '3'), 'row 4')
})

t.test("runs by other names, and payload: 'row'", async (t) => {
  const { url, sql, write } = await fresh(t)
  await sql`create table job (no bigint primary key, phase text)`
  const heard: string[] = []
  await sql.listen('jobs', (payload) => { heard.push(payload) })
  const { stream } = await startApp(t, { connectionString: url, channel: 'jobs', payload: 'row', runs: { table: 'job', id: 'no', status: 'phase', finished: ['over', 'dead'] } })
  const client = await stream('run_id=7')
  await client.until(({ data }) => data.type === 'connected')
  await write('here')
  await eventually(() => heard.some((payload) => payload.includes('"here"')))
  await sql`insert into job values (7, 'dead')`
  t.match(await client.until(({ data }) => data.type === 'stopped'), { data: { run_id: 7, status: 'dead', rows: 1 } })
  t.equal(await client.ended, 'end')
})

t.test('a partition that comes later gets its trigger by itself', async (t) => {
  const { url, sql } = await fresh(t)
  await sql.unsafe('create table parts (id bigint generated always as identity, run_id bigint, level text, message text, created_at timestamptz default now(), primary key (id)) partition by range (id)')
  await sql.unsafe('create table parts_1 partition of parts for values from (0) to (1000)')
  await startApp(t, { connectionString: url, table: 'parts', listenerHeartbeat: 50 })
  await sql.unsafe('create table parts_2 partition of parts for values from (1000) to (2000)')
  await eventually(() => sql`select from pg_trigger where tgrelid = 'parts_2'::regclass and tgname like 'fastify_pg_tail%'`, ({ length }) => length > 0)
})

t.test('the longest times there are', async (t) => {
  const { url, write } = await fresh(t)
  const never = 2 ** 31 - 1
  await write('before')
  const { stream } = await startApp(t, { connectionString: url, timeout: never, heartbeat: never, stallTimeout: never, listenerHeartbeat: never, pollInterval: never, reconnect: { initialDelay: never, maxDelay: never } })
  const client = await stream('after=0')
  await message(client, 'before')
  await write('after')
  await message(client, 'after')
  client.close()
})

t.test("ids are exact, whatever the host's instance makes of a bigint", async (t) => {
  const { url, sql } = await fresh(t)
  const host = connect(t, url, { types: { bigint: { to: 20, from: [20], serialize: String, parse: Number } } })
  await sql`select setval('scraper_log_id_seq', 9007199254740992)`
  const { stream } = await startApp(t, { sql: host, install: true })
  const client = await stream()
  await client.until(({ data }) => data.type === 'connected')
  for (let i = 0; i < 3; i++) await sql`insert into scraper_log (run_id, message) values (7, 'x')`
  await client.waitFor(() => client.logs().length === 3)
  t.same(client.logs().map(({ id }) => id), ['9007199254740993', '9007199254740994', '9007199254740995'])
  client.close()
})

t.test("a page that is full is not the last one, whatever the host's instance makes of a boolean", async (t) => {
  const { url, sql } = await fresh(t)
  const host = connect(t, url, { types: { bool: { to: 16, from: [16], serialize: String, parse: (text: string) => text === 't' ? 1 : 0 } } })
  await sql`insert into scraper_log (run_id, message) select 7, repeat('x', 1000) from generate_series(1, 400)`
  const { stream } = await startApp(t, { sql: host, install: true })
  const client = await stream('after=0')
  await client.waitFor(() => client.logs().length === 400)
  t.same(client.logs().map(({ id }) => id), Array.from({ length: 400 }, (_, i) => i + 1))
  client.close()
})

t.test('a hot standby, and what is too old', async (t) => {
  const answers = (row: object) => Object.assign(async () => [row], { unsafe: async () => [row] }) as never
  const columns = { id: 'id', run: 'run_id', level: 'level', message: 'message', timestamp: 'created_at', extra: [] }
  await t.rejects(inspectTable(answers({ version: 160000, standby: true }), 'x', columns), { code: 'FST_PG_TAIL_SERVER', message: /standby/ })
  await t.rejects(inspectTable(answers({ version: 130012, standby: false }), 'x', columns), { code: 'FST_PG_TAIL_SERVER', message: /14/ })
})

t.test('start() twice, and a session that hears no more', async (t) => {
  const { url, sql } = await fresh(t)
  const log = { debug () {}, info () {}, warn () {}, error () {} } as any
  const listener = new NotifyListener({
    connection: url, heartbeat: 2, timeout: 5000, reconnect: { initialDelay: 1, maxDelay: 60_000, maxAttempts: 10 }, log, notify: (channel) => sql.notify(channel, ''), canRead: () => true, onsilence () {}
  })
  t.teardown(() => listener.close())
  const channel = listener.hear({ name: 'log_updates', findObstacle: async () => null, log })
  for (let i = 0; i < 2; i++) listener.start()
  await eventually(() => listener.state === 'listening')
  t.match(await sql`select count(*)::int as count from pg_stat_activity where application_name = 'fastify-pg-tail listener' and datname = current_database()`, [{ count: 1 }])
  // Now and then it rings for itself, and finds out.
  const lost = new Promise<void>((resolve) => listener.on('state', () => { if (/no notification comes through/.test(listener.status().last_error ?? '')) resolve() }))
  await channel.session!`unlisten *`
  await lost
  await eventually(() => listener.state === 'listening')
})

t.test('a link that dies just as it is tried whether bells come through is dead, and no pooler', async (t) => {
  const { url, sql } = await fresh(t)
  const proxy = await TcpProxy.start(t, server.port)
  const log = { debug () {}, info () {}, warn () {}, error () {} } as any
  let proofs = 0
  let silent = false
  const listener = new NotifyListener({
    connection: proxy.url(url),
    heartbeat: 2,
    timeout: 5000,
    reconnect: { initialDelay: 60_000, maxDelay: 60_000, maxAttempts: 10 },
    log,
    notify: (channel) => {
      if (++proofs === 2) proxy.blackhole()
      return sql.notify(channel, '')
    },
    canRead: () => true,
    onsilence () { silent = true }
  })
  t.teardown(() => listener.close())
  listener.hear({ name: 'log_updates', findObstacle: async () => null, log })
  listener.start()
  const { last_error: error } = await eventually(() => listener.status(), ({ last_error: error }) => error !== null)
  t.equal(proofs, 2)
  t.equal(error, 'no answer from PostgreSQL within 5000 ms')
  t.ok(silent, 'others may be as dead')
})

t.test('cursors of another life of the table, for a run that is over', async (t) => {
  const { url, sql, write } = await fresh(t)
  const options: Partial<FastifyPgTailOptions> = { connectionString: url, runs: { table: 'scraper_run', finished: ['finished'] } }
  const { stream } = await startApp(t, options)
  await sql`insert into scraper_run (id, name, status) overriding system value values (7, 'x', 'finished')`
  for (let i = 1; i <= 5; i++) await write(`row ${i}`)
  t.equal(await statusCodeOf(() => stream('run_id=7', { lastEventId: '5' })), 204, 'has all of it')
  await sql`truncate scraper_log restart identity`
  await write('another life')
  const client = await stream('run_id=7', { lastEventId: '5' })
  await client.until(({ data }) => data.type === 'stopped')
  t.same(client.events.map(({ data }) => data.type), ['connected', 'reset', 'log', 'stopped'])
  t.equal(await statusCodeOf(() => stream('run_id=7', { lastEventId: '1' })), 204)
  await sql`insert into scraper_log (id, run_id, message) overriding system value values (1000, 7, 'by hand')`
  t.equal(await statusCodeOf(() => stream('run_id=7', { lastEventId: '1000' })), 204, 'an id above the sequence')
})
