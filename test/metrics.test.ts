// What a scraper of Prometheus reads, and whether the app is ready.

import { readFile } from 'node:fs/promises'
import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import type { FastifyPgTailOptions } from '../plugin.ts'
import { startApp } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'
import type { SseClient } from './support/sse-client.ts'

const server = await startPostgres(t)
const INTERVALS = { pollInterval: 50, reconnect: { initialDelay: 50, maxDelay: 200 } }
let databases = 0

async function setup (t: Test, options: Partial<FastifyPgTailOptions> = {}) {
  const url = await createDatabase(t, server, `metrics_${++databases}`)
  const sql = connect(t, url)
  await createDemoTables(sql)
  return { sql, database: url, ...await startApp(t, { connectionString: url, ...INTERVALS, ...options }) }
}

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
  t.match(before, Object.fromEntries(['rows_total', 'deliveries_total', 'bytes_total', 'subscribers', 'gaps', 'reconnects_total', 'replays_total']
    .map((name) => [`fastify_pg_tail_${name}${TABLE}`, 0])))
  t.equal(of(before, 'listening'), 1)
  t.ok(of(before, 'notification_queue_usage_ratio')! < 0.01)

  const clients = [await stream(), await stream()]
  for (const client of clients) await client.until(({ data }) => data.type === 'connected')
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
  const two = await setup(t, { metrics: { registry }, prefix: '/other' })
  t.equal((await one.app.inject('/logs/metrics')).statusCode, 404, 'the host serves it')
  const figures = async () => parse(await registry.metrics())
  for (const { stream } of [one]) await (await stream()).until(({ data }) => data.type === 'connected')
  t.equal(of(await figures(), 'subscribers'), 1)
  t.equal(of(await figures(), 'listening'), 2, 'of both apps')
  await two.app.close()
  t.equal(of(await figures(), 'listening'), 1)
  await one.app.close()
  t.equal(of(await figures(), 'listening'), undefined)
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

t.test('every panel of the dashboard asks for metrics that there are', async (t) => {
  const { app } = await setup(t, { metrics: { public: true } })
  const names = new Set([...(await app.inject('/logs/metrics')).payload.matchAll(/^# TYPE (\w+) (\w+)$/gm)]
    .flatMap(([, name, type]) => type === 'histogram' ? [`${name}_bucket`, `${name}_count`, `${name}_sum`] : [name]))
  const { panels } = JSON.parse(await readFile(new URL('../examples/grafana.json', import.meta.url), 'utf8'))
  const asked = panels.flatMap((panel: any) => panel.targets.flatMap(({ expr }: any) => expr.match(/fastify_pg_tail_\w+/g)))
  t.ok(asked.length >= 12)
  for (const name of asked) t.ok(names.has(name), name)
})
