// What goes wrong stays in the house: clients hear of no SQL and no server, and nobody hears the password.

import { inspect } from 'node:util'
import postgres, { type Sql } from 'postgres'
import t, { type Test } from 'tap'
import { readOptions } from '../lib/options.ts'
import type { FastifyPgTailOptions, ListenerState } from '../plugin.ts'
import { startApp, type App } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { connect, createDatabase, startPostgres } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'

const USER = 'hush_user'
/** It has to be encoded in a URL, in JSON and in HTML. */
const PASSWORD = 'c0rrect:h"rse/b@ttery?st\\ple#é%'
const INTERVALS = { timeout: 1000, pollInterval: 20, listenerHeartbeat: 50, reconnect: { initialDelay: 10, maxDelay: 50, maxAttempts: 2 } }
const COLUMNS = { id: 'hush_id', run: 'hush_run', level: 'hush_level', message: 'hush_message', timestamp: 'hush_time' }

const server = await startPostgres(t)
let databases = 0

function encodings (text: string): string[] {
  const bytes = Buffer.from(text)
  return [text, encodeURIComponent(text), encodeURI(text), new URL(`postgres://u:${encodeURIComponent(text)}@h`).password, JSON.stringify(text).slice(1, -1), inspect(text).slice(1, -1),
    ...(['base64', 'base64url', 'hex'] as const).map((encoding) => bytes.toString(encoding).replace(/=+$/, '')), bytes.join(), bytes.join(', ')]
}

/** Also a part of it that survives whatever is done to the rest. */
const SECRETS = [...encodings(PASSWORD), ...encodings(`${USER}:${PASSWORD}`), 'ttery']
/** What was logged and thrown in this file, with where. */
const said: Array<[where: string, text: string]> = []

function checkSaid (t: Test): void {
  t.ok(said.length > 0)
  for (const [where, text] of said.splice(0)) {
    const secret = SECRETS.find((secret) => text.includes(secret))
    if (secret !== undefined) t.fail(`${where}: ${secret} is in ${text}`)
  }
}

interface Home { admin: Sql, url: string }

/** A database with names that are nowhere else, and just enough rights for the role. */
async function fresh (t: Test): Promise<Home> {
  const home = await createDatabase(t, server, `hush_db_${++databases}`)
  const admin = connect(t, home)
  await admin.unsafe(`do $$ begin if to_regrole('${USER}') is null then create role ${USER} login password '${PASSWORD}'; end if; end $$;
    create schema hush; create table hush.hush_log (hush_id bigserial primary key, hush_run bigint, hush_level text default 'INFO', hush_message text, hush_time timestamptz default now());
    insert into hush.hush_log (hush_run, hush_message) values (1, 'first');
    grant usage on schema hush to ${USER}; grant select on all tables in schema hush to ${USER}; grant select on all sequences in schema hush to ${USER}`)
  return { admin, url: Object.assign(new URL(home), { username: USER, password: encodeURIComponent(PASSWORD) }).href }
}

/** Keeps all that it says, at its most talkative. */
function start (t: Test, options: Partial<FastifyPgTailOptions>, state: ListenerState | null): Promise<App> {
  const logger = { level: 'trace', stream: { write: (line: string) => { said.push(['log', line]) } } }
  return startApp(t, { table: 'hush.hush_log', columns: COLUMNS, install: 'verify', ...INTERVALS, ...options }, { state, server: { logger } })
}

function note (error: any): void {
  for (const text of [String(error), error.stack, JSON.stringify(error), JSON.stringify(Object.entries(error)), inspect(error, { depth: 9, showHidden: true })]) said.push(['error', text])
}

const logged = (pattern: RegExp) => eventually(() => said.some(([, line]) => pattern.test(line)))
const status = async ({ app }: App): Promise<any> => (await app.inject('/logs/status')).json()

/** Words of ours in SQL, and of PostgreSQL in what it says of it. */
const SQL = /\b(select|insert|update|unnest|lateral|alter|grant|coalesce|nextval|pg_\w+|regclass|relation|permission|syntax)\b|::|postgres:/i

/** Whatever can be asked of an app while something is wrong tells of nothing. */
async function checkAnswers (t: Test, { app, stream }: App, { url }: Home, name: string): Promise<void> {
  const { hostname, port, pathname } = new URL(url)
  const words = [...SECRETS, USER, hostname, port, pathname.slice(1), 'hush_', 'boom']
  const answers = await Promise.all([[''], ['after=0'], ['tail=5'], ['run_id=1&tail=5'], ['run_id=1', '0'], ['level=INFO&after=0'], ['after=x'], ['level=,']].map(async ([query, lastEventId]) => {
    const client = await stream(query, lastEventId === undefined ? {} : { lastEventId })
    if (client.status === 200) await client.until(({ data }) => data.type === 'connected')
    else await client.ended
    client.close()
    return `${query}: ${client.status} ${JSON.stringify(client.headers)} ${client.text()}`
  }))
  const response = await app.inject('/logs/status')
  // What is followed it says on purpose, by its name of now, and percent of the notification queue of PostgreSQL.
  answers.push(`status: ${response.statusCode} ${JSON.stringify(response.headers)} ${response.body.replaceAll(/hush\.hush_(log|gone)/g, '').replace('pg_queue_usage_percent', '')}`)
  t.equal(answers.filter((answer) => SQL.test(answer) || words.some((word) => answer.includes(word))).join('\n'), '', name)
}

t.test('in good days and bad ones', async (t) => {
  const home = await fresh(t)
  const proxy = await TcpProxy.start(t, server.port)
  const started = await start(t, { connectionString: proxy.url(home.url), install: true }, 'polling')
  const recovered = () => eventually(async () => (await status(started)).listener.reconnect_attempts === 0)
  await logged(/could not be installed/)
  const client = await started.stream('after=0')
  await client.until(({ data }) => data.message === 'first')
  await checkAnswers(t, started, home, 'no right to install')

  proxy.refuse()
  proxy.cut()
  await logged(/listener gave up/)
  await checkAnswers(t, started, home, 'refused')
  proxy.accept()
  await recovered()
  proxy.blackhole()
  await logged(/FST_PG_TAIL_TIMEOUT/)
  await checkAnswers(t, started, home, 'no answer')
  proxy.restore()
  await recovered()
  await server.stop()
  await eventually(async () => (await status(started)).listener.reconnect_attempts > 2)
  await checkAnswers(t, started, home, 'down')
  await server.start()
  await recovered()
  client.close()
  await started.app.close()
  checkSaid(t)
})

t.test('whoever is not let in', async (t) => {
  const home = await fresh(t)
  const other = (change: object) => Object.assign(new URL(home.url), change).href
  const wrong = 'wr0ng:h"rse/b@ttery'
  for (const [name, options] of Object.entries({
    'wrong password': { connectionString: other({ password: encodeURIComponent(wrong) }) },
    'unknown role': { connectionString: other({ username: 'hush_stranger' }) },
    'unknown database': { connectionString: other({ pathname: 'hush_nowhere' }) },
    'unknown host': { connectionString: other({ hostname: 'hush.invalid' }) },
    'wrong password for LISTEN': { connectionString: home.url, listenConnectionString: other({ password: encodeURIComponent(wrong) }) },
    'wrong password of an instance': { sql: connect(t, other({ password: encodeURIComponent(wrong) }), { debug: () => {} }) },
    'right password of an instance': { sql: connect(t, home.url, { debug: () => {} }) }
  } as Record<string, Partial<FastifyPgTailOptions>>)) {
    const started = await start(t, options, null)
    await eventually(async () => (await status(started)).listener.last_error !== null)
    await checkAnswers(t, started, home, name)
    await started.app.close()
    checkSaid(t)
  }
})

t.test('what the database says of our statements', async (t) => {
  for (const [name, wrong, right] of [
    ['a policy that fails', 'alter table hush.hush_log enable row level security', 'alter table hush.hush_log disable row level security'],
    ['no right any more', `revoke select on hush.hush_log from ${USER}`, `grant select on hush.hush_log to ${USER}`],
    ['another name of a column', 'alter table hush.hush_log rename column hush_message to hush_other', 'alter table hush.hush_log rename column hush_other to hush_message'],
    ['another name of the table', 'alter table hush.hush_log rename to hush_gone', 'alter table hush.hush_gone rename to hush_log'],
    ['another cache', 'alter sequence hush.hush_log_hush_id_seq cache 5', 'alter sequence hush.hush_log_hush_id_seq cache 1']
  ] as const) {
    const home = await fresh(t)
    const { admin, url } = home
    await admin.unsafe(`create function hush.boom() returns boolean language plpgsql as $$ begin raise exception 'boom: select hush_message from hush.hush_log'; end $$;
      create policy boom on hush.hush_log for select using (hush.boom())`)
    const started = await start(t, { connectionString: url }, 'polling')
    const client = await started.stream('after=0')
    await client.until(({ data }) => data.message === 'first')
    const { listener } = await status(started)
    // In one transaction, so that there is something to be read, and that it cannot be.
    await admin.unsafe(`insert into hush.hush_log (hush_run, hush_message) values (1, 'second'); ${wrong}`)
    if (name !== 'another cache') await logged(/could not be read|replay failed|run backwards/)
    await checkAnswers(t, started, home, name)
    client.close()
    // Once nobody watches, the listener looks at the table anew.
    await eventually(() => started.app.logQueue.subscribers === 0)
    if (name !== 'a policy that fails') await eventually(async () => (await status(started)).listener.last_error !== listener.last_error)
    await checkAnswers(t, started, home, `${name}, and nobody watched`)
    await admin.unsafe(right)
    const again = await started.stream('after=0')
    await again.until(({ data }) => data.message === 'first')
    await started.app.close()
    checkSaid(t)
  }
})

t.test('options that are wrong', async (t) => {
  const { url } = await fresh(t)
  const encoded = encodeURIComponent(PASSWORD)
  const urls = [`postgres://${USER}:${encoded}@localhost:99999/db`, `postgres://${USER}:${encoded}%@localhost/db`, `postgres://${USER}:${PASSWORD}@localhost/db`, `mysql://${USER}:${encoded}@localhost/db`, `${USER}:${encoded}@localhost/db`,
    `host=localhost user=${USER} password=${PASSWORD}`, ` ${url}`, { url }, [url], new URL(url), { password: PASSWORD }, Buffer.from(url), postgres(url)]
  const options: object[] = urls.flatMap((value) => [{ connectionString: value }, { connectionString: url, listenConnectionString: value }])
  options.push(...[url, { password: PASSWORD }, [url], () => url].map((sql) => ({ sql })), { sql: connect(t, url), connectionString: url })
  for (const name of ['connection', 'url', 'URL', 'uri', 'dsn', 'database', 'databaseUrl', 'DATABASE_URL', 'connectionstring', 'postgres']) options.push({ connectionString: url, [name]: url })
  for (const name of ['password', 'user', 'credentials']) options.push({ connectionString: url, [name]: PASSWORD })
  for (const name of ['table', 'channel', 'runs', 'reconnect', 'columns', 'prefix', 'stream', 'install', 'timeout']) options.push({ connectionString: url, [name]: [url] })
  for (const each of options) {
    const error: any = await start(t, each, null).then(() => null, (error) => error)
    if (error?.code !== 'FST_PG_TAIL_OPTION') t.fail(inspect(each))
    note(error)
  }
  for (const env of [`postgres://${USER}:${encoded}@localhost:99999/db`, `${USER}:${PASSWORD}`]) {
    try {
      readOptions({ table: 'x' }, { DATABASE_URL: env })
      t.fail('it was taken')
    } catch (error) {
      note(error)
    }
  }
  checkSaid(t)
})
