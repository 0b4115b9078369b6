// `fastify-pg-tail doctor --url`: what it finds of streams that come as they should not.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createGzip } from 'node:zlib'
import t, { type Test } from 'tap'
import { startApp } from './support/app.ts'
import { bad, examine, fresh, type Found } from './support/doctor.ts'
import { startNginx, withoutNginx } from './support/nginx.ts'
import { startPostgres } from './support/postgres.ts'

const server = await startPostgres(t)

/** In front of an app: hands a response on in its own way. */
async function proxyOf (t: Test, origin: string, pass: (answer: Response, response: ServerResponse, request: IncomingMessage) => void | Promise<void>) {
  const over = new AbortController()
  const http = createServer(async (request, response) => {
    try {
      const answer = await fetch(origin + request.url, { headers: { accept: 'text/event-stream' }, signal: over.signal })
      await pass(answer, response, request)
    } catch {
      response.destroy()
    }
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  t.teardown(() => { over.abort(); http.close(); http.closeAllConnections() })
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}/logs/stream`
}

/** What doctor says, and rightly, where the machine was held up for a second: then it looks again, some times. */
const HELD_UP = /^problem (first bytes: they came|heartbeat: one took)/

async function calm (look: () => Promise<Found[]>): Promise<Found[]> {
  for (let tries = 1; ; tries++) {
    const findings = await look()
    if (tries === 5 || !bad(findings).some((each) => HELD_UP.test(each))) return findings
  }
}

const EVENTS = { 'content-type': 'text/event-stream' }

t.test('the stream, as it comes', async (t) => {
  const { url } = await fresh(t, server)
  const { app, url: origin } = await startApp(t, { connectionString: url, heartbeat: 100 })
  const look = (stream: string, ...args: string[]) => examine(t, ['--url', stream, '--heartbeat', '1', ...args])
  const direct = await calm(() => look(`${origin}/logs/stream`))
  t.same(bad(direct), [])
  t.same(direct.map(({ check }) => check), ['stream', 'compression', 'first bytes', 'heartbeat'])

  const nothing = await proxyOf(t, origin, (_answer, response) => { response.writeHead(200, EVENTS).flushHeaders() })
  t.match(bad(await look(nothing)), [/^problem first bytes: there were none for 3 s/])
  const firstOnly = await proxyOf(t, origin, (_answer, response) => { response.writeHead(200, EVENTS).write('retry: 2000\n\n: heartbeat\nid: 1\n\n') })
  t.match(bad(await look(firstOnly)), [/^problem heartbeat: the second one did not come in time/])
  const cut = await proxyOf(t, origin, (_answer, response) => { response.writeHead(200, EVENTS).end('retry: 2000\n\n: heartbeat\n\n') })
  t.match(bad(await look(cut)), [/^problem heartbeat: the stream ended/])
  const gzip = await proxyOf(t, origin, async (answer, response) => {
    response.writeHead(200, { ...EVENTS, 'content-encoding': 'gzip', 'x-accel-buffering': 'yes' })
    const zip = createGzip()
    zip.pipe(response)
    for await (const chunk of answer.body!) {
      zip.write(chunk)
      zip.flush()
    }
  })
  t.match(bad(await look(gzip)), [/^warning compression: .*gzip/, /^warning x-accel-buffering: .* is yes$/])
  const lumpy = await proxyOf(t, origin, async (answer, response) => {
    response.writeHead(200, EVENTS)
    let [held, since] = ['', -Infinity]
    for await (const chunk of answer.body!) {
      held += Buffer.from(chunk).toString()
      if (performance.now() - since < 3000) continue
      response.write(held)
      if (held.includes(': heartbeat')) since = performance.now()
      held = ''
    }
  })
  t.match(bad(await look(lumpy)), [/^problem heartbeat: one took [\d.]+ s longer than another$/])
  const behind = await proxyOf(t, origin, (_answer, response) => {
    response.writeHead(200, EVENTS)
    const timer = setInterval(() => response.write(`: heartbeat ${new Date(Date.now() - 5000).toISOString()}\nid: 1\n\n`), 60)
    response.on('close', () => clearInterval(timer))
  })
  t.match(bad(await calm(() => look(behind))), [/^warning heartbeat: all come 5(\.\d)? s after the time that they say$/])
  const ends = await proxyOf(t, origin, (_answer, response) => {
    response.writeHead(200, EVENTS)
    const timer = setInterval(() => response.write(`: heartbeat ${new Date().toISOString()}\nid: 1\n\ndata: {"type":"stopped","run_id":7}\n\n`), 60)
    response.on('close', () => clearInterval(timer))
  })
  t.same(bad(await calm(() => look(ends))), [], 'of all runs one may end')
  t.same(bad(await calm(() => look(`${ends}?run_id=7`))), ['warning heartbeat: the run of this URL has ended'])
  const html = await proxyOf(t, origin, (_answer, response) => { response.end('<html>') })
  t.match(bad(await look(html)), [/^problem stream: .* not with an event stream/])
  t.match(bad(await look(`${origin}/nope`)), [/^problem stream: .* answers 404/])
  t.match(bad(await look('http://127.0.0.1:1/')), [/^problem stream: .* cannot be reached/])

  await app.logQueue.stop(7, 'Enough')
  // So that the end brings the second heartbeat.
  const slow = await startApp(t, { connectionString: url })
  t.same(bad(await calm(() => examine(t, ['--url', `${slow.url}/logs/stream?run_id=7`]))), ['warning heartbeat: the run of this URL has ended'])
  const guarded = await startApp(t, { connectionString: url, heartbeat: 100, channel: 'nobody_rings', install: false, stream: { authorize: ({ headers }) => headers['x-key'] === 'hush' } }, { state: 'polling' })
  t.match(bad(await look(`${guarded.url}/logs/stream`)), [/^problem stream: .* answers 403 Forbidden: you may not watch this log$/])
  t.same(bad(await calm(() => look(`${guarded.url}/logs/stream`, '--header', 'X-Key: hush'))), ['warning mode: the node polls: it hears no bells'])
})

t.test('a proxy that collects', { skip: withoutNginx }, async (t) => {
  const { url, sql } = await fresh(t, server)
  const COLLECTING = 'proxy_http_version 1.0; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;'
  const put = async (heartbeat: number, directives: string) => {
    const app = await startApp(t, { connectionString: url, heartbeat })
    const stream = `${await startNginx(t, app.url, directives)}/logs/stream`
    const look = () => examine(t, ['--url', `${stream}?tail=5`, '--heartbeat', String(heartbeat / 1000)])
    return { stream, look }
  }
  // Rows push the heartbeats through its buffer: they shall not come.
  const over = new AbortController()
  t.teardown(() => over.abort())
  const writing = (async () => { while (!over.signal.aborted) await sql`insert into scraper_log (run_id, message) values (1, ${'x'.repeat(4000)})` })()
  const nodes = await Promise.all([put(100, COLLECTING), put(15_000, COLLECTING), put(100, 'proxy_http_version 1.1;')])
  const [busy, quiet, through] = await Promise.all([nodes[0].look(), nodes[1].look(), calm(nodes[2].look)])
  over.abort()
  await writing
  t.match(bad(busy)[0], /^problem first bytes: they came no sooner than [\d.]+ s after the request$/)
  t.match(busy.find(({ check }) => check === 'first bytes')!.fix!.at(-1), /^To compare, ask the app itself: /, 'which may just be slow')
  t.match(quiet, [{
    check: 'stream',
    level: 'problem',
    what: `${nodes[1].stream} does not answer`,
    fix: [/^Most likely something on the way buffers/, /^nginx: proxy_buffering off; gzip off;/, /^Others/, /--url http:\/\/<host and port of the app>\/logs\/stream$/]
  }])
  t.same(bad(through), [])
})
