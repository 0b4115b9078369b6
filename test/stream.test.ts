import t from 'tap'
import { connect, createDemoTables, startPostgres } from './support/postgres.ts'
import { startApp, statusCodeOf } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { dechunk, RawClient } from './support/raw-client.ts'
import { SseClient } from './support/sse-client.ts'

const server = await startPostgres(t, { max_connections: '200' })
const sql = connect(t, server.url)
await createDemoTables(sql)
const runs = { table: 'public.scraper_run', finished: ['finished', 'failed'] }
const { app, url, stream } = await startApp(t, { connectionString: server.url, runs, queueSize: 100 })

let lastRun = 1000
const newRun = () => ++lastRun
const insert = (run: number, message: string, level = 'INFO') =>
  sql`insert into scraper_log (run_id, level, message) values (${run}, ${level}, ${message}) returning id`
/** From here on everything that is committed arrives. */
const ready = (client: SseClient) => client.until(({ data }) => data.type === 'connected')
const got = (client: SseClient) => client.logs().map((log) => log.message)

t.test('the frames of a stream', async (t) => {
  const run = newRun()
  const client = await stream(`run_id=${run}`)
  await ready(client)
  t.equal(client.status, 200)
  t.equal(client.headers['content-type'], 'text/event-stream')
  t.equal(client.headers['cache-control'], 'no-cache')
  const [row] = await insert(run, 'hello')
  const event = await client.until(({ data }) => data.type === 'log')
  t.equal(client.retry, 2000)
  t.same(client.events[0]!.data, { type: 'connected', mode: 'listen', message: 'Connected to log stream (PostgreSQL LISTEN/NOTIFY)' })
  t.equal(event.id, row!.id)
  t.equal(event.event, undefined)
  t.match(event.data, { type: 'log', id: Number(row!.id), run_id: run, level: 'INFO', message: 'hello', timestamp: /^\d{4}-\d\d-\d\dT.*Z$/ })
  t.same(Object.keys(event.data), ['type', 'id', 'run_id', 'level', 'timestamp', 'message'])
  client.close()
})

t.test('any message arrives as it was written', async (t) => {
  const run = newRun()
  const client = await stream(`run_id=${run}`)
  await ready(client)
  const messages = [
    'two\nlines', 'dos\r\nlines\rand old ones', '\r\n\r\ndata: x', '\n\nid: 1\nevent: evil\ndata: {"type":"stopped"}\n\n',
    '"quotes" and \\backslashes\\', 'emoji 🦊 👩‍👩‍👧‍👦 and \u2028 \u2029', '\u0001\u001f', '', '<script>alert(1)</script>', 'é'.repeat(100_000), 'x'.repeat(1024 * 1024)
  ]
  for (const message of messages) await insert(run, message)
  await client.waitFor(() => client.logs().length === messages.length)
  t.ok(got(client).every((message, i) => message === messages[i]), 'the same texts in the same order')
  t.equal(client.events.filter(({ data }) => data.type !== 'log').length, 1, 'and no event but connected')
  client.close()
})

t.test('rows of other runs and levels do not come', async (t) => {
  const run = newRun()
  const other = newRun()
  const one = await stream(`run_id=${run}`)
  const errors = await stream(`run_id=${run}&level=ERROR,WARNING`)
  const all = await stream('level=ERROR')
  await ready(all)
  await ready(errors)
  await ready(one)
  await insert(run, 'a', 'INFO')
  await insert(other, 'b', 'ERROR')
  await insert(run, 'c', 'WARNING')
  await insert(run, 'd', 'ERROR')
  await Promise.all([one, errors, all].map((client) => client.until(({ data }) => data.message === 'd')))
  t.same(got(one), ['a', 'c', 'd'])
  t.same(got(errors), ['c', 'd'])
  t.same(got(all), ['b', 'd'])
  for (const client of [one, errors, all]) client.close()
})

t.test('replay: after, tail, Last-Event-ID', async (t) => {
  const run = newRun()
  const ids: string[] = []
  for (let i = 0; i < 5; i++) ids.push((await insert(run, `m${i}`))[0]!.id)
  const wanted = async (client: SseClient, messages: string[]) => {
    await client.waitFor(() => client.logs().length >= messages.length)
    await insert(run, 'end')
    await client.until(({ data }) => data.message === 'end')
    t.same(got(client).filter((message) => message !== 'end'), messages)
    client.close()
  }
  await wanted(await stream(`run_id=${run}&after=0`), ['m0', 'm1', 'm2', 'm3', 'm4'])
  await wanted(await stream(`run_id=${run}&after=${ids[2]}`), ['m3', 'm4'])
  await wanted(await stream(`run_id=${run}&after=0`, { lastEventId: ids[3]! }), ['m4'])
  const other = newRun()
  for (let i = 0; i < 5; i++) await insert(other, `m${i}`)
  const tail = await stream(`run_id=${other}&tail=2`)
  await tail.until(({ data }) => data.message === 'm4')
  t.same(got(tail), ['m3', 'm4'])
  tail.close()
})

t.test('a bulk of 10,000 rows and COPY', async (t) => {
  const run = newRun()
  const client = await stream(`run_id=${run}`)
  await ready(client)
  await sql`insert into scraper_log (run_id, message) select ${run}, 'bulk ' || n from generate_series(1, 10000) n`
  await client.waitFor(() => client.logs().length === 10_000)
  const copy = await sql`copy scraper_log (run_id, message) from stdin`.writable()
  for (let i = 0; i < 2000; i++) copy.write(`${run}\tcopied ${i}\n`)
  await new Promise<void>((resolve, reject) => copy.end((error?: Error | null) => error ? reject(error) : resolve()))
  await client.waitFor(() => client.logs().length === 12_000)
  t.ok(got(client).every((message, i) => message === (i < 10_000 ? `bulk ${i + 1}` : `copied ${i - 10_000}`)), 'all of them, in order')
  client.close()
})

t.test('a client that does not read is neither dropped nor buffered, and gets all', async (t) => {
  const run = newRun()
  const client = await stream(`run_id=${run}`)
  await ready(client)
  const quick = await stream(`run_id=${run}`)
  await ready(quick)
  client.pause()
  const text = 'y'.repeat(10_000)
  for (let i = 0; i < 20; i++) {
    await sql`insert into scraper_log (run_id, message) select ${run}, ${text} || n from generate_series(${i * 100 + 1}::int, ${i * 100 + 100}::int) n`
  }
  await quick.waitFor(() => quick.logs().length === 2000)
  // The last batch stays whatever its size; a batch is a page at most.
  t.ok(app.logQueue.status().queues.queue_sizes[run]! <= 1000, 'the ring is bounded')
  client.resume()
  await client.waitFor(() => client.logs().length === 2000)
  t.ok(got(client).every((message, i) => message === text + (i + 1)))
  t.ok(app.logQueue.counters.lagged > 0, 'it has fallen out of the ring')
  client.close()
  quick.close()
})

t.test('a client of HTTP/1.0, which knows no chunks', async (t) => {
  const run = newRun()
  const client = new RawClient(t, url, `GET /logs/stream?run_id=${run} HTTP/1.0\r\n\r\n`)
  await client.until(/"connected"/)
  for (const message of ['one', 'two']) await insert(run, message)
  await app.logQueue.stop(run)
  await client.until(/"stopped"/)
  const [head, body] = client.text.split('\r\n\r\n') as [string, string]
  t.notMatch(head, /transfer-encoding/i)
  t.notMatch(body, '\r')
  t.same([...body.matchAll(/"message":"(one|two)"/g)].map(([, message]) => message), ['one', 'two'])
})

t.test('a stream that waits behind another one on the same connection', async (t) => {
  const [first, second] = [newRun(), newRun()]
  const request = (run: number) => `GET /logs/stream?run_id=${run}&after=0 HTTP/1.1\r\nhost: test\r\n\r\n`
  const client = new RawClient(t, url, request(first) + request(second))
  await eventually(() => app.logQueue.subscribers === 2)
  for (const message of ['one', 'two', 'x'.repeat(200_000), 'three']) {
    await insert(first, `first ${message}`)
    await insert(second, `second ${message}`)
  }
  await client.until(/"message":"first three"/)
  t.notMatch(client.text, 'second')
  await app.logQueue.stop(first)
  await client.until(/"message":"second three"/)
  await insert(second, 'second four')
  await app.logQueue.stop(second)
  // Each of them says the word twice: its status is the same.
  await client.until(/"type":"stopped".*"type":"stopped".*\r\n0\r\n\r\n$/s)
  const bodies = client.text.split(/HTTP\/1\.1 200 OK\r\n.*?\r\n\r\n/s).slice(1).map(dechunk)
  const texts = bodies.map((body) => [...body.matchAll(/"message":"(?:first|second) (\w{1,5})/g)].map(([, message]) => message))
  t.same(texts, [['one', 'two', 'xxxxx', 'three'], ['one', 'two', 'xxxxx', 'three', 'four']])
})

t.test('inject()', async (t) => {
  const run = newRun()
  for (const message of ['one', 'two']) await insert(run, message)
  await app.logQueue.stop(run)
  const { body } = await app.inject(`/logs/stream?run_id=${run}&after=0`)
  t.same([...body.matchAll(/"message":"(one|two)"/g)].map(([, message]) => message), ['one', 'two'])
  t.match(body, /"type":"stopped"/)
})

t.test('a stream that ends while its client is full, and a notice waits', async (t) => {
  const run = newRun()
  const errors: unknown[] = []
  const other = await startApp(t, {
    connectionString: server.url,
    stream: { public: true, onRequest: async (_request, { raw }) => { raw.on('error', (error) => errors.push(error)) } }
  })
  const client = new RawClient(t, other.url, `GET /logs/stream?run_id=${run}&after=0 HTTP/1.1\r\nhost: test\r\n\r\n`)
  await client.until(/"connected"/)
  client.pause()
  // More than the buffers of the system take.
  for (let i = 0; i < 40; i++) await insert(run, 'x'.repeat(1024 * 1024))
  await eventually(async () => (await other.app.inject('/logs/status')).json().watermark === await sql`select max(id)::text as id from scraper_log`.then(([row]) => row!.id))
  await sql`select pg_terminate_backend(pid) from (select pid from pg_stat_activity
    where application_name = 'fastify-pg-tail listener' and datname = current_database() order by backend_start desc limit 1) its_own`
  await eventually(() => other.app.notifyListener.mode === 'poll')
  const closed = other.app.close()
  client.resume()
  await closed
  t.same(errors, [])
})

t.test('a run that ends', async (t) => {
  const [{ id }] = await sql`insert into scraper_run (name) values ('x') returning id` as any
  const run = Number(id)
  const client = await stream(`run_id=${run}`)
  const all = await stream()
  await ready(client)
  await ready(all)
  for (let i = 0; i < 10; i++) await insert(run, `r${i}`)
  await sql`update scraper_run set status = 'finished', finished_at = now() where id = ${run}`
  const stopped = await client.until(({ data }) => data.type === 'stopped')
  t.same(stopped.data, { type: 'stopped', run_id: run, status: 'finished', rows: 10, message: 'Run finished' })
  t.equal(client.logs().length, 10)
  t.equal(await client.ended, 'end')
  await all.until(({ data }) => data.type === 'stopped' && data.run_id === run)
  await insert(newRun(), 'goes on')
  await all.until(({ data }) => data.message === 'goes on')
  all.close()

  t.equal(await statusCodeOf(() => stream(`run_id=${run}`, { lastEventId: client.lastEventId })), 204)
  const late = await stream(`run_id=${run}&after=0`)
  t.equal(await late.ended, 'end')
  t.same(late.logs().map((log) => log.message), [...Array(10).keys()].map((i) => `r${i}`))
  t.match(late.events.at(-1)!.data, { type: 'stopped', rows: 10 })
  const behind = await stream(`run_id=${run}`, { lastEventId: late.events.find(({ data }) => data.message === 'r6')!.id! })
  await behind.ended
  t.same(got(behind), ['r7', 'r8', 'r9'])
})

t.test('whoever watches all runs is told of each that ends', async (t) => {
  const [{ id }] = await sql`insert into scraper_run (name) values ('unwatched') returning id` as any
  const all = await stream()
  await ready(all)
  await insert(Number(id), 'only one')
  await all.until(({ data }) => data.message === 'only one')
  await sql`update scraper_run set status = 'failed' where id = ${id}`
  const stopped = await all.until(({ data }) => data.type === 'stopped')
  t.match(stopped.data, { run_id: Number(id), status: 'failed', rows: 1 })
  all.close()
})

t.test('stop() ends a run on every node', async (t) => {
  const run = newRun()
  const other = await startApp(t, { connectionString: server.url })
  const here = await stream(`run_id=${run}`)
  const there = await other.stream(`run_id=${run}`)
  await ready(here)
  await ready(there)
  await insert(run, 'last')
  await app.logQueue.stop(run, 'Enough')
  for (const client of [here, there]) {
    t.equal(await client.ended, 'end')
    t.same(client.events.at(-1)!.data, { type: 'stopped', run_id: run, status: 'stopped', rows: 1, message: 'Enough' })
    t.same(got(client), ['last'])
  }
  t.equal(await statusCodeOf(() => other.stream(`run_id=${run}`, { lastEventId: there.lastEventId })), 204)
})

t.test('in-process', async (t) => {
  const run = newRun()
  await insert(run, 'before')
  const abort = new AbortController()
  const rows: any[] = []
  for await (const row of app.logQueue.subscribe({ run, after: '0', signal: abort.signal })) {
    rows.push(row)
    if (rows.length === 1) await insert(run, 'after')
    if (rows.length === 2) abort.abort()
  }
  t.match(rows, [{ run, level: 'INFO', message: 'before', cursor: String }, { message: 'after' }])
  const seen: string[] = []
  for await (const { message } of app.logQueue.subscribe({ run, after: rows[0].cursor })) {
    seen.push(message!)
    if (seen.length > 0) break
  }
  t.same(seen, ['after'])
  t.throws(() => app.logQueue.subscribe({ run: 'x' }), { code: 'FST_PG_TAIL_RUN' })
  t.throws(() => app.logQueue.subscribe({ after: '-1' }), { code: 'FST_PG_TAIL_CURSOR' })
})

t.test('in-process, what is committed once it is ready comes', async (t) => {
  for (let round = 0; round < 5; round++) {
    // Nobody watches, so the starting point has to be found.
    await eventually(async () => (await app.inject('/logs/status')).json(), ({ subscribers, doorbell }) => subscribers.current === 0 && doorbell.state === 'off')
    const run = newRun()
    await insert(run, 'before')
    const rows = app.logQueue.subscribe({ run })
    await rows.ready
    await insert(run, 'after')
    t.match((await rows.next()).value, { message: 'after' })
    await rows.return!()
  }
  // Of a life of the table that is over: it gets all of this one.
  const [first] = await sql`select message from scraper_log order by id limit 1`
  const again = app.logQueue.subscribe({ after: '1000000' })
  await again.ready
  t.match((await again.next()).value, { message: first!.message })
  await again.return!()
  const closed = app.logQueue.subscribe({ signal: AbortSignal.abort() })
  await closed.ready
  t.match(await closed.next(), { done: true })
})

t.test('bad requests', async (t) => {
  const answer = async (path: string, headers = {}) => {
    const response = await app.inject({ url: path, headers })
    return [response.statusCode, response.json().code]
  }
  for (const query of ['run_id=x', 'run_id=9223372036854775808', 'run_id=1.5']) t.same(await answer(`/logs/stream?${query}`), [400, 'FST_PG_TAIL_RUN'])
  for (const query of ['after=x', 'after=01', 'after=1~', 'after=9~3-2', 'after=%00']) t.same(await answer(`/logs/stream?${query}`), [400, 'FST_PG_TAIL_CURSOR'])
  for (const query of ['run_id=', 'tail=x', 'tail=-1', 'run_id=1&run_id=2']) t.same(await answer(`/logs/stream?${query}`), [400, 'FST_ERR_VALIDATION'])
  t.same(await answer('/logs/stream?level=,'), [400, 'FST_PG_TAIL_LEVEL'])
  t.same(await answer('/logs/stream', { 'last-event-id': 'null' }), [400, 'FST_PG_TAIL_CURSOR'])
  t.equal((await app.inject({ url: '/logs/stream', headers: { accept: 'application/json' } })).statusCode, 406)
  t.equal((await app.inject({ url: '/logs/stream', method: 'HEAD' })).statusCode, 404)
})

t.test('full', async (t) => {
  const small = await startApp(t, { connectionString: server.url, maxSubscribers: 1 }, { state: null })
  const first = await small.stream()
  t.equal(first.status, 200)
  const second = await small.stream()
  t.equal(second.status, 503)
  t.ok(Number(second.headers['retry-after']) > 0)
  first.close()
})

t.test('who may', async (t) => {
  const asked: any[] = []
  const { app: guarded, stream } = await startApp(t, {
    connectionString: server.url,
    status: {},
    stream: {
      authorize: async ({ headers }, what) => {
        asked.push(what)
        if (headers.authorization === 'throw') throw new Error('no answer')
        return headers.authorization === 'yes'
      }
    }
  }, { state: null })
  const refused = await guarded.inject('/logs/stream?run_id=7')
  t.same([refused.statusCode, refused.json().code], [403, 'FST_PG_TAIL_FORBIDDEN'])
  t.same(asked, [{ run: '7', table: 'public.scraper_log' }])
  const failed = await guarded.inject({ url: '/logs/stream?run_id=7', headers: { authorization: 'throw' } })
  t.equal(failed.statusCode, 500, 'whoever cannot be asked about does not get in')
  t.notMatch(failed.body, 'connected')
  const allowed = await stream('run_id=7', { headers: { authorization: 'yes' } })
  t.equal(allowed.status, 200)
  allowed.close()
  const status = await guarded.inject('/logs/status')
  t.equal(status.statusCode, 403)
  t.match(status.json().message, /status\.authorize/)
  const hooked = await startApp(t, { connectionString: server.url, status: { onRequest: async (_request, reply) => reply.code(401).send({ no: true }) } }, { state: null })
  t.equal((await hooked.app.inject('/logs/status')).statusCode, 401)
})

t.test('status', async (t) => {
  const client = await stream('run_id=5')
  await ready(client)
  const status = (await app.inject('/logs/status')).json()
  t.match(status, {
    available: true,
    timestamp: String,
    listener: { running: true, connection_healthy: true, state: 'listening', mode: 'listen', reconnect_attempts: 0, max_reconnect_attempts: 10, pg_queue_usage_percent: Number, last_error: null },
    notification_queues: { total_queues: 1, total_notifications: 0, queue_sizes: { 5: 0 } },
    subscribers: { current: 1 }
  })
  client.close()
})

t.test('app.close() with 1,000 streams', async (t) => {
  const { app: crowded, url } = await startApp(t, { connectionString: server.url })
  const clients = await Promise.all([...Array(1000).keys()].map((i) => SseClient.connect(`${url}/logs/stream?run_id=${i % 10}`)))
  await crowded.close()
  t.same(new Set(await Promise.all(clients.map(({ ended }) => ended))), new Set(['end']))
  t.equal(crowded.logQueue.subscribers, 0)
})
