// What a scraper of Prometheus reads, and whether the app is ready.

import { readFile } from 'node:fs/promises'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import { Metrics } from '../lib/metrics.ts'
import type { FastifyPgTailOptions, ListenerState } from '../plugin.ts'
import { startApp } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'
import { SseClient } from './support/sse-client.ts'

const server = await startPostgres(t)
const INTERVALS = { pollInterval: 50, reconnect: { initialDelay: 50, maxDelay: 200 } }
let databases = 0

async function setup (t: Test, options: Partial<FastifyPgTailOptions> = {}, state: ListenerState = 'listening') {
  const url = await createDatabase(t, server, `metrics_${++databases}`)
  const sql = connect(t, url)
  await createDemoTables(sql)
  await sql`create table other_log (like scraper_log including all)`
  const write = (message: string) => sql`insert into scraper_log (run_id, message) values (1, ${message})`
  return { sql, write, database: url, ...await startApp(t, { connectionString: url, ...INTERVALS, ...options }, { state }) }
}

/** Ends sessions of the plugin in this database. Resolves with their pids. */
const kill = (sql: ReturnType<typeof connect>, name: string) => eventually(() => sql`
  select pid, pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name like ${name} and datname = current_database()`, ({ length }) => length > 0)

const message = (client: SseClient, wanted: string) => client.until(({ data }) => data.message === wanted)

/** Name and labels, and what they say. */
function parse (text: string): Record<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]))
}

const TABLE = '{table="public.scraper_log"}'
const of = (figures: Record<string, number>, name: string, labels = TABLE) => figures[`fastify_pg_tail_${name}${labels}`]

t.test('each figure is what has happened', async (t) => {
  const { app, sql, stream, database } = await setup(t, { metrics: { public: true } })
  const read = async () => {
    const { payload, headers, statusCode } = await app.inject('/logs/metrics')
    t.equal(statusCode, 200)
    t.match(headers, { 'content-type': /^text\/plain; version=0\.0\.4/, 'cache-control': 'no-store' })
    return parse(payload)
  }
  const before = await read()
  t.match(before, Object.fromEntries(['rows_total', 'deliveries_total', 'bytes_total', 'subscribers', 'gaps', 'replays_total']
    .map((name) => [`fastify_pg_tail_${name}${TABLE}`, 0])))
  t.equal(of(before, 'listening'), 1)
  t.equal(of(before, 'reconnects_total', ''), 0)
  t.ok(of(before, 'notification_queue_usage_ratio', '')! < 0.01)

  const clients = [await stream(), await stream()]
  for (const client of clients) await client.until(({ data }) => data.type === 'connected')
  await eventually(async () => (await app.inject('/logs/status')).json().doorbell.state === 'armed')
  for (const name of ['a', 'b', 'c']) {
    await sql`insert into scraper_log (run_id, message) values (1, ${name})`
    for (const client of clients) await message(client, name)
  }
  const late = await stream('after=0')
  await message(late, 'c')
  const open = connect(t, database, { max: 1 })
  await open`begin`
  await open`insert into scraper_log (run_id, message) values (1, 'open')`
  await sql`insert into scraper_log (run_id, message) values (1, 'd')`
  for (const client of [...clients, late]) await message(client, 'd')
  const after = await eventually(read, (figures) => of(figures, 'gaps') === 1)
  t.equal(of(after, 'rows_total'), 4)
  t.equal(of(after, 'frames_total'), 4)
  t.equal(of(after, 'deliveries_total'), 3 * 2 + 3)
  t.equal(of(after, 'subscribers'), 3)
  t.equal(of(after, 'subscribers_replaying'), 0)
  t.equal(of(after, 'replays_total'), 1)
  t.ok(of(after, 'reads_total')! >= 4)
  t.ok(of(after, 'bells_total')! >= 1)
  const bytes = [...clients, late].reduce((sum, client) => sum + client.events.filter(({ data }) => data.type === 'log').reduce((sum, { raw }) => sum + Buffer.byteLength(raw), 0), 0)
  t.equal(of(after, 'bytes_total'), bytes, 'those of the rows')
  const count = of(after, 'latency_seconds_count')!
  t.ok(count >= 1 && count <= 4, 'once a batch')
  t.equal(of(after, 'latency_seconds_bucket', '{le="+Inf",table="public.scraper_log"}'), count)
  await open`rollback`
  for (const client of [...clients, late]) client.close()
  await eventually(read, (figures) => of(figures, 'subscribers') === 0)
})

t.test("in the host's registry, beside what it has, for several apps, as long as they are there", async (t) => {
  const registry = new Registry()
  const one = await setup(t, { metrics: { registry } })
  const two = await setup(t, { metrics: { registry }, prefix: '/other', install: false }, 'polling')
  t.equal((await one.app.inject('/logs/metrics')).statusCode, 404, 'the host serves it')
  const figures = async () => parse(await registry.metrics())
  const clients = [await one.stream(), await SseClient.connect(`${two.url}/other/stream`)]
  for (const client of clients) await client.until(({ data }) => data.type === 'connected')
  for (const [i, { write }] of [one, two].entries()) {
    await write('a')
    await message(clients[i]!, 'a')
  }
  const both = await figures()
  t.same([of(both, 'subscribers'), of(both, 'rows_total'), of(both, 'listening')], [2, 2, 0], 'the sum, but for what is no sum')
  await two.write('b')
  await message(clients[1]!, 'b')
  await two.app.close()
  const left = await figures()
  t.same([of(left, 'subscribers'), of(left, 'rows_total'), of(left, 'listening')], [1, 3, 1], 'what was counted stays')
  await one.app.close()
  t.same([of(await figures(), 'listening'), of(await figures(), 'rows_total')], [undefined, 3])
  const again = await setup(t, { metrics: { registry } })
  t.same([of(await figures(), 'listening'), of(await figures(), 'rows_total')], [1, 3])
  await again.app.close()
})

t.test('several tables: each by its name in the options; what belongs to the session, once', async (t) => {
  const { app, sql, write, url } = await setup(t, {
    table: undefined as never, metrics: { public: true }, tables: { scrapes: { table: 'scraper_log' }, others: { table: 'public.other_log', channel: 'others' } }
  })
  const client = await SseClient.connect(`${url}/logs/scrapes/stream`)
  await client.until(({ data }) => data.type === 'connected')
  await write('a')
  await message(client, 'a')
  await kill(sql, 'fastify-pg-tail listener')
  const read = async () => parse((await app.inject('/logs/metrics')).payload)
  const figures = await eventually(read, (figures) => of(figures, 'reconnects_total', '') === 1 && ['scrapes', 'others'].every((table) => of(figures, 'listening', `{table="${table}"}`) === 1))
  t.same([of(figures, 'rows_total', '{table="scrapes"}'), of(figures, 'rows_total', '{table="others"}')], [1, 0])
  t.ok(of(figures, 'latency_seconds_count', '{table="scrapes"}')! >= 1)
  t.equal(Object.keys(figures).filter((name) => /reconnects|usage/.test(name)).length, 2)
  client.close()
})

t.test('one look for all metrics of a scrape', async (t) => {
  const registry = new Registry()
  let looks = 0
  const metrics = await Metrics.create(registry, () => {
    looks++
    return { reconnects: 0, queueUsage: null, tables: [] }
  })
  for (const expected of [1, 2]) {
    await registry.metrics()
    t.equal(looks, expected)
  }
  metrics.remove()
})

t.test('the route is closed until somebody opens it', async (t) => {
  const { app } = await setup(t, { metrics: {} })
  const closed = await app.inject('/logs/metrics')
  t.match([closed.statusCode, closed.json()], [403, { code: 'FST_PG_TAIL_FORBIDDEN', message: /metrics\.authorize/ }])
  const guarded = await setup(t, { metrics: { path: '/figures', authorize: ({ headers }) => headers.authorization === 'Bearer prometheus' } })
  t.equal((await guarded.app.inject('/logs/figures')).statusCode, 403)
  t.equal((await guarded.app.inject({ url: '/logs/figures', headers: { authorization: 'Bearer prometheus' } })).statusCode, 200)
})

t.test('wrong options', async (t) => {
  const no = (metrics: any, message: RegExp) => t.rejects(setup(t, { metrics }), { code: 'FST_PG_TAIL_OPTION', message })
  await no(true, /"metrics" is/)
  await no({ registry: {} }, /"metrics\.registry" .* prom-client/)
  await no({ registry: new Registry(), path: '/x' }, /"metrics\.path" .* leave it out/)
})

t.test('ready: once the table is known, also where rows are polled for, and not while the server is away', async (t) => {
  const own = await startPostgres(t)
  await createDemoTables(connect(t, own.url))
  const { app } = await startApp(t, { connectionString: own.url, ...INTERVALS, listenerHeartbeat: 50, timeout: 2000 })
  t.ok(app.notifyListener.isReady())
  const polls = await startApp(t, { connectionString: own.url, ...INTERVALS, install: false, channel: 'nobody_rings', listenerHeartbeat: 50, timeout: 2000 }, { state: 'polling' })
  await eventually(() => polls.app.notifyListener.isReady())
  await own.stop()
  for (const { notifyListener } of [app, polls.app]) await eventually(() => !notifyListener.isReady())
  await own.start()
  for (const { notifyListener } of [app, polls.app]) await eventually(() => notifyListener.isReady())
  await app.close()
  t.notOk(app.notifyListener.isReady())
})

t.test('the server was away while nobody watched: ready again once the listener is back', async (t) => {
  const own = await startPostgres(t)
  await createDemoTables(connect(t, own.url))
  // No heartbeat comes: the look at the return of the listener has to see it.
  const { app } = await startApp(t, { connectionString: own.url, ...INTERVALS, listenerHeartbeat: 600_000 })
  await own.stop()
  await eventually(() => !app.notifyListener.isReady())
  await own.start()
  await eventually(() => app.notifyListener.isReady())
})

t.test('a session that nobody used is lost alone: ready again, though nobody asks for anything', async (t) => {
  const { app, sql } = await setup(t, { listenerHeartbeat: 600_000 })
  t.ok(app.notifyListener.isReady())
  const [killed] = await kill(sql, 'fastify-pg-tail reader%')
  await eventually(() => sql`select from pg_stat_activity where application_name like 'fastify-pg-tail reader%' and datname = current_database() and pid <> ${killed!.pid}`, ({ length }) => length > 0)
  await eventually(() => app.notifyListener.isReady())
  t.equal(app.notifyListener.status().reconnects, 0)
})

t.test('every panel of the dashboard asks for metrics that there are, by labels that they have', async (t) => {
  const { app } = await setup(t, { metrics: { public: true } })
  const { payload } = await app.inject('/logs/metrics')
  const names = new Set([...payload.matchAll(/^# TYPE (\w+) (\w+)$/gm)]
    .flatMap(([, name, type]) => type === 'histogram' ? [`${name}_bucket`, `${name}_count`, `${name}_sum`] : [name]))
  const { panels } = JSON.parse(await readFile(new URL('../examples/grafana.json', import.meta.url), 'utf8'))
  const asked = panels.flatMap((panel: any) => panel.targets.flatMap(({ expr }: any) => expr.match(/fastify_pg_tail_\w+/g)))
  t.ok(asked.length >= 12)
  for (const name of asked) t.ok(names.has(name), name)
  for (const [, name, labels] of JSON.stringify(panels).matchAll(/(fastify_pg_tail_\w+)\{(.*?)\}/g)) {
    if (!name!.includes('latency')) t.equal(labels!.includes('table=~'), payload.includes(`\n${name}{table=`), name!)
  }
})
