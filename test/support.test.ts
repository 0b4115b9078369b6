import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { connect, createDemoTables, startPostgres, VERSION, type TestLike } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'
import { SseClient } from './support/sse-client.ts'

t.test('an embedded server starts, stops, starts again and leaves nothing', async t => {
  const server = await startPostgres(t, { work_mem: '5MB' })
  const sql = connect(t, server.url)
  const [row] = await sql`
    select current_setting('server_version_num')::int / 10000 as version, current_setting('work_mem') as work_mem,
      current_setting('fsync') as fsync, current_setting('synchronous_commit') as synchronous_commit`
  t.match(row, {
    version: Number(VERSION), work_mem: '5MB', fsync: 'off', synchronous_commit: 'on'
  })
  await createDemoTables(sql)
  await sql`insert into scraper_log (run_id, message) values (7, 'before')`

  for (const mode of ['fast', 'immediate'] as const) {
    await server.stop(mode)
    await server.stop(mode)
    await t.rejects(sql`select 1`, `nobody answers after stop('${mode}')`)
    await server.start()
    await server.start()
    t.match(await sql`select run_id, level, message from scraper_log`, [{ run_id: '7', level: 'INFO', message: 'before' }])
  }

  const wrong = connect(t, server.url.replace(/:[^:@]*@/, ':wrong@'))
  await t.rejects(wrong`select 1`, { code: '28P01' }, 'it asks for its password')

  t.ok(existsSync(server.dataDir))
  await server.close()
  await server.close()
  t.notOk(existsSync(server.dataDir))
  await t.rejects(server.start(), /is closed/)
})

t.test('a server that cannot start says why', async t => {
  await t.rejects(startPostgres(t, { no_such_setting: 'x' }), /unrecognized configuration parameter "no_such_setting"/)
})

t.test('a server goes with the process that started it, even after a kill -9', async t => {
  const module = new URL('../examples/embedded-postgres.ts', import.meta.url).href
  const script = `
    const { startEmbeddedPostgres } = await import('${module}')
    const { dataDir, url } = await startEmbeddedPostgres()
    console.log(JSON.stringify({ dataDir, url }))
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  const { dataDir, url } = JSON.parse(line)
  const sql = connect(t, url)
  await sql`select 1`
  child.kill('SIGKILL')
  while (existsSync(dirname(dataDir))) await sleep(20)
  await t.rejects(sql`select 1`)
})

t.test('the proxy', async t => {
  const server = await startPostgres(t)
  const proxy = await TcpProxy.start(t, server.port)
  const url = proxy.url(server.url)
  const one = (options = {}) => connect(t, url, { max: 1, ...options })

  await t.test('forwards', async t => {
    const sql = one()
    t.match(await sql`select repeat('x', 1000000) as text`, [{ text: 'x'.repeat(1000000) }])
    t.equal(proxy.connections, 1)
    const left = once(proxy, 'disconnection')
    await sql.end()
    await left
    t.equal(proxy.connections, 0)
  })

  await t.test('cuts, and lets in again', async t => {
    const sql = one()
    const waiting = sql`select pg_sleep(60)`.catch(err => err)
    await once(proxy, 'connection')
    await sleeping()
    proxy.cut()
    t.equal((await waiting).code, 'CONNECTION_CLOSED')
    t.match(await sql`select 1 as n`, [{ n: 1 }])
    await sql.end()
  })

  await t.test('refuses, and accepts again', async t => {
    const before = one()
    await before`select 1`
    proxy.refuse()
    const sql = one()
    await t.rejects(sql`select 1`)
    t.match(await before`select 1 as n`, [{ n: 1 }], 'what was open goes on')
    proxy.accept()
    t.match(await sql`select 1 as n`, [{ n: 1 }])
    await Promise.all([before.end(), sql.end()])
  })

  await t.test('is a black hole for old and new connections, then for the old ones only', async t => {
    const old = one()
    await old`select 1`
    proxy.blackhole()
    let answered = false
    const lost = old`select 1`.then(() => { answered = true }, err => err)
    const during = one({ connect_timeout: 1 })
    await t.rejects(during`select 1`, { code: 'CONNECT_TIMEOUT' }, 'a connection without an answer')
    proxy.restore()
    const fresh = one()
    t.match(await fresh`select 1 as n`, [{ n: 1 }])
    t.notOk(answered)
    const left = once(proxy, 'disconnection')
    await old.end({ timeout: 0 })
    await left
    t.equal((await lost).code, 'CONNECTION_DESTROYED')
    await Promise.all([during.end({ timeout: 0 }), fresh.end()])
  })

  await t.test('delays, in order', async t => {
    const sql = one()
    await sql`select 1`
    proxy.delay(100)
    const start = performance.now()
    const answers = sql`select generate_series(1, 10000) as n`
    t.same((await answers).map(({ n }) => n), Array.from({ length: 10000 }, (_, i) => i + 1))
    t.ok(performance.now() - start >= 195, 'there and back')
    proxy.delay(0)
    await sql.end()
  })

  async function sleeping () {
    const sql = connect(t, server.url, { max: 1 })
    for (let found = 0; found === 0;) {
      [{ found }] = await sql`select count(*)::int as found from pg_stat_activity where wait_event = 'PgSleep'` as any
    }
  }
})

t.test('the SSE client', async t => {
  t.test('sees events, ids, retry and comments as a browser does', async t => {
    const { url, requests } = await serve(t, async (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write('retry: 1500\n\n: hello\n\n')
      response.write('id: 1\ndata: {"type":"log","message":"gr')
      const umlaut = Buffer.from('ü')
      response.write(umlaut.subarray(0, 1))
      await client.then(client => client.waitFor(client => client.text().length > 0))
      response.write(umlaut.subarray(1))
      response.write('n"}\n\ndata: {"type":"log"}\n\nid: 7~3-5\n\nevent: x\ndata: text\n\n')
      response.end('id: 8\ndata: cut short')
    })
    const client = SseClient.connect(url, { lastEventId: 'before', headers: { 'x-mine': 'yes' } })
    const sse = await client
    t.match(requests[0]!.headers, { accept: 'text/event-stream', 'last-event-id': 'before', 'x-mine': 'yes' })
    t.equal(sse.status, 200)
    t.equal(sse.headers['content-type'], 'text/event-stream')
    t.match(await sse.until(({ data }) => data.message === 'grün'), { id: '1', raw: 'id: 1\ndata: {"type":"log","message":"grün"}\n\n' })
    t.equal(await sse.ended, 'end')
    t.same(sse.events.map(({ id, event, data }) => ({ id, event, data })), [
      { id: '1', event: undefined, data: { type: 'log', message: 'grün' } },
      { id: undefined, event: undefined, data: { type: 'log' } },
      { id: undefined, event: 'x', data: 'text' }
    ])
    t.same(sse.logs(), [{ type: 'log', message: 'grün' }, { type: 'log' }])
    t.equal(sse.lastEventId, '7~3-5', 'of a block without data, but not of one without an end')
    t.equal(sse.retry, 1500)
    t.same(sse.comments, ['hello'])
    t.match(await sse.until(({ event }) => event === 'x'), { data: 'text' }, 'the past is looked at too')
    await t.rejects(sse.until(({ data }) => data === 'never'), /The stream is over \(end\).*cut short/s)
  })

  t.test('tells a cut from an end', async t => {
    const { url } = await serve(t, response => {
      response.writeHead(200)
      response.write('data: 1\n\n')
    })
    const sse = await SseClient.connect(url)
    await sse.until(({ data }) => data === 1)
    const never = t.rejects(sse.until(({ data }) => data === 2), /The stream is over \(error\)/)
    sse.close()
    t.equal(await sse.ended, 'error')
    await never

    const cut = await serve(t, response => {
      response.writeHead(200)
      response.write('data: 1\n\n', () => response.destroy())
    })
    const other = await SseClient.connect(cut.url)
    t.equal(await other.ended, 'error')
    t.match(other.events, [{ data: 1 }])
  })

  t.test('gives the body of any other answer', async t => {
    const { url } = await serve(t, response => {
      response.writeHead(503, { 'retry-after': '5' })
      response.end('{"error":"full"}')
    })
    const sse = await SseClient.connect(url)
    t.equal(sse.status, 503)
    t.equal(sse.headers['retry-after'], '5')
    t.equal(await sse.body(), '{"error":"full"}')

    const none = await serve(t, response => response.writeHead(204).end())
    const gone = await SseClient.connect(none.url)
    t.equal(gone.status, 204)
    t.equal(await gone.body(), '')
  })

  t.test('stops reading, so that the server feels it', async t => {
    const CHUNK = `data: "${'x'.repeat(65_536)}"\n\n`
    const responses: http.ServerResponse[] = []
    const { url } = await serve(t, response => {
      responses.push(response)
      response.writeHead(200)
      for (let i = 0; i < 500; i++) response.write(CHUNK)
      response.end('data: "last"\n\n')
    })
    const paused = await SseClient.connect(url)
    paused.pause()
    // Another client that gets everything meanwhile is the clock.
    const other = await SseClient.connect(url)
    await other.until(({ data }) => data === 'last')
    await other.ended
    t.ok(paused.events.length < 500)
    t.same(responses.map(response => response.writableFinished), [false, true])
    paused.resume()
    await paused.until(({ data }) => data === 'last')
    t.equal(paused.events.length, 501)
  })
})

type Answer = (response: http.ServerResponse) => unknown

async function serve (t: TestLike, answer: Answer) {
  const requests: http.IncomingMessage[] = []
  const server = http.createServer((request, response) => {
    requests.push(request)
    answer(response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, requests }
}
