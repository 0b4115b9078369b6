// `fastify-pg-tail monitor`, by a status route and by the database alone.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { startApp } from './support/app.ts'
import { Cli, COMMAND, runCli } from './support/cli.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'

const LOG = ['--table', 'public.scraper_log']
/** Of util-linux: it gives a program a terminal. Where all tests have to run a missing one is a failure. */
const noScript = process.env.CI || spawnSync('script', ['--version']).status === 0 ? false : 'no script of util-linux here'
const server = await startPostgres(t)
const url = await createDatabase(t, server, 'cli_monitor')
const env = { DATABASE_URL: url }
const sql = connect(t, url)
await createDemoTables(sql)
t.equal((await runCli(t, ['install', 'public.scraper_log'], env)).code, 0)

t.test('a node, once', async (t) => {
  // With a heartbeat the frame that everybody has would be thrown away.
  const { url: origin, stream } = await startApp(t, { connectionString: url, heartbeat: 3_600_000 })
  const client = await stream('run_id=7')
  await client.until(({ data }) => data.type === 'connected')
  await sql`insert into scraper_log (run_id, message) values (7, 'seen')`
  await client.until(({ data }) => data.message === 'seen')
  const { code, out, err } = await runCli(t, ['monitor', '--once', '--url', `${origin}/logs/status`])
  t.match({ code, err }, { code: 0, err: '' })
  for (const line of [/^Listener +RUNNING, connection HEALTHY, mode listen \(listening\)$/m, /^PG queue +0 % used$/m, /^Queues +1, with 1 frames$/m, /^ +1 +run 7$/m,
    /^Subscribers +1 of 10000; /m, /^Gaps +0 open$/m, /^Doorbell +\w+, trigger: own$/m, /^Bells\/s +-/m, /^Rows\/s +-/m, /^Latency ms +\d+ +[▁█] {2}p50; p99 is \d+$/m]) t.match(out, line)
  t.notMatch(out, '\x1b')
  const json = await runCli(t, ['monitor', '--once', '--json', '--url', `${origin}/logs/status`])
  t.equal(json.code, 0)
  t.match(JSON.parse(json.out), { reachable: true, fine: true, bells_per_second: null, status: { listener: { state: 'listening' }, subscribers: { current: 1 } } })
  client.close()
})

t.test('a status that is closed, that is none, and a node that does not listen', async (t) => {
  const closed = await startApp(t, { connectionString: url, status: {} })
  t.match(await runCli(t, ['monitor', '--once', '--url', `${closed.url}/logs/status`]), { code: 1, out: /^REFUSED .* answers 403 Forbidden: the status route is closed.*\nSay who you are: --header/m })
  t.match(await runCli(t, ['monitor', '--once', '--url', `${closed.url}/nope`]), { code: 1, out: /^REFUSED .* answers 404 .*\nGive the status route: .*\/logs\/status by default\.$/m })
  t.match(await runCli(t, ['monitor', '--once', '--url', `${closed.url}/logs/stream`]), { code: 1, out: /^REFUSED .* answers 406 .*\nGive the status route, and look/m })
  t.match(await runCli(t, ['monitor', '--once', '--url', 'http://127.0.0.1:1/logs/status']), { code: 1, out: /^AWAY .* cannot be reached/m })
  const guarded = await startApp(t, { connectionString: url, channel: 'nobody_rings', install: 'verify', status: { authorize: ({ headers }) => headers['x-key'] === 'hush' } }, { state: 'polling' })
  const { code, out } = await runCli(t, ['monitor', '--once', '--url', `${guarded.url}/logs/status`, '--header', 'X-Key: hush'])
  t.equal(code, 1, 'not healthy')
  t.match(out, /^Listener +RUNNING, connection UNHEALTHY, mode poll \(polling\)\n +no trigger rings: /m)
  t.match(out, /^ +trigger .* rings channel "log_updates", not "nobody_rings"$/m)
  const other = await runCli(t, ['monitor', '--once', '--json', '--url', `${guarded.url}/logs/stream`])
  t.match({ code: other.code, ...JSON.parse(other.out) }, { code: 1, reachable: false, error: String })
})

t.test('a node with SQLite: not a word of what cannot ring', async (t) => {
  const { url: origin } = await startApp(t, { connectionString: url })
  const status = await fetch(`${origin}/logs/status`).then((response) => response.json()) as { listener: object, doorbell: object }
  // As lib/sqlite has it, which needs a later Node than the tests.
  const listener = { ...status.listener, state: 'polling', mode: 'poll', pg_queue_usage_percent: null }
  const http = createServer((_request, response) => response.end(JSON.stringify({ ...status, listener, channel: null, doorbell: { state: 'polling', rings: 0, installed: null, missing: [] } })))
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  t.teardown(() => { http.close(); http.closeAllConnections() })
  const { code, out } = await runCli(t, ['monitor', '--once', '--url', `http://127.0.0.1:${(http.address() as AddressInfo).port}/logs/status`])
  t.equal(code, 0)
  t.match(out, /^Log +public\.scraper_log$/m)
  t.notMatch(out, /PG queue|trigger|not known yet/)
})

t.test('a URL of something else is refused, not away', async (t) => {
  const http = createServer((_request, response) => { response.end('<html>') })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  t.teardown(() => { http.close(); http.closeAllConnections() })
  const { code, out } = await runCli(t, ['monitor', '--once', '--url', `http://127.0.0.1:${(http.address() as AddressInfo).port}/logs`])
  t.equal(code, 1)
  t.match(out, /^REFUSED .* answers, but not with a status of fastify-pg-tail\nThat is another route: /m)
})

t.test('a node that goes away and comes back; rates; Ctrl-C', async (t) => {
  const { url: origin, stream } = await startApp(t, { connectionString: url })
  const client = await stream()
  await client.until(({ data }) => data.type === 'connected')
  const proxy = await TcpProxy.start(t, Number(new URL(origin).port))
  const cli = new Cli(t, ['monitor', '--json', '--interval', '0.05', '--url', `http://127.0.0.1:${proxy.port}/logs/status`])
  await cli.until(({ json }) => json.some(({ reachable, rows_per_second: rows }) => reachable && rows === 0))
  await sql`insert into scraper_log (run_id, message) select 1, 'many' from generate_series(1, 100)`
  await cli.until(({ json }) => json.some(({ rows_per_second: rows }) => rows > 0))
  proxy.refuse()
  proxy.cut()
  await cli.until(({ json }) => json.at(-1)?.reachable === false)
  t.match(cli.json.at(-1), { fine: false, error: /cannot be reached/ })
  proxy.accept()
  await cli.until(({ json }) => json.at(-1)?.reachable === true)
  t.equal(await cli.interrupt(), 0)
  t.equal(cli.err, '')
  client.close()
})

t.test('the database alone: sleepers, writers, gap holders, sessions', async (t) => {
  const { app, stream } = await startApp(t, { connectionString: url })
  const client = await stream()
  await client.until(({ data }) => data.type === 'connected')
  const writer = await sql.reserve()
  await writer`begin`
  const [{ pid }] = await writer<[{ pid: number }]>`select pg_backend_pid() as pid`
  await writer`insert into scraper_log (run_id, message) values (1, 'waits')`
  const other = await sql.reserve()
  await other`begin`
  await other`insert into scraper_log (run_id, message) values (1, 'two-phase')`.catch(() => {})
  const cli = new Cli(t, ['monitor', '--json', '--interval', '0.05', ...LOG], env)
  await cli.until(({ json }) => json.at(-1)?.sleepers.length > 0)
  const report = cli.json.at(-1)
  t.equal(await cli.interrupt(), 0)
  t.match(report, { reachable: true, fine: true, server: { standby: false, queue_usage_percent: 0 }, refused: null, sleepers: [{ table: 'scraper_log' }] })
  t.match(report.table, { name: 'public.scraper_log', writers_in_flight: 2, installation: { bell: 'own', missing: [] } })
  t.match(report.table.gap_holders.find((holder: any) => holder.pid === pid), { gid: null, state: 'idle in transaction', age_seconds: Number })
  t.strictSame([...new Set(report.sessions.map(({ name }: any) => name))].filter((name) => !/ (lookup|replay|proof)$/.test(name as string)), ['fastify-pg-tail listener', 'fastify-pg-tail reader'])
  t.ok(report.sessions.some((session: any) => session.pid === report.sleepers[0].pid), 'the sleeper is the listener')

  const { code, out } = await runCli(t, ['monitor', '--once', ...LOG], env)
  t.equal(code, 0)
  for (const line of [/^Server +PostgreSQL .*, a primary$/m, /^Trigger +own, schema version 1$/m, /^Writers +2 in flight$/m, new RegExp(`^ +pid ${pid}, idle in transaction, for [\\d.]+ s$`, 'm'),
    /^Sleepers +1$/m, /^ +pid \d+ on scraper_log$/m, /^ +pid \d+ fastify-pg-tail listener, idle, connected for/m]) t.match(out, line)
  t.notMatch(out, '\x1b')
  await writer`rollback`
  await other`rollback`
  writer.release()
  other.release()
  client.close()
  await app.close()
  t.match(await runCli(t, ['monitor', '--once'], env), { code: 0, out: /^Sleepers +0: no reader sleeps, so no writer rings$/m })
  t.match(await runCli(t, ['monitor', '--once', 'nope'], env), { code: 1, out: /^Table +table nope cannot be tailed: it does not exist/m })
  t.match(await runCli(t, ['monitor', '--once', '--channel', 'other', ...LOG], env), { code: 1, out: /^ +trigger .* not "other"$/m })
  t.match(await runCli(t, ['monitor', '--once', '--runs', 'nope', ...LOG], env), { code: 1, out: /^Table +relation "nope" does not exist$/m })
})

t.test('a server that goes away and comes back', async (t) => {
  const own = await startPostgres(t)
  const cli = new Cli(t, ['monitor', '--json', '--interval', '0.05', '--database', own.url])
  await cli.until(({ json }) => json.at(-1)?.reachable === true)
  await own.stop()
  await cli.until(({ json }) => json.at(-1)?.reachable === false)
  await own.start()
  await cli.until(({ json }) => json.at(-1)?.reachable === true)
  t.notMatch(cli.out, new URL(own.url).password)
  t.equal(await cli.interrupt(), 0)
})

t.test('in a terminal it is drawn again in its place', { skip: noScript }, async (t) => {
  const draw = async (more: NodeJS.ProcessEnv, enough: RegExp) => {
    const { NODE_OPTIONS: _, NO_COLOR: __, ...rest } = process.env
    const script = spawn('script', ['-qec', [...COMMAND, 'monitor', '--interval', '0.05'].map((word) => `'${word}'`).join(' '), '/dev/null'], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...rest, ...env, TERM: 'xterm', ...more } })
    t.teardown(() => script.kill('SIGKILL'))
    let out = ''
    await new Promise<void>((resolve) => script.stdout.setEncoding('utf8').on('data', (text) => {
      out += text
      if (enough.test(out)) resolve()
    }))
    script.kill()
    return out
  }
  // eslint-disable-next-line no-control-regex
  const again = /fastify-pg-tail[^]*\x1b\[\d+A\r[^]*fastify-pg-tail/
  t.match(await draw({}, again), '\x1b[1mfastify-pg-tail\x1b[0m')
  t.notMatch(await draw({ NO_COLOR: '1' }, again), '\x1b[1m')
  t.notMatch(await draw({ TERM: 'dumb' }, /Sessions[^]*Sessions/), '\x1b')
})
