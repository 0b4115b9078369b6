// `fastify-pg-tail doctor`: each of its findings, provoked for real. What it says fixes it is run, and does.
import t, { type Test } from 'tap'
import { runCli } from './support/cli.ts'
import { bad, examine, fresh as freshOn, of, TWO_PHASE } from './support/doctor.ts'
import { eventually } from './support/eventually.ts'
import { lookForPgBouncer, startPgBouncer } from './support/pgbouncer.ts'
import { connect, startPostgres, VERSION } from './support/postgres.ts'

const server = await startPostgres(t)
const pgbouncer = await lookForPgBouncer()
const fresh = (t: Test, options?: { installed: boolean }) => freshOn(t, server, options)

t.test('nothing is wrong', async (t) => {
  const { env, look } = await fresh(t)
  const findings = await look('--runs', 'public.scraper_run')
  t.same(bad(findings), [TWO_PHASE])
  t.same([...new Set(findings.map(({ check }) => check))], ['server', 'version', 'primary', 'sessions', 'queue', 'listen', 'table', 'privilege', 'columns', 'sequence', 'index', 'rows', 'writers', 'trigger', 'two-phase', 'gaps'])
  const { code, out, err } = await runCli(t, ['doctor', '--table', 'scraper_log'], env)
  t.match({ code, err }, { code: 0, err: '' })
  t.match(out, /^ok {6}listen: LISTEN delivers: /m)
  t.match(out, /^0 problems, 1 warning, \d+ ok\n$/m)
  t.notMatch(out, '\x1b')
  t.match(await runCli(t, ['doctor', 'scraper_log', '--strict'], env), { code: 1, out: /^0 problems, 1 warning, /m })
  const strict = await runCli(t, ['doctor', '--table', 'scraper_log', '--strict', '--json'], env)
  t.match({ code: strict.code, ...JSON.parse(strict.out) }, { code: 1, fine: false })
  t.match((await runCli(t, ['doctor', '--help'])).out, /Warnings alone: exit 0, unless --strict is given\./)
})

t.test('a server that cannot be asked', async (t) => {
  const [wrong, none, gone] = [Object.assign(new URL(server.url), { password: 'hush' }).href, Object.assign(new URL(server.url), { pathname: 'nowhere' }).href, 'postgres://x:hush@127.0.0.1:1/x']
  for (const [url, what, fix] of [[wrong, /password authentication failed/, /pg_hba/], [none, /database "nowhere" does not exist/, /Create the database/], [gone, /ECONNREFUSED/, /start the server/]] as const) {
    const findings = await examine(t, ['--database', url, '--table', 'x'])
    t.match(findings, [{ check: 'server', level: 'problem', what, fix: [fix] }])
    t.equal(findings.length, 1)
    t.notMatch(JSON.stringify(findings), 'hush')
  }
})

t.test('sessions are nearly used up', async (t) => {
  const { sql, url } = await fresh(t)
  await sql`create role doctor_few login password 'few' connection limit 4`
  const few = Object.assign(new URL(url), { username: 'doctor_few', password: 'few' }).href
  const [found] = (await examine(t, ['--database', few])).filter(({ check }) => check === 'sessions')
  t.match(found, { level: 'warning', what: /^only 3 more sessions can be opened \(CONNECTION LIMIT of role\)/, fix: ['alter role doctor_few connection limit -1;'] })
  await sql.unsafe(found!.fix![0]!)
  t.same(bad(await examine(t, ['--database', few])), ['warning table: the table was not looked at: give --table'])
})

t.test('a role or a database that may have no more sessions: what it says fixes it', async (t) => {
  const { sql, url } = await fresh(t)
  await sql`create role doctor_none login password 'none' connection limit 0`
  const none = Object.assign(new URL(url), { username: 'doctor_none', password: 'none' }).href
  for (const whose of ['role "doctor_none"', `database "${new URL(url).pathname.slice(1)}"`]) {
    await sql.unsafe(`alter ${whose} connection limit 0`)
    const findings = await examine(t, ['--database', none])
    t.match(findings, [{ check: 'server', level: 'problem', what: `too many connections for ${whose}`, fix: [`alter ${whose} connection limit -1;`] }])
    await sql.unsafe(findings[0]!.fix![0]!)
    t.match(of(await examine(t, ['--database', none]), 'server'), [{ level: 'ok' }])
  }
})

// Before version 17 a queue takes gigabytes to be full.
if (Number(VERSION) >= 17) {
  t.test('the notification queue is full', async (t) => {
    const own = await startPostgres(t, { max_notify_queue_pages: '64' })
    const sql = connect(t, own.url)
    const sleeper = await sql.reserve()
    await sleeper`listen somebody`
    await sleeper`begin`
    const [{ pid }] = await sleeper<[{ pid: number }]>`select pg_backend_pid() as pid`
    await sql`select pg_notify('somebody', repeat('x', 7000) || i) from generate_series(1, 54) i`
    const [found] = (await examine(t, ['--database', own.url])).filter(({ check }) => check === 'queue')
    t.match(found, { level: 'problem', what: /^the notification queue is [89]\d/, fix: [new RegExp(`^select pg_terminate_backend\\(${pid}\\);`)] })
    await sleeper`rollback`
    sleeper.release()
  })
}

t.test('a pooler in transaction mode', { skip: pgbouncer === null && !process.env.CI && 'no PgBouncer here' }, async (t) => {
  const { url, look } = await fresh(t)
  const pool = await startPgBouncer(t, pgbouncer!, url)
  t.same(bad(await look('--database', pool)), ['problem listen: LISTEN is accepted, but no notification comes back: so does a pooler in transaction mode', TWO_PHASE])
  t.same(bad(await look('--database', pool, '--listen-database', url)), [TWO_PHASE])
  t.same(bad(await look('--listen-database', server.url)), ['problem listen: listenConnectionString leads to another database than connectionString', TWO_PHASE])
})

t.test('a table that is not there, or is none', async (t) => {
  const { sql, env } = await fresh(t, { installed: false })
  await sql`create view newest as select * from scraper_log`
  t.same(bad(await examine(t, ['--table', 'nope'], env)), ['problem table: nope: it does not exist'])
  t.same(bad(await examine(t, ['--table', 'a.b.c.d'], env)), ['problem table: a.b.c.d: it does not exist'])
  t.same(bad(await examine(t, ['--table', 'newest'], env)), ['problem table: public.newest: it is not a table'])
})

t.test('a table of runs that is not there: the trigger is looked at all the same', async (t) => {
  const { sql, look } = await fresh(t)
  const found = await look('--runs', 'public.nope')
  t.same(bad(found), ['problem runs: the table of runs, public.nope: it does not exist', TWO_PHASE])
  t.match(of(found, 'runs')[0]!.fix!.at(-1), /--runs, and the option runs\.table/)
  t.match(of(found, 'trigger'), [{ level: 'ok' }])
  await sql`alter table scraper_log disable trigger fastify_pg_tail_insert`
  const both = await look('--runs', 'public.nope')
  t.match(of(both, 'trigger'), [{ level: 'problem', what: /is disabled$/, fix: ['npx fastify-pg-tail install public.scraper_log', /^or by hand/] }])
})

t.test('columns: all that is wrong with them at once, and the rest goes on', async (t) => {
  const { sql, env } = await fresh(t, { installed: false })
  await sql`create table odd (id text primary key, run_id json, level text, message text, created_at text)`
  const found = bad(await examine(t, ['--table', 'odd', '--column', 'message=body', '--column', 'extra=host'], env))
  t.same(found.filter((each) => /columns/.test(each)), [
    'problem columns: public.odd: its column "id" is text, so it gives no order',
    'problem columns: public.odd: its column "run_id" is json, which has no equality',
    'problem columns: public.odd: it has no column "body"',
    'problem columns: public.odd: its column "created_at" is text, not a time',
    'problem columns: public.odd: it has no column "host"'
  ])
  t.ok(found.some((each) => each.startsWith('problem trigger: schema fastify_pg_tail (version 1) is missing; ')), 'the trigger was looked at, too')
})

t.test('sequences that could lose rows', async (t) => {
  const { sql, look } = await fresh(t)
  const sequence = 'alter sequence scraper_log_id_seq'
  for (const [clause, what] of [
    ['cache 20', [/its sequence has CACHE 20/]], ['cycle', [/its sequence is CYCLE/]], ['cycle cache 5', [/is CYCLE/, /has CACHE 5/]],
    ['increment by -1 minvalue 1 maxvalue 100 start 100', [/its sequence counts down/]], ['minvalue -5', [/its sequence may hand out ids below 1/]]
  ] as const) {
    await sql.unsafe(`${sequence} ${clause}`)
    const findings = await look()
    t.match(bad(findings), [...what, TWO_PHASE])
    t.ok(findings.some(({ check }) => check === 'gaps'), 'who holds it was looked at all the same')
    for (const { fix } of of(findings, 'sequence')) await sql.unsafe(fix![0]!)
    t.same(bad(await look()), [TWO_PHASE], 'fixed')
  }
  await sql.unsafe(`${sequence} increment by 10`)
  t.match(bad(await look()), [/^warning sequence: public\.scraper_log: its sequence counts in steps of 10/, TWO_PHASE])
  await sql`create table handmade (id bigint primary key, run_id bigint, level text, message text, created_at timestamptz)`
  t.match(bad(await examine(t, ['--table', 'handmade'], { DATABASE_URL: sql.options.host && `postgres://postgres:${sql.options.pass}@127.0.0.1:${server.port}/${sql.options.database}` })), [
    /^problem sequence: public\.handmade: no sequence hands out the ids/, /^warning index: .* replay of a run/, /^warning rows: the table is empty for role postgres$/, /^problem trigger/
  ])
  await sql.unsafe("create sequence ids cache 5; create table shared (like handmade); alter table shared alter column id set default nextval('ids')")
  const shared = await look('--table', 'shared')
  t.match(of(shared, 'sequence'), [{ level: 'problem', fix: ['alter sequence public.ids cache 1;'] }])
  t.match(of(shared, 'gaps'), [{ level: 'ok' }], 'also where the column does not own it')
})

t.test('a role that may not enough: what it says fixes it', async (t) => {
  const { sql, url, look } = await fresh(t)
  await sql`create role doctor_guest login password 'guest'`
  const guest = ['--runs', 'public.scraper_run', '--database', Object.assign(new URL(url), { username: 'doctor_guest', password: 'guest' }).href]
  const findings = await look(...guest)
  t.same(bad(findings).filter((each) => each !== TWO_PHASE), [
    'problem privilege: public.scraper_log: role doctor_guest may not read it',
    'warning sequence: public.scraper_log: role doctor_guest may not read its sequence, so a restart of that goes unnoticed',
    'warning privilege: role doctor_guest may not stop runs for every node, nor see which were stopped',
    'problem privilege: role doctor_guest may not read public.scraper_run'
  ])
  for (const { check, level, fix = [] } of findings) if (level !== 'ok' && check !== 'two-phase') for (const command of fix) await sql.unsafe(command)
  t.same(bad(await look(...guest)), [TWO_PHASE])
  await sql.unsafe('create schema "The Attic"; create table "The Attic".log ()')
  t.match(of(await look(...guest, '--table', '"The Attic".log'), 'table'), [
    { level: 'problem', what: '"The Attic".log: role doctor_guest may not look into its schema', fix: ['grant usage on schema "The Attic" to doctor_guest;'] }
  ])
})

t.test('triggers that are missing, disabled, of another channel or version, or not on every partition', async (t) => {
  const { sql, look, env } = await fresh(t, { installed: false })
  const missing = async (...args: string[]) => bad(await look(...args)).filter((each) => each !== TWO_PHASE)
  const none = await look('--runs', 'public.scraper_run')
  t.same(bad(none), [['problem trigger: schema fastify_pg_tail (version 1) is missing', ...['insert on public.scraper_log', 'truncate on public.scraper_log', 'runs on public.scraper_run']
    .map((each) => `trigger fastify_pg_tail_${each} is missing`)].join('; ')], 'one cause, one problem')
  t.equal(none.filter(({ check }) => check === 'trigger').at(-1)!.fix![0], 'npx fastify-pg-tail install public.scraper_log --runs public.scraper_run')
  t.equal((await runCli(t, ['install', 'public.scraper_log', '--runs', 'public.scraper_run'], env)).code, 0)
  t.same(await missing(), [])
  await sql`alter table scraper_log disable trigger fastify_pg_tail_insert`
  t.same(await missing(), ['problem trigger: trigger fastify_pg_tail_insert on public.scraper_log is disabled'])
  await sql`alter table scraper_log enable trigger fastify_pg_tail_insert`
  const other = await look('--channel', 'other')
  t.match(of(other, 'trigger')[0]!.fix!.slice(0, 2), ['Where the app has the option channel: "log_updates": npx fastify-pg-tail doctor --table public.scraper_log', 'Otherwise: npx fastify-pg-tail install public.scraper_log --channel other'])
  t.match(bad(other), [/insert on public\.scraper_log rings channel "log_updates", not "other"; .*truncate/])
  await sql.unsafe("create or replace function fastify_pg_tail.version() returns integer language sql as 'select 0'")
  t.same(await missing(), ['warning trigger: schema fastify_pg_tail has version 0, not 1'])
  await sql.unsafe("create or replace function fastify_pg_tail.version() returns integer language sql as 'select 99'")
  t.same(await missing(), ['warning trigger: the schema has version 99, this package brings 1'])
  await sql.unsafe("create or replace function fastify_pg_tail.version() returns integer language sql as 'select 1'")

  await sql`create table parts (id bigserial, run_id bigint, level text, message text, created_at timestamptz, primary key (id, run_id)) partition by range (run_id)`
  await sql`create index on parts (run_id, id)`
  await sql`create table parts_1 partition of parts for values from (0) to (10)`
  await sql`insert into parts (run_id) values (1)`
  t.equal((await runCli(t, ['install', 'parts'], env)).code, 0)
  t.same(bad(await examine(t, ['--table', 'parts'], env)), [TWO_PHASE])
  await sql`create table parts_2 partition of parts for values from (10) to (20)`
  t.match(bad(await examine(t, ['--table', 'parts'], env)), [/^problem trigger: trigger fastify_pg_tail_insert on partition public\.parts_2 is missing; .*truncate/])
})

t.test('an option that was forgotten: the first fix looks with it, and leaves the trigger to a running app', async (t) => {
  const { sql, url, env, look } = await fresh(t, { installed: false })
  t.equal((await runCli(t, ['install', 'public.scraper_log', '--channel', 'audit', '--payload', 'row'], env)).code, 0)
  const [found] = of(await look('--runs', 'public.scraper_run', '--column', 'timestamp=created_at'), 'trigger')
  const [first, second] = found!.fix!
  t.equal(first, 'Where the app has the options channel: "audit" and payload: "row": ' +
    'npx fastify-pg-tail doctor --table public.scraper_log --runs public.scraper_run --channel audit --payload row --column timestamp=created_at')
  t.equal(second, 'Otherwise: npx fastify-pg-tail install public.scraper_log --runs public.scraper_run')
  t.match(of(await look('--channel', 'audit'), 'trigger')[0]!.fix![0], 'Where the app has the option payload: "row": npx fastify-pg-tail doctor --table public.scraper_log --channel audit --payload row')
  t.same(bad(await look('--channel', 'audit', '--payload', 'row')), [TWO_PHASE])

  await sql`create role doctor_reader login password 'reader'`
  const reader = ['--database', Object.assign(new URL(url), { username: 'doctor_reader', password: 'reader' }).href]
  t.equal(of(await look(...reader), 'trigger')[0]!.fix![1], 'Otherwise, as the owner of the table, role postgres: npx fastify-pg-tail install public.scraper_log')
  t.equal(of(await look('--channel', 'audit', '--payload', 'row', ...reader), 'two-phase')[0]!.fix!.at(-1), 'As the owner of the table, role postgres: npx fastify-pg-tail uninstall public.scraper_log')
})

t.test('another trigger that notifies', async (t) => {
  const { sql, look, env } = await fresh(t)
  await sql.unsafe(`create function shout() returns trigger language plpgsql as $$ begin perform pg_notify('log_updates', new.id::text); return null; end $$;
    create trigger shout after insert on scraper_log for each row execute function shout()`).simple()
  t.same(bad(await look()), ['warning notifies: another trigger notifies channel log_updates, too: shout on public.scraper_log', TWO_PHASE])
  t.equal((await runCli(t, ['uninstall', 'public.scraper_log'], env)).code, 0)
  const findings = await look()
  t.same(bad(findings), [])
  t.match(findings.find(({ check }) => check === 'notifies'), { level: 'ok', what: 'another trigger notifies channel log_updates: shout on public.scraper_log' })
  // The plugin listens all the same.
  t.equal((await runCli(t, ['uninstall', '--all'], env)).code, 0)
  t.same(bad(await look()), ['warning trigger: schema fastify_pg_tail (version 1) is missing'])
})

t.test('indexes that are missing: what it says fixes it', async (t) => {
  const { sql, look } = await fresh(t)
  await sql`alter table scraper_log drop constraint scraper_log_pkey`
  await sql.unsafe('drop index scraper_log_run_id_id_idx; create index on scraper_log (run_id); create index on scraper_log using brin (id)')
  const findings = of(await look(), 'index')
  t.match(findings, [{ level: 'warning', fix: ['create index concurrently on public.scraper_log ("id");'] }, { level: 'warning', fix: ['create index concurrently on public.scraper_log ("run_id", "id");'] }])
  for (const { fix } of findings) await sql.unsafe(fix![0]!)
  t.same(bad(await look()), [TWO_PHASE])
})

t.test('transactions that hold gaps: what it says ends them', async (t) => {
  const { sql, look, env } = await fresh(t, { installed: false })
  const writer = connect(t, env.DATABASE_URL, { max: 1 })
  await writer`begin`
  const [{ pid }] = await writer<[{ pid: number }]>`select pg_backend_pid() as pid`
  await writer`insert into scraper_log (run_id, message) values (1, 'waits')`
  const orphan = await sql.reserve()
  await orphan`begin`
  await orphan`insert into scraper_log (run_id, message) values (1, 'orphan')`
  await orphan`prepare transaction 'it''s mine'`
  orphan.release()
  const gaps = (await eventually(() => look().then((findings) => of(findings, 'gaps')), (found) => found.length === 2 && found.some(({ level }) => level === 'problem'))).sort((a, b) => a.what < b.what ? -1 : 1)
  t.match(gaps, [
    { level: 'warning', what: new RegExp(`^pid ${pid}, idle in transaction, for [\\d.]+ s, has taken ids$`), fix: [`select pg_terminate_backend(${pid});`] },
    { level: 'problem', what: /^prepared transaction it's mine, for [\d.]+ s, has taken ids$/, fix: ["rollback prepared 'it''s mine';"] }
  ])
  for (const { fix } of gaps) await sql.unsafe(fix![0]!)
  await eventually(() => sql`select from pg_locks where pid = ${pid}`, (rows) => rows.length === 0)
  t.same(of(await look(), 'gaps'), [{ check: 'gaps', level: 'ok', what: '0 transactions in flight, none for long' }])
})
