// The command line: its arguments, and the commands around the installation.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { startApp } from './support/app.ts'
import { Cli, COMMAND, runCli } from './support/cli.ts'
import { eventually } from './support/eventually.ts'
import { connect, createDatabase, createDemoTables, startPostgres } from './support/postgres.ts'

const LOG = 'public.scraper_log'
const RUNS = 'public.scraper_run'
const server = await startPostgres(t)
let databases = 0

/** A database with the tables, and the program in it. */
async function fresh (t: Test) {
  const url = await createDatabase(t, server, `cli_${++databases}`)
  const sql = connect(t, url)
  await createDemoTables(sql)
  return { url, sql, run: (...args: string[]) => runCli(t, args, { DATABASE_URL: url }) }
}

const triggers = (sql: Awaited<ReturnType<typeof fresh>>['sql']) =>
  sql`select tgname::text as name from pg_trigger where tgname like 'fastify%' order by 1`.then((rows) => rows.map(({ name }) => name))

/** Where all tests have to run a missing program is a failure. */
const without = (program: string) => process.env.CI || spawnSync(program, ['--version']).status === 0 ? false : `no ${program} here`

t.test('help', async (t) => {
  const whole = await runCli(t, ['--help'])
  t.match(whole, { code: 0, err: '' })
  const commands = [...whole.out.matchAll(/^ {2}(\w+) +\S/gm)].map(([, name]) => name!)
  t.same(commands.sort(), ['doctor', 'install', 'monitor', 'sql', 'status', 'tail', 'uninstall'])
  for (const command of commands) {
    const { code, out, err } = await runCli(t, [command, '--help'])
    t.match({ code, err }, { code: 0, err: '' }, command)
    t.match(out, `Usage: fastify-pg-tail ${command} `)
    t.match(out, /^ {2}-h, --help +\S/m)
    t.equal((await runCli(t, ['help', command])).out, out)
  }
})

t.test('which one this is', async (t) => {
  const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
  t.match(await runCli(t, ['--version']), { code: 0, out: `${version}\n`, err: '' })
})

t.test('a wrong command line: a sentence on stderr, and 2', async (t) => {
  const DATABASE_URL = 'postgres://u:hush@127.0.0.1:1/x'
  const cases: Array<[string[], RegExp, NodeJS.ProcessEnv?]> = [
    [[], /no command: give one of tail, monitor/],
    [['tial'], /no command "tial": give one of tail, monitor/],
    [['--json', 'tail'], /no command before the option --json: give one of tail/],
    [['tail', '--tabel=x'], /Unknown option '--tabel'\nSee: fastify-pg-tail tail --help/],
    [['tail', 'public.log', 'more'], /Unexpected argument 'more': give one table/],
    [['tail', 'public.log', '--table', 'more'], /Unexpected argument 'public\.log': --table names a table already/],
    [['tail', 'public.log', '--url', 'http://localhost'], /--table does not go with --url/],
    [['tail', LOG, '-n', '-5'], /--lines is -5: give an integer from 0 to 100000/],
    [['monitor', '--interval', '-1'], /--interval is -1: give seconds/],
    [['help', 'tial'], /no command "tial": give one of tail, monitor/],
    [['tail', '--database'], /'--database <value>' argument missing/],
    [['tail', '--table='], /--table is empty/],
    [['tail'], /give --table/],
    [['tail', '--table', LOG, '-n', 'ten'], /--lines is ten: give an integer from 0 to 100000/],
    [['tail', '--table', LOG, '--since', 'noon'], /--since is noon: give a time such as 10m/],
    [['tail', '--table', LOG, '--since', '10'], /--since is 10: give a time such as 10m/],
    [['tail', '--table', LOG, '--since', '1h', '-n', '1'], /--lines does not go with --since/],
    [['tail', '--table', LOG, '--level', 'INFO,'], /--level names no level/],
    [['tail', '--table', LOG, '--runs', RUNS], /--runs and --finished go together/],
    [['tail', '--table', LOG, '--column', 'ran=x'], /--column is ran=x: give id, run/],
    [['tail', '--table', LOG, '--column', 'extra=level'], /--column: a message has that field already/],
    [['tail', '--table', LOG, '--header', 'a: b'], /--header goes with --url/],
    [['tail', '--url', 'localhost/logs'], /--url is no URL: .*\/logs\/stream$/m],
    [['monitor', '--url', 'localhost:3000/logs/status'], /--url is no URL: .*\/logs\/status$/m],
    [['tail', '--url', 'http://u:%zz@localhost'], /--url is no URL: write a %/],
    [['tail', '--url', 'http://localhost', '--table', LOG], /--table does not go with --url/],
    [['monitor', '--interval', '0'], /--interval is 0: give seconds/],
    [['monitor', '--channel', 'x'], /--channel goes with --table/],
    [['install'], /no table: name the log table/],
    [['install', LOG, 'b', '--runs', RUNS], /--runs belongs to one log table/],
    [['install', LOG, '--payload', 'all'], /--payload is all: give one of none, row/],
    [['install', LOG, '--channel', 'x'.repeat(64)], /option "channel" is .*63 bytes/],
    [['uninstall', '--all', LOG], /--all takes away everything/],
    [['sql', LOG, '--all'], /--all goes with --uninstall/],
    [['sql', '--uninstall', LOG, '--channel', 'x'], /--channel does not go with --uninstall/],
    [['status', LOG], /no database: give --database postgres:\/\/user:password@host:5432\/database, or/, { DATABASE_URL: '' }],
    [['status', LOG], /DATABASE_URL is no URL of a database: give a URL such as postgres:\/\/user:password@host:5432\/database$/m, { DATABASE_URL: 'mysql://u:hush@x/x' }],
    [['status', LOG, '--database', 'postgres://u:hush@a@b/x'], /--database is no URL of a database/],
    [['status', LOG, '--pasword', 'hush'], /Unknown option '--pasword'/],
    [['doctor', 'postgres://u:hush@x/x'], /Unexpected argument 'postgres:\/\/\*\*\*@x\/x'/],
    [['doctor', 'postgres://x/x?password=hush'], /Unexpected argument 'postgres:\/\/x\/x\?password=\*\*\*'/],
    [['tail', '--url', 'http://x', '--header', 'hush'], /--header is no header: give it as 'Name: value'/]
  ]
  // A few at a time: each is a process.
  while (cases.length > 0) {
    await Promise.all(cases.splice(0, 4).map(async ([args, pattern, env]) => {
      const { code, out, err } = await runCli(t, args, { DATABASE_URL, ...env })
      t.match({ code, out }, { code: 2, out: '' }, args.join(' '))
      t.match(err, pattern)
      t.notMatch(err, /hush|\n {4}at /)
    }))
  }
})

t.test('a server that is not there: 1, and no password', async (t) => {
  const args = [['status', LOG], ['install', LOG], ['uninstall', LOG], ['tail', '--table', LOG], ['tail', '-f', '--table', LOG], ['monitor', '--once'], ['doctor', '--json']]
  await Promise.all(args.map(async (args) => {
    const { code, out, err } = await runCli(t, args, { DATABASE_URL: 'postgres://u:hush@127.0.0.1:1/x' })
    t.equal(code, 1, args.join(' '))
    t.match(out + err, /ECONNREFUSED 127\.0\.0\.1:1/)
    t.notMatch(out + err, /hush|\n {4}at /)
  }))
})

t.test('status says what is missing, install puts it there, and again does nothing', async (t) => {
  const { sql, run } = await fresh(t)
  const before = await run('status', LOG, '--runs', RUNS)
  t.equal(before.code, 1)
  t.match(before.out, /^missing public\.scraper_log: nothing rings, no schema fastify_pg_tail$/m)
  t.match(before.out, /^ +trigger fastify_pg_tail_runs on public\.scraper_run is missing$/m)
  t.match(before.out, 'To fix it: npx fastify-pg-tail install public.scraper_log --runs public.scraper_run\n')
  t.notMatch(before.out, '\x1b')
  t.same(await triggers(sql), [], 'it has changed nothing')

  const fix = /To fix it: npx fastify-pg-tail (.*)$/m.exec(before.out)![1]!.split(' ')
  const first = await run(...fix)
  t.match(first, { code: 0, err: '', out: 'It was installed now.' })
  t.same(await triggers(sql), ['fastify_pg_tail_insert', 'fastify_pg_tail_runs', 'fastify_pg_tail_truncate'])
  t.match(await run(...fix), { code: 0, out: 'Nothing had to be done.' })
  t.match(await run('status', LOG, '--runs', RUNS), { code: 0, out: /^ok +public\.scraper_log: the trigger rings, schema fastify_pg_tail version 1\n$/ })

  const wrong = await run('status', LOG, '--runs', 'public.nope')
  t.match(wrong, { code: 1, err: '', out: /^missing public\.scraper_log: the trigger rings, .*\n +the table of runs, public\.nope: it does not exist; correct --runs, and the option runs\.table of the app\n$/ })

  await sql`alter table scraper_log disable trigger fastify_pg_tail_insert`
  const after = await run('status', LOG, '--json')
  t.equal(after.code, 1)
  t.match(JSON.parse(after.out), [{ table: LOG, bell: 'none', missing: ['trigger fastify_pg_tail_insert on public.scraper_log is disabled'], command: `npx fastify-pg-tail install ${LOG}` }])
})

t.test('several tables, another channel, rows as payload', async (t) => {
  const { sql, run } = await fresh(t)
  await sql`create table "Second Log" (id bigserial, message text)`
  const tables = [LOG, '"Second Log"']
  const options = ['--channel', 'ding', '--payload', 'row']
  t.match(JSON.parse((await run('install', ...tables, ...options, '--json')).out), [{ changed: true, missing: [] }, { table: '"Second Log"', changed: true, missing: [] }])
  t.equal((await run('status', ...tables, ...options)).code, 0)
  const other = await run('status', ...tables)
  t.equal(other.code, 1)
  t.match(other.out, `        Where the app has the options channel: "ding" and payload: "row": npx fastify-pg-tail status ${LOG} --channel ding --payload row\n        Otherwise: npx fastify-pg-tail install ${LOG}\n`)
  t.match(other.out, 'npx fastify-pg-tail install \'"Second Log"\'')

  const heard: string[] = []
  await sql.listen('ding', (payload) => heard.push(payload))
  await sql`insert into "Second Log" (message) values ('hello')`
  await sql.listen('marker', () => heard.push('marker'))
  await sql.notify('marker', '')
  await sql`select`
  while (!heard.includes('marker')) await new Promise((resolve) => setImmediate(resolve))
  t.match(JSON.parse(heard[0]!), { message: 'hello' })

  t.match(await run('install', LOG), { code: 0, out: /It was installed now: it rang channel "ding" before; it sent rows before\.\n {10}Before: trigger fastify_pg_tail_insert on public\.scraper_log is missing\n/ })
  t.match(await run('install', LOG, '--channel', 'dong'), { code: 0, out: /It was installed now: it rang channel "log_updates" before\.\n {10}Before: trigger fastify_pg_tail_insert on public\.scraper_log rings channel "log_updates", not "dong"\n/ })

  const byOption = ['--table', tables[0]!, '--table', tables[1]!]
  t.equal((await run('status', ...byOption, ...options)).out, (await run('status', ...tables, ...options)).out)
  t.equal((await run('sql', ...byOption)).out, (await run('sql', ...tables)).out)

  t.match(JSON.parse((await run('uninstall', ...byOption, '--json')).out), [{ changed: true }, { changed: true }])
  t.same(await triggers(sql), [])
  t.match(JSON.parse((await run('uninstall', ...tables, '--json')).out), [{ changed: false }, { changed: false }])
})

t.test('somebody else rings already: what is asked for by name is installed beside it', async (t) => {
  const { sql, run } = await fresh(t)
  await sql.unsafe(`create function shout() returns trigger language plpgsql as $$ begin perform pg_notify('log_updates', ''); return null; end $$;
    create trigger shout after insert on scraper_log for each row execute function shout()`)
  t.match(await run('install', LOG), { code: 0, out: /: the trigger rings, [^]*It was installed now\./ })
  t.same(await triggers(sql), ['fastify_pg_tail_insert', 'fastify_pg_tail_truncate'])
  t.match(await run('install', LOG), { code: 0, out: 'Nothing had to be done.' })
})

t.test('uninstall takes the bell of the runs along, and with --all the schema', async (t) => {
  const { sql, run } = await fresh(t)
  await run('install', LOG, '--runs', RUNS)
  t.match(await run('uninstall', LOG), { code: 0, out: /^ok +public\.scraper_log: was taken away\n$/ })
  t.same(await triggers(sql), [])
  t.match(await run('uninstall', '--all'), { code: 0, out: 'was taken away' })
  t.match(await sql`select to_regnamespace('fastify_pg_tail') as schema`, [{ schema: null }])
  t.match(await run('uninstall', '--all'), { code: 0, out: 'nothing was there' })
})

t.test('uninstall says that an app may put it back, where one is connected', async (t) => {
  const { url, sql, run } = await fresh(t)
  const { app } = await startApp(t, { connectionString: url, listenerHeartbeat: 50 })
  const { code, out } = await run('uninstall', LOG)
  t.equal(code, 0)
  t.match(out, /^ok +public\.scraper_log: was taken away\n +\d+ sessions? of the plugin (is|are) connected: an app with install: true puts the trigger back, so set install: false there first\.\n$/)
  await eventually(() => triggers(sql), (names) => names.length === 2)
  await app.close()
  await eventually(() => sql`select from pg_stat_activity where application_name like 'fastify-pg-tail %' and datname = current_database()`, (rows) => rows.length === 0)
  t.match(JSON.parse((await run('uninstall', LOG, '--json')).out), [{ changed: true, plugin_sessions: 0 }])
  t.match((await run('uninstall', '--help')).out, /an app with install: true puts the trigger back, so set install: false there first/)
})

t.test('a table that is not there, that belongs to others, or that somebody writes to', async (t) => {
  const { url, sql, run } = await fresh(t)
  for (const command of ['status', 'install', 'uninstall']) {
    t.match(await run(command, 'public.nope'), { code: 1, out: '', err: /^fastify-pg-tail: public\.nope: relation "public\.nope" does not exist\n$/ })
    // Of several, the others are done all the same.
    const several = await run(command, 'public.nope', LOG)
    t.match(several, { code: 1, out: / public\.scraper_log: /, err: /^fastify-pg-tail: public\.nope: / })
    t.match(JSON.parse((await run(command, 'public.nope', LOG, '--json')).out), [{ table: 'public.nope', error: 'relation "public.nope" does not exist' }, { table: LOG }])
  }
  await run('install', LOG)
  await sql`create role cli_guest login password 'guest'`
  const guest = Object.assign(new URL(url), { username: 'cli_guest', password: 'guest' }).href
  await sql`drop trigger fastify_pg_tail_insert on scraper_log`
  const refused = await runCli(t, ['install', LOG, '--database', guest])
  t.match(refused, { code: 1, out: '', err: /was not installed: permission denied.*To do it by hand, as the owner of the table: select fastify_pg_tail\.install/ })
  t.notMatch(refused.err, /:guest/)
  t.match(await runCli(t, ['uninstall', LOG, '--database', guest]), { code: 1, err: /was not taken away: / })

  await run('install', LOG)
  const writer = await sql.reserve()
  await writer`begin`
  await writer`insert into scraper_log (run_id, message) values (1, 'x')`
  t.match(await run('uninstall', LOG), { code: 1, err: /a transaction writes to the table.*nothing was changed/ })
  await writer`rollback`
  await writer`begin`
  await writer`lock table scraper_log`
  const [{ pid }] = await writer`select pg_backend_pid() as pid` as [{ pid: number }]
  t.match(await run('install', LOG), { code: 1, err: `public.scraper_log: no answer from PostgreSQL within 10000 ms; it is locked, or about to be, by pid ${pid}\n` })
  await writer`rollback`
  writer.release()
  t.equal((await triggers(sql)).length, 2)
})

t.test('sql | psql', { skip: without('psql') }, async (t) => {
  const { url, sql, run } = await fresh(t)
  const pipe = async (...args: string[]) => {
    const shell = spawn('sh', ['-c', '"$@" | psql -q -v ON_ERROR_STOP=1 "$DATABASE_URL"', 'sh', ...COMMAND, 'sql', ...args], { env: { ...process.env, NODE_OPTIONS: '', DATABASE_URL: url } })
    shell.stdout.resume()
    return (await once(shell, 'close'))[0]
  }
  t.equal(await pipe(LOG, '--runs', RUNS, '--channel', "it's"), 0)
  t.equal((await run('status', LOG, '--runs', RUNS, '--channel', "it's")).code, 0)
  t.equal(await pipe(LOG, '--runs', RUNS, '--channel', "it's"), 0, 'a second time')
  t.equal(await pipe('--uninstall', LOG), 0)
  t.same(await triggers(sql), [])
  t.equal(await pipe('--uninstall', '--all'), 0)
  t.match(await sql`select to_regnamespace('fastify_pg_tail') as schema`, [{ schema: null }])
})

t.test('sql asks no database, and prints the file as it is', async (t) => {
  const { code, out, err } = await runCli(t, ['sql', LOG, '--payload', 'row'])
  t.match({ code, err }, { code: 0, err: '' })
  t.ok(out.includes((await readFile(new URL('../sql/install.sql', import.meta.url), 'utf8')).trimEnd()))
  t.match(out, "\nselect fastify_pg_tail.install('public.scraper_log', 'log_updates', 'row');\ncommit;\n")
})

t.test('Ctrl-C while it waits for a lock', async (t) => {
  const { url, sql } = await fresh(t)
  const writer = await sql.reserve()
  await writer`begin`
  await writer`lock table scraper_log in access exclusive mode`
  const cli = new Cli(t, ['install', LOG], { DATABASE_URL: url })
  await eventually(() => sql`select from pg_stat_activity where application_name like 'fastify-pg-tail install%' and wait_event_type = 'Lock'`, (rows) => rows.length > 0)
  t.equal(await cli.interrupt(), 130)
  t.match(cli, { out: '', err: '' })
  await writer`rollback`
  writer.release()
  // What it may have left behind on the server could still go on.
  await eventually(() => sql`select from pg_stat_activity where application_name like 'fastify-pg-tail install%' and datname = current_database()`, (rows) => rows.length === 0)
  t.same(await triggers(sql), [])
})
