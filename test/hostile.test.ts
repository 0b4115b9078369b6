// Whatever a client sends: the answer is of a kind that it should be, nothing of it stays, and others notice nothing.

import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import fc, { type Arbitrary } from 'fast-check'
import t, { type Test } from 'tap'
import type { FastifyPgTailOptions } from '../plugin.ts'
import { gc } from './support/alive.ts'
import { startApp, statusCodeOf, type App } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { connect, startPostgres } from './support/postgres.ts'
import type { SseClient } from './support/sse-client.ts'

/** Milliseconds, to tell which request hangs: no measure of speed. */
const NO_ANSWER = 60_000
/** Bytes that Node takes before the body. */
const MAX_HEAD = 16 * 1024
const HOST = 'Host: localhost\r\n'

const server = await startPostgres(t)
const sql = connect(t, server.url)
await sql`create type run_state as enum ('on', 'off')`
let tables = 0

/** Of each type: a run that goes on, and one that is over. */
const RUNS = {
  bigint: ['1', '7'],
  text: ['constructor', 'over'],
  run_state: ['on', 'off'],
  uuid: ['123e4567-e89b-42d3-a456-426614174000', '123e4567-e89b-42d3-a456-426614174007']
} as const
type Type = keyof typeof RUNS

interface Target extends App { port: number, write: (message: string, run?: string) => Promise<unknown> }

/** An app on a table of its own, with five rows of each run. */
async function startTarget (t: Test, type: Type, options: Partial<FastifyPgTailOptions> = {}): Promise<Target> {
  const table = `hostile_${++tables}`
  const [run, over] = RUNS[type]
  await sql.unsafe(`create table ${table} (id bigserial primary key, run_id ${type}, level text default 'INFO', message text, created_at timestamptz default now());
    create index on ${table} (run_id, id);
    insert into ${table} (run_id, message) select case when n > 5 then '${run}' else '${over}' end::${type}, 'row ' || n from generate_series(1, 10) n`)
  // Whoever is gone while its socket is not read, is found out by a heartbeat.
  const started = await startApp(t, { connectionString: server.url, table, channel: table, heartbeat: 50, ...options })
  await started.app.logQueue.stop(over)
  const write = (message: string, to: string = run) => sql.unsafe(`insert into ${table} (run_id, message) values ($1::${type}, $2)`, [to, message])
  return { ...started, write, port: Number(new URL(started.url).port) }
}

const ready = (client: SseClient) => client.until(({ data }) => data.type === 'connected')
const messages = (client: SseClient) => client.logs().map(({ message }) => message)
const status = async ({ app }: App): Promise<any> => (await app.inject('/logs/status')).json()

/** Everybody is gone, and nothing of them is left. */
async function checkEmpty (t: Test, target: Target): Promise<void> {
  await eventually(() => target.app.logQueue.subscribers, (count) => count === 0)
  const { notification_queues: queues, watermark, doorbell, subscribers } = await status(target)
  t.same(queues, { total_queues: 0, total_notifications: 0, queue_sizes: {} })
  t.match({ watermark, doorbell, subscribers }, { watermark: null, doorbell: { state: 'off' }, subscribers: { current: 0, replaying: 0 } })
}

interface Answer { status: number, headers: http.IncomingHttpHeaders, body: string, events: EventSourceMessage[] }

/**
 * Sends these very bytes; what comes back is read by Node's own client, whose own request is held back. It waits
 * for the end of the answer, of a stream for the first event, and is gone without a word. Status 0: hung up on.
 */
function ask (port: number, text: string, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.write(text, 'latin1')
    socket.write = () => true
    let answer: Answer = { status: 0, headers: {}, body: '', events: [] }
    const timer = setTimeout(() => reject(new Error(`no answer to ${JSON.stringify(text)}`)), NO_ANSWER)
    const done = () => {
      clearTimeout(timer)
      resolve(answer)
      socket.destroy()
    }
    const request = http.request({ createConnection: () => socket, method })
    // What follows after an answer, such as a second one to the rest of a broken request, does not count.
    request.on('error', () => { if (answer.status === 0) done() })
    request.on('response', (response) => {
      answer = { ...answer, status: response.statusCode!, headers: response.headers }
      const parser = createParser({ onEvent: (event) => answer.events.push(event) })
      response.setEncoding('utf8').on('data', (chunk) => {
        answer.body += chunk
        if (answer.status === 200) parser.feed(chunk)
        if (answer.events.length > 0) done()
      })
      response.on('error', () => {}).on('close', done)
    })
    request.end()
  })
}

/** What is wrong with an answer; null where nothing is. */
function fault (text: string, { status, headers, body, events }: Answer): string | null {
  const wrong = (why: string) => `${why}: ${status} ${JSON.stringify(body.slice(0, 300))} to ${JSON.stringify(text)}`
  // Of what is too long the rest is not read, so its sender may see a reset first. Nobody takes a CONNECT.
  if (status === 0) return text.length > MAX_HEAD || text.startsWith('CONNECT ') ? null : wrong('hung up')
  if (status === 200) {
    if (headers['content-type'] !== 'text/event-stream') return wrong('no stream')
    return events[0]?.event === undefined && JSON.parse(events[0]?.data ?? '{}').type === 'connected' ? null : wrong('not connected')
  }
  if (status === 204) return body === '' ? null : wrong('a body')
  if (status < 400 || status > 499) return wrong('no such status')
  // Node's own, where there is no Host, or something is expected that nobody knows.
  if (body === '') return text.startsWith('HEAD ') || [400, 417].includes(status) ? null : wrong('no reason')
  const { statusCode, error, message, code, ...rest } = JSON.parse(body)
  return statusCode === status && [error, message, code ?? ''].every((each) => typeof each === 'string') && Object.keys(rest).length === 0 ? null : wrong('not the form of Fastify')
}

/** UTF-16 as it comes, with halves of pairs. */
const anything = fc.string({ unit: fc.oneof(fc.integer({ min: 0, max: 0xffff }), fc.constantFrom(0, 10, 13, 32, 37, 38, 44, 126, 0xd800)).map((code) => String.fromCharCode(code)) })
/** Percent-encoded; half a pair as the bytes that it would have. */
const encode = (text: string) => [...text].map((char) => /^[\ud800-\udfff]$/.test(char) ? '%ED%A0%80' : encodeURIComponent(char)).join('')

/** Most are such as a client may have got; some have too many gaps, or are too long. */
const cursors = fc.tuple(fc.bigInt(0n, 1n << 64n), fc.array(fc.integer({ min: 2, max: 1e9 }), { maxLength: 300 }), fc.boolean()).map(([high, steps, ranges]) => {
  let last = 0
  const next = (step: number) => {
    last += step
    return last
  }
  const gaps = steps.map((step) => next(step) + (ranges ? `-${next(step)}` : ''))
  return gaps.length === 0 ? String(high) : `${BigInt(last) + 1n + high % 3n}~${gaps}`
})
const mutated = fc.tuple(cursors, fc.nat(), fc.constantFrom('', '~', '-', ',', '0', ' ', '%00', '9'.repeat(20))).map(([text, nat, what]) => {
  const at = nat % (text.length + 1)
  return text.slice(0, at) + what + text.slice(at + 1)
})
const tricky = fc.constantFrom('', '0', '-0', '007', '+1', '1e3', '0x10', '%201', '1.5', '-1', '9223372036854775807', '9223372036854775808', '-9223372036854775809', 'NaN', 'Infinity', 'null', 'true',
  '__proto__', 'toString', '%00', 'a%00b', '%', '%2', '%zz', '%FF', '%C0%80', '%ED%A0%80', '%F0%9F%A6%8A', '%D9%A1', '%0D%0A%0D%0Adata:%20x', "'", "1'%20or%20'1'='1", '1);drop%20table%20x--',
  '%7B1,2%7D', '$1', '%5C', '100000', '100001', RUNS.uuid[0].toUpperCase(), RUNS.uuid[0].replaceAll('-', ''), 'x'.repeat(257), '%C3%A9'.repeat(200), 'a,'.repeat(500), ',,')
const values = fc.oneof(tricky, fc.double().map(String), cursors, mutated, anything.map(encode))
const right = fc.oneof(fc.constantFrom(...Object.values(RUNS).flat()).map((run) => `run_id=${run}`), fc.constantFrom('INFO', 'ERROR,INFO', '%F0%9F%A6%8A').map((level) => `level=${level}`),
  cursors.map((cursor) => `after=${cursor}`), fc.integer({ min: 0, max: 20 }).map((tail) => `tail=${tail}`))
const parameters = fc.oneof({ weight: 3, arbitrary: right }, fc.tuple(fc.constantFrom('run_id', 'level', 'after', 'tail'), values).map((pair) => pair.join('=')),
  fc.tuple(fc.constantFrom('tail[]', 'run_id[]', 'level[a]', '__proto__', 'constructor', 'other', 'TAIL', 'run%5Fid', '%00', ''), fc.constantFrom('=', '', '=='), values).map((parts) => parts.join('')))
const queries = fc.oneof({ weight: 6, arbitrary: fc.array(parameters, { maxLength: 4 }).map((all) => all.join('&')) }, anything.map((text) => text.replace(/[\r\n]/g, '')),
  fc.constantFrom('run_id=1&'.repeat(1500), '&'.repeat(3000), `x=${'y'.repeat(15_000)}`, `x=${'y'.repeat(40_000)}`, 'a[b]'.repeat(1000)))

const named = (names: string[], texts: Arbitrary<string>) => fc.tuple(fc.constantFrom(...names), texts)
const fields = fc.oneof(
  { weight: 3, arbitrary: named(['Last-Event-ID', 'last-event-id'], fc.oneof(cursors, mutated, tricky, anything)) },
  named(['Accept'], fc.constantFrom('*/*', 'text/*', 'text/html', 'text/event-stream;q=0', '*/*;q=0', 'TEXT/EVENT-STREAM', ',;,', 'text/event-stream;q=0.0001, */*;q=0', ';'.repeat(8000))),
  named(['Connection', 'Upgrade', 'Expect', 'Range', 'If-None-Match', 'If-Modified-Since', 'Accept-Encoding', 'TE', 'Trailer', 'Forwarded', 'X-HTTP-Method-Override', 'Content-Type', 'HTTP2-Settings'],
    fc.oneof(fc.constantFrom('close', 'keep-alive', 'Upgrade', 'upgrade, close', 'websocket', 'h2c', '100-continue', 'nonsense', 'bytes=0-10', '*', 'gzip, br', 'POST', 'application/json'), anything)),
  named(['Content-Length', 'Transfer-Encoding'], fc.constantFrom('0', '5', '5, 5', '-1', '99999999999999999999', 'x', 'chunked', 'chunked, gzip', 'gzip', 'identity')),
  named(['Host', 'Host ', 'Cookie', ' Fold', 'X Y', '__proto__', 'constructor', ''], fc.oneof(fc.constantFrom('x', '', 'a'.repeat(MAX_HEAD), 'k=v; '.repeat(2500)), anything)),
  fc.tuple(fc.string({ unit: fc.constantFrom(...'abcXYZ019-_.!#$%&\'*+^`|~'), minLength: 1 }), anything)
).map(([name, text]) => `${name}: ${text.replace(/[\r\n]/g, ' ')}\r\n`)
const heads = fc.array(fields, { maxLength: 5 }).map((all) => all.join(''))
const versions = fc.constantFrom('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/9', '')
const requests = fc.oneof(
  queries.map((query) => `GET /logs/stream?${query} HTTP/1.1\r\n${HOST}\r\n`),
  heads.map((head) => `GET /logs/stream HTTP/1.1\r\n${HOST}${head}\r\n`),
  fc.tuple(queries, versions, heads).map(([query, version, head]) => `GET /logs/stream?${query} ${version}\r\n${head}\r\n`)
)

/** Some at a time, again and again. Returns how often each status came. */
async function fuzz (port: number, texts: Arbitrary<string>): Promise<Record<string, number>> {
  const seen: Record<string, number> = {}
  await fc.assert(fc.asyncProperty(fc.array(texts, { minLength: 1, maxLength: 8 }), async (all) => {
    const answers = await Promise.all(all.map((text) => ask(port, text, text.startsWith('HEAD ') ? 'HEAD' : 'GET')))
    const [why = null] = answers.map((answer, i) => fault(all[i]!, answer)).filter((why) => why !== null)
    if (why !== null) throw new Error(why)
    for (const { status } of answers) seen[status] = (seen[status] ?? 0) + 1
  // To look for a smaller one could take a minute for each.
  }), { numRuns: 100, endOnFailure: true })
  return seen
}

for (const type of Object.keys(RUNS) as Type[]) {
  t.test(`any query and any headers, over runs of type ${type}`, async (t) => {
    const target = await startTarget(t, type)
    const { port, stream, write } = target
    const [run, over] = RUNS[type]
    const neighbour = await stream(`run_id=${run}`)
    await ready(neighbour)
    t.hasProps(await fuzz(port, requests), ['200', '400'], 'it was not always the same')

    const client = await stream(`run_id=${run}&tail=1`)
    await write('afterwards')
    for (const each of [neighbour, client]) await each.until(({ data }) => data.message === 'afterwards')
    t.same(messages(client), ['row 10', 'afterwards'])
    t.same(neighbour.events.map(({ data }) => data.type), ['connected', 'log'], 'who was there noticed nothing')
    t.equal(await statusCodeOf(() => stream(`run_id=${over}`, { lastEventId: '10' })), 204)
    await eventually(() => target.app.logQueue.subscribers, (count) => count === 2)
    t.same(Object.keys((await status(target)).notification_queues.queue_sizes), [run])
    for (const each of [neighbour, client]) each.close()
    await checkEmpty(t, target)
  })
}

t.test('what is nearly right', async (t) => {
  const target = await startTarget(t, 'text')
  for (const [query, status, code] of [
    ['level=%00&tail=5', 400, 'FST_PG_TAIL_LEVEL'], ['level=a%00b', 400, 'FST_PG_TAIL_LEVEL'], ['run_id=a%00b', 400, 'FST_PG_TAIL_RUN'], ['run_id=%ED%A0%80', 200], ['run_id=', 400, 'FST_ERR_VALIDATION'],
    [`run_id=${'x'.repeat(256)}`, 200], [`run_id=${'x'.repeat(257)}`, 400, 'FST_ERR_VALIDATION'], ['run_id=1&run_id=2', 400, 'FST_ERR_VALIDATION'], ['tail[]=1', 200], ['tail=1&tail=1', 400, 'FST_ERR_VALIDATION'],
    ['tail=100000', 200], ['tail=100001', 400, 'FST_ERR_VALIDATION'], ['tail=1e400', 400, 'FST_ERR_VALIDATION'], ['tail=-Infinity', 400, 'FST_ERR_VALIDATION'], ['tail=1.5', 400, 'FST_ERR_VALIDATION'], [`after=${2n ** 63n - 1n}`, 200], [`after=${2n ** 63n}`, 400, 'FST_PG_TAIL_CURSOR'],
    [`after=999~${Array.from({ length: 256 }, (_, i) => i * 3)}`, 200], [`after=999~${Array.from({ length: 257 }, (_, i) => i * 3)}`, 400, 'FST_PG_TAIL_CURSOR'], ['__proto__=1&constructor[prototype]=1', 200]
  ] as const) {
    const answer = await ask(target.port, `GET /logs/stream?${query} HTTP/1.1\r\n${HOST}\r\n`)
    t.equal(fault(query, answer), null)
    t.same([answer.status, answer.status === 200 ? undefined : JSON.parse(answer.body).code], [status, code], query.slice(0, 60))
  }
  for (const head of ['Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n', 'Last-Event-ID: 2, 3\r\n']) t.equal((await ask(target.port, `GET /logs/stream HTTP/1.1\r\n${HOST}${head}\r\n`)).status, 400, 'two of them are none')
  await checkEmpty(t, target)
  const { stream } = await startTarget(t, 'run_state')
  for (const query of ['run_id=none&tail=5', 'run_id=none&after=0']) {
    const client = await stream(query)
    t.equal(await client.ended, 'end')
    t.same(client.events.map(({ data }) => data.type), ['connected'], 'no value of its type, as only PostgreSQL knows')
  }
})

t.test('any method and any path', async (t) => {
  const target = await startTarget(t, 'bigint')
  const methods = fc.constantFrom(...http.METHODS, 'get', 'GETX', 'PRI', 'constructor', '', '\0')
  const paths = fc.oneof(fc.constantFrom('/logs/stream', '/logs/stream/', '/LOGS/stream', '/logs//stream', '/logs/../logs/stream', '/logs/stream%00', '/logs/stream%2f', '/logs/%73tream', '/logs/stream;x', '//logs/stream', '/logs/status/..',
    '*', '/%', '/%zz', '/logs/%E0%A4%A', 'http://[/', 'http://x/logs/stream', '\\logs\\stream', '/logs/stream#x', '/logs/stream?tail=1', '__proto__', ''), anything.map((text) => `/logs/${encode(text)}`))
  const bodies = fc.constantFrom('', 'Content-Type: application/json\r\n', 'Content-Type: text/plain\r\n', 'Content-Type: a/b\r\n', 'Content-Type: ;\r\n')
  const texts = fc.tuple(methods, paths, bodies).map(([method, path, body]) => `${method} ${path} HTTP/1.1\r\n${HOST}${body}Content-Length: 2\r\n\r\n{"`)
  t.hasProps(await fuzz(target.port, texts), ['404', '400'])
  for (const method of ['HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE']) {
    t.equal((await ask(target.port, `${method} /logs/stream HTTP/1.1\r\n${HOST}\r\n`, method)).status, 404, method)
  }
  await checkEmpty(t, target)
})

t.test('whoever is gone has left, at whatever moment and in whatever way', async (t) => {
  const target = await startTarget(t, 'bigint')
  const text = `GET /logs/stream?after=0 HTTP/1.1\r\n${HOST}\r\n`
  const ways = fc.constantFrom('destroy', 'resetAndDestroy', 'end')
  await fc.assert(fc.asyncProperty(fc.array(fc.tuple(fc.oneof(fc.nat(text.length), fc.constant(text.length)), fc.constantFrom('', 'GET ', '\0', 'x'.repeat(200_000)), fc.boolean(), ways), { minLength: 1, maxLength: 8 }), async (all) => {
    await Promise.all(all.map(async ([length, more, wait, way]) => {
      const socket = net.connect(target.port, '127.0.0.1').on('error', () => {}).resume()
      await once(socket, 'connect')
      socket.write(text.slice(0, length) + more)
      if (wait && length === text.length) await once(socket, 'data')
      socket[way as 'destroy']()
    }))
  }), { numRuns: 40 })
  await checkEmpty(t, target)
})

t.test('whoever asks again before it is answered leaves as often', async (t) => {
  const target = await startTarget(t, 'bigint')
  for (const [first, count] of [['stream', 20], ['status', 19]] as const) {
    const socket = net.connect(target.port, '127.0.0.1').resume()
    socket.write(`GET /logs/${first} HTTP/1.1\r\n${HOST}\r\n` + `GET /logs/stream HTTP/1.1\r\n${HOST}\r\n`.repeat(19))
    await eventually(() => target.app.logQueue.subscribers, (subscribers) => subscribers === count)
    socket.destroy()
    await checkEmpty(t, target)
  }
})

t.test('heartbeats are held back from whoever takes nothing, too', async (t) => {
  const target = await startTarget(t, 'bigint', { heartbeat: 1, stallTimeout: 100 })
  const socket = net.connect(target.port, '127.0.0.1').resume()
  // The second one is never read, since its answer waits behind one that does not end.
  socket.write(`GET /logs/stream HTTP/1.1\r\n${HOST}\r\n`.repeat(2))
  await eventually(() => target.app.logQueue.counters.stalled, (count) => count === 1)
  t.equal(target.app.logQueue.subscribers, 1)
  socket.destroy()
  await checkEmpty(t, target)
})

t.test('a body that nobody reads keeps nobody', async (t) => {
  const target = await startTarget(t, 'bigint')
  const socket = net.connect(target.port, '127.0.0.1').on('error', () => {})
  socket.write(`GET /logs/stream HTTP/1.1\r\n${HOST}Content-Length: 100000000\r\n\r\n`)
  await once(socket, 'data')
  socket.resume().write(Buffer.alloc(5_000_000))
  socket.destroy()
  await checkEmpty(t, target)
})

t.test('of the largest requests there are, nothing is kept', async (t) => {
  const kept: Array<WeakRef<object>> = []
  const onRequest = async (request: any, reply: any) => { for (const each of [request, request.raw, request.raw.socket, reply, reply.raw]) kept.push(new WeakRef(each)) }
  const target = await startTarget(t, 'text', { stream: { public: true, onRequest } })
  const { app, port, stream, write } = target
  const neighbour = await stream('run_id=constructor')
  await ready(neighbour)

  const from = 10n ** 13n
  const lastEventId = `${10n * from}~${Array.from({ length: 256 }, (_, i) => `${from + BigInt(i) * 9n}-${from + BigInt(i) * 9n + 5n}`)}`
  const level = ['INFO', ...Array.from({ length: 31 }, (_, i) => `${i}`.padEnd(30, 'y'))].join()
  const runs = Array.from({ length: 200 }, (_, i) => `${i}`.padEnd(256, 'x'))
  const clients = await Promise.all(runs.map((run) => stream(`run_id=${run}&level=${level}`, { lastEventId, headers: { cookie: 'z'.repeat(5000) } })))
  await Promise.all(clients.map(ready))
  await Promise.all(runs.map((run) => write('m'.repeat(10_000), run)))
  await Promise.all(clients.map((client) => client.waitFor(() => client.logs().length === 1)))
  t.equal(app.logQueue.status().queues.total_queues, 201)
  const refused = [`after=${'9'.repeat(8193)}`, `run_id=${'x'.repeat(8000)}`, `level=${'a,'.repeat(4000)}`, `${'x=1&'.repeat(3000)}tail=x`].map((query) => `GET /logs/stream?${query} HTTP/1.1\r\n${HOST}\r\n`)
  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => ask(port, refused[i % 4]!)))
  t.same([...new Set(answers.map(({ status }) => status))], [400])
  for (const client of clients.splice(0)) client.close()
  await eventually(() => app.logQueue.subscribers, (count) => count === 1)
  t.same(app.logQueue.status().queues, { total_queues: 1, total_notifications: 0, queue_sizes: { constructor: 0 } })
  t.equal(kept.length, 5 * 301)
  await eventually(gc, () => kept.filter((each) => each.deref() !== undefined).length <= 5)
  await write('afterwards')
  await neighbour.until(({ data }) => data.message === 'afterwards')
  neighbour.close()
  await checkEmpty(t, target)
})
