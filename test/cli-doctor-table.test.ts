// `fastify-pg-tail doctor`: what a role gets out of a table, and who writes past it. What it says fixes it is run, and does.
import { spawnSync } from 'node:child_process'
import t, { type Test } from 'tap'
import { COMMAND } from './support/cli.ts'
import { bad, examine, fresh as freshOn, of, TWO_PHASE, type Found } from './support/doctor.ts'
import { eventually } from './support/eventually.ts'
import { connect, startPostgres } from './support/postgres.ts'

const server = await startPostgres(t)

/** And a role that may read the table. */
async function fresh (t: Test, role: string, options?: { installed: boolean }) {
  const all = await freshOn(t, server, options)
  await all.sql.unsafe(`create role ${role} login password '${role}'; grant select on scraper_log, scraper_log_id_seq to ${role}`)
  return { ...all, as: ['--database', Object.assign(new URL(all.url), { username: role, password: role }).href] }
}

t.test('row-level security', async (t) => {
  const { sql, as, look } = await fresh(t, 'doctor_ruled')
  const rows = async () => of(await look(...as), 'rows')
  t.match(await rows(), [{ level: 'ok', what: 'role doctor_ruled gets them: the last id is 1' }])
  await sql`alter table scraper_log enable row level security`
  const findings = await rows()
  t.same(bad(findings), ['warning rows: row-level security is active: role doctor_ruled gets only the rows that a policy lets through', 'warning rows: the table is empty for role doctor_ruled'])
  await sql.unsafe(findings[0]!.fix![0]!)
  t.match(await rows(), [{ level: 'ok' }])
})

t.test('a table that is locked', async (t) => {
  const { sql, url, look } = await fresh(t, 'doctor_waiting', { installed: false })
  const holder = connect(t, url, { max: 1 })
  await holder`begin`
  const [{ pid }] = await holder<[{ pid: number }]>`select pg_backend_pid() as pid`
  await holder`lock table scraper_log in access exclusive mode`
  const [locked] = of(await look(), 'rows')
  t.match(locked, { level: 'problem', what: `public.scraper_log is locked, by pid ${pid}`, fix: [`select pg_terminate_backend(${pid});`] })
  await sql.unsafe(locked!.fix![0]!)
  await eventually(() => sql`select from pg_locks where pid = ${pid}`, (rows) => rows.length === 0)
  t.match(of(await look(), 'rows'), [{ level: 'ok' }])
})

t.test('a role that does not see for how long others are at it', async (t) => {
  const { sql, as, look } = await fresh(t, 'doctor_blind')
  const writer = await sql.reserve()
  await writer`begin`
  const [{ pid }] = await writer<[{ pid: number }]>`select pg_backend_pid() as pid`
  await writer`insert into scraper_log (run_id, message) values (1, 'waits')`
  const [found] = of(await look(...as), 'gaps')
  t.match(found, { level: 'warning', what: `pid ${pid} has taken ids; since when, is not visible to role doctor_blind`, fix: ['grant pg_monitor to doctor_blind;'] })
  await sql.unsafe(found!.fix![0]!)
  const [seen] = of(await look(...as), 'gaps')
  t.match(seen!.what, /^(1 transaction in flight, none for long|pid \d+, idle in transaction, for [\d.]+ s, has taken ids)$/)
  await writer`rollback`
  writer.release()
})

t.test('who writes past the trigger or the sequence', async (t) => {
  const { sql, look } = await fresh(t, 'doctor_silent')
  const writers = async (...args: string[]) => of(await look(...args), 'writers')
  const fix = async (findings: Found[]) => { for (const { fix } of findings) if (fix![0]!.startsWith('alter')) await sql.unsafe(fix![0]!) }
  t.match(await writers(), [{ level: 'ok' }])
  await sql.unsafe('alter role doctor_silent set session_replication_role = replica; create table heir () inherits (scraper_log)')
  await sql.unsafe("create subscription doctor connection 'dbname=nowhere' publication p with (connect = false, slot_name = none)")
  await sql`insert into pg_subscription_rel (srsubid, srrelid, srsubstate) select oid, 'scraper_log'::regclass, 'r' from pg_subscription`
  const found = await writers()
  t.same(bad(found), ['warning writers: a subscription of logical replication writes to it',
    'warning writers: session_replication_role is replica for role doctor_silent', 'warning writers: public.heir inherits from it'])
  await fix(found)
  await sql.unsafe('drop subscription doctor')
  t.match(await writers(), [{ level: 'ok' }])

  await sql.unsafe(`create table days (id bigserial, run_id bigint, level text, message text, created_at timestamptz, primary key (id, run_id)) partition by range (run_id);
    create table days_1 partition of days for values from (0) to (10); create sequence other; alter table days_1 alter column id set default nextval('other')`)
  const sequence = async () => of(await look('--table', 'days'), 'sequence')
  const strays = await sequence()
  t.same(bad(strays), ['warning sequence: public.days: its partition public.days_1 takes its ids from another sequence: rows that are put straight into it may get ids below newer ones, and would be missed'])
  await fix(strays)
  t.match(await sequence(), [{ level: 'ok' }])
})

t.test('names that need quotes: what is printed can be typed', async (t) => {
  const { sql, env } = await freshOn(t, server, { installed: false })
  const table = 'public."It\'s the ""order"""'
  await sql.unsafe(`create table ${table} ("order" bigserial, "user" bigint, level text, message text, created_at timestamptz); insert into ${table} ("user") values (1)`)
  const look = () => examine(t, ['--table', table, '--column', 'id=order', '--column', 'run=user'], env)
  const type = (command: string) => {
    const { status } = spawnSync('sh', ['-c', command.replace('npx fastify-pg-tail', '"$@"'), 'sh', ...COMMAND], { env: { ...process.env, NODE_OPTIONS: '', ...env } })
    t.equal(status, 0, command)
  }
  const findings = await look()
  for (const { fix } of of(findings, 'index')) await sql.unsafe(fix![0]!)
  type(of(findings, 'trigger').at(-1)!.fix![0]!)
  const after = await look()
  t.same(bad(after), [TWO_PHASE])
  type(of(after, 'two-phase')[0]!.fix!.at(-1)!)
  t.match(bad(await look()), [/^problem trigger: trigger fastify_pg_tail_insert on .* is missing; .*truncate/])
})
