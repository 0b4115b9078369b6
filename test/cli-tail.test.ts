// `fastify-pg-tail tail`, straight from the database and by a stream route.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { Arguments } from '../lib/cli/arguments.ts'
import { tail } from '../lib/cli/tail.ts'
import { Terminal } from '../lib/cli/terminal.ts'
import { startApp } from './support/app.ts'
import { Cli, COMMAND, runCli } from './support/cli.ts'
import { eventually } from './support/eventually.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'

const LOG = ['--table', 'public.scraper_log']
/** Of util-linux: it gives a program a terminal. Where all tests have to run a missing one is a failure. */
const noScript = process.env.CI || spawnSync('script', ['--version']).status === 0 ? false : 'no script of util-linux here'
const server = await startPostgres(t)
let databases = 0

async function fresh (t: Test) {
  const url = await createDatabase(t, server, `cli_tail_${++databases}`)
  const sql = connect(t, url)
  await createDemoTables(sql)
  const write = (messages: string[], run = 1, level = 'INFO') => sql`insert into scraper_log ${sql(messages.map((message) => ({ run_id: run, level, message })))}`
  return { url, sql, write, env: { DATABASE_URL: url } }
}

const messages = (out: string) => out.trim().split('\n').filter(Boolean).map((line) => JSON.parse(line).message)

/** Asks the table and the stream the same. */
async function both (t: Test, options: string[], app: { url: string }, env: NodeJS.ProcessEnv) {
  const [table, stream] = await Promise.all([
    runCli(t, ['tail', '--json', ...LOG, ...options], env),
    runCli(t, ['tail', '--json', '--url', `${app.url}/logs/stream`, ...options])
  ])
  t.match(table, { code: 0, err: '' }, options.join(' '))
  t.match(stream, { code: 0, err: '' })
  t.equal(stream.out, table.out, 'the same by both ways')
  return messages(table.out)
}

t.test('what is there: the last rows, of a run, of levels, since a time', async (t) => {
  const { url, sql, write, env } = await fresh(t)
  const app = await startApp(t, { connectionString: url })
  t.same(await both(t, [], app, env), [], 'an empty table')
  await write(Array.from({ length: 12 }, (_, i) => `a ${i + 1}`))
  await write(['b 1', 'b 2'], 2, 'ERROR')
  await write(['a 13'], 1, 'WARN')
  t.same(await both(t, [], app, env), ['a 6', 'a 7', 'a 8', 'a 9', 'a 10', 'a 11', 'a 12', 'b 1', 'b 2', 'a 13'])
  t.same(await both(t, ['-n', '0'], app, env), [])
  t.same(await both(t, ['-n', '3'], app, env), ['b 1', 'b 2', 'a 13'])
  t.same(await both(t, ['--run', '2'], app, env), ['b 1', 'b 2'], 'fewer than asked for')
  t.same(await both(t, ['--run', '3'], app, env), [])
  t.same(await both(t, ['--level', 'ERROR,WARN', '-n', '2'], app, env), ['b 2', 'a 13'])
  t.same(await both(t, ['--level', 'ERROR', '--level', 'WARN'], app, env), ['b 1', 'b 2', 'a 13'])
  await sql`update scraper_log set created_at = now() - interval '1 hour' where id <= 10 or message = 'b 1'`
  t.same(await both(t, ['--since', '10m'], app, env), ['a 11', 'a 12', 'b 2', 'a 13'], 'an old one in between is left out')
  t.same(await both(t, ['--since', '2999-01-01T00:00:00Z'], app, env), [])
})

t.test('by a stream: all that is there, while rows are written, and whichever heartbeats come between', async (t) => {
  const { url, sql, write } = await fresh(t)
  // More than a socket takes at once.
  await sql`insert into scraper_log (run_id, message) select 1, repeat('x', 1000) from generate_series(1, 3000)`
  const often = await startApp(t, { connectionString: url, heartbeat: 1 })
  const never = await startApp(t, { connectionString: url, heartbeat: 3_600_000 })
  const show = async (app: { url: string }, count: string): Promise<number[]> => {
    const { code, out, err } = await runCli(t, ['tail', '--json', '-n', count, '--url', `${app.url}/logs/stream`])
    t.match({ code, err }, { code: 0, err: '' })
    return out.trim().split('\n').map((line) => JSON.parse(line).id)
  }
  const over = new AbortController()
  const writing = (async () => { while (!over.signal.aborted) await write(['more']) })()
  for (const app of [often, never]) {
    const ids = await show(app, '5')
    t.same(ids, Array.from({ length: 5 }, (_, i) => ids[0]! + i), 'five in a row')
  }
  over.abort()
  await writing
  const [{ total }] = await sql<[{ total: number }]>`select count(*)::int as total from scraper_log`
  for (const app of [often, never]) t.equal((await show(app, '100000')).length, total)
})

t.test('whoever reads the output slowly is waited for', async (t) => {
  const { url, sql } = await fresh(t)
  await sql`insert into scraper_log (run_id, message) select 1, 'row ' || n from generate_series(1, 2500) n`
  const app = await startApp(t, { connectionString: url })
  for (const [way, most] of [[LOG, 1000], [['--url', `${app.url}/logs/stream`], 1]] as const) {
    const portions: number[] = []
    const output = {
      lines: 0,
      writableNeedDrain: false,
      write () {
        output.lines++
        output.writableNeedDrain = true
      },
      once (_event: 'drain', listener: () => void) {
        portions.push(output.lines)
        output.lines = 0
        setImmediate(() => {
          output.writableNeedDrain = false
          listener()
        })
      }
    }
    const complaints: string[] = []
    const terminal = new Terminal(output, { write: (text) => complaints.push(text) }, {})
    const args = new Arguments(['-n', '2500', ...way], tail.options, tail.takesNames)
    t.equal(await tail.run({ args, terminal, env: { DATABASE_URL: url }, signal: new AbortController().signal }), 0)
    t.equal(portions.reduce((sum, lines) => sum + lines, output.lines), 2500)
    t.ok(portions.length >= 2 && Math.max(...portions, output.lines) <= most, `portions of ${most} at most`)
    t.same(complaints, [])
  }
})

t.test('what cannot be read is said, and tried a few times', async (t) => {
  const { url, sql } = await fresh(t)
  await sql.unsafe(`create function refuse() returns boolean language plpgsql as $$ begin raise 'no luck'; end $$;
    insert into scraper_log (run_id, message) values (1, 'x'); alter table scraper_log enable row level security;
    create role tail_unlucky login password 'unlucky'; grant select on scraper_log, scraper_log_id_seq to tail_unlucky; create policy unlucky on scraper_log using (refuse())`)
  const env = { DATABASE_URL: Object.assign(new URL(url), { username: 'tail_unlucky', password: 'unlucky' }).href }
  t.match(await runCli(t, ['tail', ...LOG], env), { code: 1, out: '', err: /^-- .+: trying again \(no luck\)\nfastify-pg-tail: no luck\n$/ })
})

t.test('one row a line, without escape codes where it is no terminal, and harmless', async (t) => {
  const { url, write, env } = await fresh(t)
  await write(['\x1b[2J\x1b]0;title\x07evil\r\nsecond\tline \x9b31m \u202edesrever\u2028 \x7f'], 1, 'ERR\x1b[31m')
  const shown = 'ERR\\u001b[31m 1 \\u001b[2J\\u001b]0;title\\u0007evil\\r\\nsecond\\tline \\u009b31m \\u202edesrever\\u2028 \\u007f\n'
  const app = await startApp(t, { connectionString: url })
  for (const way of [LOG, ['--url', `${app.url}/logs/stream`]]) {
    const { code, out } = await runCli(t, ['tail', ...way], env)
    t.equal(code, 0)
    t.match(out, /^\d{4}-\d\d-\d\dT[\d:.]+Z /)
    t.equal(out.slice(25), shown)
    const json = await runCli(t, ['tail', '--json', ...way], env)
    // eslint-disable-next-line no-control-regex
    t.notMatch(json.out.trimEnd(), /[\u0000-\u001f\u007f-\u009f\u2028\u202e]/)
    t.match(JSON.parse(json.out), { id: 1, run_id: 1, message: '\x1b[2J\x1b]0;title\x07evil\r\nsecond\tline \x9b31m \u202edesrever\u2028 \x7f', cursor: '1' })
  }
})

t.test('in a terminal there are colours, and no others than ours', { skip: noScript }, async (t) => {
  const { write, env } = await fresh(t)
  await write(['\x1b[2Jevil'], 1, 'ERROR')
  const inTerminal = async (more: NodeJS.ProcessEnv) => {
    const { NODE_OPTIONS: _, NO_COLOR: __, ...rest } = process.env
    const script = spawn('script', ['-qec', [...COMMAND, 'tail', ...LOG].map((word) => `'${word}'`).join(' '), '/dev/null'], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...rest, ...env, TERM: 'xterm', ...more } })
    let out = ''
    script.stdout.setEncoding('utf8').on('data', (text) => { out += text })
    t.same(await once(script, 'close'), [0, null])
    return out
  }
  const out = await inTerminal({})
  t.match(out, '\x1b[31mERROR\x1b[0m')
  t.match(out, '\\u001b[2Jevil')
  t.notMatch(out, '\x1b[2J')
  t.notMatch(await inTerminal({ NO_COLOR: '1' }), '\x1b')
})

t.test('other columns, extra ones, ids beyond a number', async (t) => {
  const { sql, env } = await fresh(t)
  await sql`create table jobs (seq bigint generated by default as identity (start 9007199254740993) primary key, job uuid, severity text, body text, at timestamptz, host text, facts jsonb)`
  await sql`insert into jobs (job, severity, body, at, host, facts) values ('6f1c1c3a-0000-4000-8000-000000000001', 'info', 'hello', '2026-01-21T10:00:00Z', 'web-1', '{"a": 1}')`
  const options = ['--table', 'jobs', ...['id=seq', 'run=job', 'level=severity', 'message=body', 'timestamp=at', 'extra=host', 'extra=facts'].flatMap((each) => ['--column', each])]
  t.equal((await runCli(t, ['tail', 'jobs', ...options.slice(2)], env)).out, '2026-01-21T10:00:00.000Z info  6f1c1c3a-0000-4000-8000-000000000001 hello host="web-1" facts={"a":1}\n')
  const { out } = await runCli(t, ['tail', '--json', '--run', '6F1C1C3A-0000-4000-8000-000000000001', ...options], env)
  t.match(JSON.parse(out), { id: '9007199254740993', run_id: '6f1c1c3a-0000-4000-8000-000000000001', host: 'web-1', facts: { a: 1 } })
  t.match(await runCli(t, ['tail', '--run', 'seven', ...options], env), { code: 1, out: '', err: /^fastify-pg-tail: run_id "seven" is not a valid uuid$/m })
})

t.test('-f: late rows, a server that goes away and comes back, each row once; Ctrl-C', async (t) => {
  const { url, sql, write, env } = await fresh(t)
  const proxy = await TcpProxy.start(t, server.port)
  t.equal((await runCli(t, ['install', 'public.scraper_log'], env)).code, 0)
  await write(['before 1', 'before 2'])
  const cli = new Cli(t, ['tail', '-f', '--json', '-n', '1', ...LOG, '--database', proxy.url(url)])
  const has = (message: string) => cli.until(({ json }) => json.some((row) => row.message === message))
  await has('before 2')
  const late = await sql.reserve()
  await late`begin`
  await late`insert into scraper_log (run_id, message) values (1, 'late')`
  await write(['live'])
  await has('live')
  await late`commit`
  late.release()
  await has('late')

  proxy.refuse()
  proxy.cut()
  await cli.until(({ err }) => /^-- listener is unhealthy: polling, and reconnecting \(.*\)$/m.test(err))
  await write(['away 1', 'away 2'])
  proxy.accept()
  await has('away 2')
  await write(['again'])
  await has('again')
  t.same(cli.json.map(({ message }) => message), ['before 2', 'live', 'late', 'away 1', 'away 2', 'again'])
  t.notMatch(cli.err, new URL(url).password)
  t.equal(await cli.interrupt(), 0)
  await eventually(() => sql`select from pg_stat_activity where application_name like 'fastify-pg-tail %' and datname = current_database()`, (rows) => rows.length === 0)
})

t.test('-f --since misses nobody who is in flight', async (t) => {
  const { sql, write, env } = await fresh(t)
  const late = await sql.reserve()
  await late`begin`
  await late`insert into scraper_log (run_id, message) values (1, 'late')`
  await write(['there'])
  const cli = new Cli(t, ['tail', '-f', '--json', '--since', '1h', ...LOG], env)
  await cli.until(({ json }) => json.length === 1)
  await late`commit`
  late.release()
  await cli.until(({ json }) => json.length === 2)
  t.same(cli.json.map(({ message }) => message), ['there', 'late'])
  t.equal(await cli.interrupt(), 0)
})

t.test('-f ends with its run, and tells of a table that starts afresh', async (t) => {
  const { url, sql, write, env } = await fresh(t)
  const app = await startApp(t, { connectionString: url, runs: { table: 'scraper_run', finished: ['finished'] } })
  await sql`insert into scraper_run (id, name) values (7, 'seven')`
  await write(['old'], 7)
  const ways = [[...LOG, '--runs', 'public.scraper_run', '--finished', 'finished'], ['--url', `${app.url}/logs/stream`]]
  const all = ways.map((way) => new Cli(t, ['tail', '-f', '--json', '--run', '7', ...way], env))
  for (const cli of all) await cli.until(({ json }) => json.length === 1)
  await sql`truncate scraper_log restart identity`
  for (const cli of all) await cli.until(({ err }) => /^-- reset: The log was started afresh/m.test(err))
  await write(['new'], 7)
  for (const cli of all) await cli.until(({ json }) => json.length === 2)
  await sql`update scraper_run set status = 'finished' where id = 7`
  for (const cli of all) {
    t.equal(await cli.exit, 0)
    t.match(cli.err, /^-- run 7 is finished with 1 rows: Run finished$/m)
    t.same(cli.json.map(({ message }) => message), ['old', 'new'])
  }
})

t.test('-f says nothing of what its end breaks off', async (t) => {
  const { url, sql, write, env } = await fresh(t)
  t.equal((await runCli(t, ['install', 'public.scraper_log'], env)).code, 0)
  await sql`insert into scraper_run (id, name) values (7, 'seven')`
  await write(['one'], 7)
  const proxy = await TcpProxy.start(t, server.port)
  const cli = new Cli(t, ['tail', '-f', '--json', '--run', '7', ...LOG, '--runs', 'public.scraper_run', '--finished', 'finished', '--listen-database', proxy.url(url)], env)
  await cli.until(({ json }) => json.length === 1)
  await eventually(() => sql`select from pg_stat_activity where application_name like 'fastify-pg-tail listener%' and datname = current_database()
    and query like '%pg_try_advisory_lock_shared%' and state = 'idle'`, (rows) => rows.length > 0)
  proxy.refuse()
  proxy.cut()
  await cli.until(({ err }) => /^-- mode: /m.test(err))
  // While it looks at the trigger, its link goes dead: what it asks for then, the lock of sleepers, is under way until the end.
  const holder = await sql.reserve()
  await holder`begin`
  await holder`lock table scraper_log in access exclusive mode`
  proxy.accept()
  await eventually(() => sql`select from pg_locks join pg_stat_activity using (pid)
    where relation = 'scraper_log'::regclass and not granted and application_name like 'fastify-pg-tail lookup%'`, (rows) => rows.length > 0)
  proxy.blackhole()
  await holder`rollback`
  holder.release()
  await cli.until(({ err }) => (err.match(/^-- mode: /gm) ?? []).length === 2)
  const before = cli.err.length
  await sql`update scraper_run set status = 'finished' where id = 7`
  t.equal(await cli.exit, 0)
  t.match(cli.err, /^-- run 7 is finished with 1 rows: Run finished\n$/m)
  t.notMatch(cli.err.slice(before), 'could not be armed')
})

/** A stream route that does what a test wants; the answer to the n-th request. */
async function route (t: Test, ...answers: Array<(response: ServerResponse, request: IncomingMessage) => void>) {
  const asked: IncomingMessage[] = []
  const http = createServer((request, response) => {
    asked.push(request)
    answers[Math.min(asked.length, answers.length) - 1]!(response, request)
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  t.teardown(() => { http.close(); http.closeAllConnections() })
  return { asked, url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/s` }
}

const stream = (text: string) => (response: ServerResponse) => response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' }).end(text)
const refuse = (code: number, message: string) => (response: ServerResponse) => response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify({ message }))
const row = (id: number, message: string) => `id: ${id}\ndata: ${JSON.stringify({ type: 'log', id, run_id: 7, level: 'INFO', timestamp: null, message })}\n\n`

t.test('by a stream: the last id, retry, and 204', async (t) => {
  const { asked, url } = await route(t,
    stream(`retry: 10\r\n\r\n${row(1, 'one').replaceAll('\n', '\r\n')}: heartbeat\nid: 5~3\n\nid: 99\ndata: {"type":"log"`),
    refuse(503, 'restarting'),
    (response) => response.destroy(),
    stream(row(3, 'three')),
    (response) => response.writeHead(204).end())
  const { code, out, err } = await runCli(t, ['tail', '-f', '--json', '--run', '7', '--level', 'INFO', '--url', `${url}?tenant=a`, '--header', 'X-Team: scrapers'])
  t.equal(code, 0)
  t.same(messages(out), ['one', 'three'])
  t.same(asked.map(({ headers }) => headers['last-event-id']), [undefined, '5~3', '5~3', '5~3', '3'], 'a heartbeat moves it, half an event does not')
  t.ok(asked.every(({ headers }) => headers['x-team'] === 'scrapers' && headers.accept === 'text/event-stream'))
  t.equal(asked[0]!.url, '/s?tenant=a&tail=10&run_id=7&level=INFO')
  t.match(err, '-- the stream ended: coming back after 10 ms\n')
  t.match(err, /^-- http:\/\/127\.0\.0\.1:\d+\/s answers 503 .*: restarting: trying again$/m)
  t.match(err, '-- the run has ended, and all of it was shown\n')
})

t.test('by a stream: an app that is away for long is asked again and again, when it says so', async (t) => {
  let [asked, waited] = [0, 0]
  const { url } = await route(t,
    stream(`retry: 1\n\n${row(1, 'one')}`),
    (response) => {
      asked = performance.now()
      response.writeHead(425, { 'retry-after': '1' }).end()
    },
    (response) => {
      waited = performance.now() - asked
      refuse(503, 'restarting')(response)
    },
    ...Array.from({ length: 12 }, () => refuse(503, 'restarting')),
    stream(row(2, 'two')),
    (response) => response.writeHead(204).end())
  const { code, out, err } = await runCli(t, ['tail', '-f', '--json', '--url', url])
  t.equal(code, 0)
  t.same(messages(out), ['one', 'two'])
  t.ok(waited > 900, 'not before it wanted to be asked')
  t.equal(err.match(/restarting/g)!.length, 1, 'said once')
  t.notMatch(err, 'Warning')
})

t.test('by a stream: what is refused is not asked for again', async (t) => {
  for (const answer of [refuse(403, 'you may not watch this log'), refuse(503, 'full'), (response: ServerResponse) => response.end('<html>'), stream('data: hello\n\n')]) {
    const { asked, url } = await route(t, answer)
    const { code, out, err } = await runCli(t, ['tail', '-f', '--url', url.replace('//', '//me:hush@') + '?token=hush'])
    t.match({ code, out, asked: asked.length }, { code: 1, out: '', asked: 1 })
    t.match(err, /^fastify-pg-tail: .*(answers 403 Forbidden: you may not watch this log|answers 503 .*: full|give the stream route|not a stream of fastify-pg-tail)/)
    t.notMatch(err, 'hush')
    t.equal(asked[0]!.headers.authorization, `Basic ${btoa('me:hush')}`)
  }
})

t.test('by a stream: an app that goes away and comes back', async (t) => {
  const { url, write } = await fresh(t)
  const first = await startApp(t, { connectionString: url, retry: 50 })
  const port = Number(new URL(first.url).port)
  const proxy = await TcpProxy.start(t, port)
  await write(['one'])
  const cli = new Cli(t, ['tail', '-f', '--json', '--url', `http://127.0.0.1:${proxy.port}/logs/stream`])
  await cli.until(({ json }) => json.length === 1)
  proxy.refuse()
  proxy.cut()
  await cli.until(({ err }) => /cannot be reached: .*: trying again/.test(err))
  await write(['two', 'three'])
  proxy.accept()
  await cli.until(({ json }) => json.length === 3)
  await cli.until(({ err }) => err.includes('-- the stream is back\n'))
  await write(['four'])
  await cli.until(({ json }) => json.length === 4)
  t.same(cli.json.map(({ message }) => message), ['one', 'two', 'three', 'four'])
  t.equal(await cli.interrupt(), 0)
})

t.test('| head', async (t) => {
  const { write, env } = await fresh(t)
  await write(Array.from({ length: 500 }, (_, i) => `${i} ${'x'.repeat(2000)}`))
  const shell = spawn('sh', ['-c', '{ "$@"; echo "exit $?" >&2; } | head -n 1', 'sh', ...COMMAND, 'tail', '-n', '500', ...LOG], { env: { ...process.env, NODE_OPTIONS: '', ...env } })
  let out = ''
  let err = ''
  shell.stdout.setEncoding('utf8').on('data', (text) => { out += text })
  shell.stderr.setEncoding('utf8').on('data', (text) => { err += text })
  await once(shell, 'close')
  t.match(out, /^\S+ INFO {2}1 0 x+\n$/)
  t.equal(err, 'exit 0\n')
})
