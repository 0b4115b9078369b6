// What goes wrong between us and PostgreSQL: the stream stays, and every row comes once, in order.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { Sql } from 'postgres'
import t, { type Test } from 'tap'
import { install } from '../lib/postgres/install.ts'
import { ADVISORY_CLASS } from '../lib/postgres/locks.ts'
import { askedSince, reach, startApp } from './support/app.ts'
import { eventually } from './support/eventually.ts'
import { lookForPgBouncer, startPgBouncer } from './support/pgbouncer.ts'
import { connect, createDatabase, createDemoTables, startPostgres, VERSION } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'
import type { SseClient, SseEvent } from './support/sse-client.ts'

const INTERVALS = {
  listenerHeartbeat: 200,
  pollInterval: 50,
  reconnect: { initialDelay: 50, maxDelay: 200, maxAttempts: 3 }
}
/** For what is found out by having no answer. Elsewhere a busy machine shall not be taken for a dead link. */
const IMPATIENT = { ...INTERVALS, timeout: 1000 }
/** Milliseconds. Longer than any test. */
const NEVER = 600_000
const TARGET = { table: 'public.scraper_log', channel: 'log_updates', payload: 'none' } as const

const pgBouncer = await lookForPgBouncer()
const server = await startPostgres(t)
let databases = 0

async function fresh (t: Test): Promise<{ url: string, sql: Sql }> {
  const url = await createDatabase(t, server, `faults_${++databases}`)
  const sql = connect(t, url)
  await createDemoTables(sql)
  return { url, sql }
}

/** Writes rows and knows which; the ones that a client shall get. */
class Writer {
  readonly written: string[] = []
  #sql: Sql

  constructor (sql: Sql) {
    this.#sql = sql
  }

  /** After a restart of the server: what the driver says of the old session is no news. */
  renew (sql: Sql): void {
    this.#sql = sql
  }

  async write (rows = 1): Promise<void> {
    for (let i = 0; i < rows; i++) {
      const message = `row ${this.written.length}`
      await this.#sql`insert into scraper_log (run_id, message) values (1, ${message})`
      this.written.push(message)
    }
  }

  /** Goes on writing until told to stop. */
  keepOn (): () => Promise<void> {
    const stop = new AbortController()
    const done = (async () => { while (!stop.signal.aborted) await this.write() })()
    return () => {
      stop.abort()
      return done
    }
  }

  /** All of them have come, once each, in order, and the stream is still open. */
  async check (t: Test, client: SseClient): Promise<void> {
    await this.write()
    const last = this.written.at(-1)
    await client.until(({ data }) => data.type === 'log' && data.message === last)
    t.same(client.logs().map(({ message }) => message), this.written)
  }
}

/** Whoever was greeted while the database did not answer has a place to start from only with its first id. */
function started (client: SseClient): Promise<void> {
  return client.waitFor(({ lastEventId }) => lastEventId !== '')
}

/** Waits for notices of the mode, each after the one before. */
function modes (client: SseClient) {
  let from = 0
  return async (mode: 'listen' | 'poll'): Promise<SseEvent> => {
    const event = await client.until((event, { events }) => events.indexOf(event) >= from && event.data.type === 'mode' && event.data.mode === mode)
    from = client.events.indexOf(event) + 1
    return event
  }
}

async function status (app: FastifyInstance): Promise<any> {
  const response = await app.inject('/logs/status')
  if (response.statusCode !== 200) throw new Error(response.body)
  return response.json()
}

const doorbell = (app: FastifyInstance, state: string) => eventually(() => status(app), (answer) => answer.doorbell.state === state)

async function sleepers (sql: Sql) {
  return [...await sql`
    select pid, mode, granted from pg_locks where locktype = 'advisory' and classid = ${ADVISORY_CLASS} and objid = 'scraper_log'::regclass::oid
      and database = (select oid from pg_database where datname = current_database())`]
}

/** The listening session, and when it was last used. */
async function heartbeat (sql: Sql): Promise<{ pid: number, since: Date }> {
  const [row] = await sql`
    select pid, query_start as since from pg_stat_activity
    where application_name = 'fastify-pg-tail listener' and datname = current_database()`
  return row as { pid: number, since: Date }
}

/** Kills sessions of the plugin. At least one. */
async function kill (sql: Sql, name: string): Promise<number> {
  for (;;) {
    const killed = await sql`
      select pg_terminate_backend(pid, 5000) as gone from pg_stat_activity
      where application_name like ${name} and datname = current_database()`
    if (killed.length > 0) return killed.length
  }
}

t.test('the session of the listener is killed', async (t) => {
  const { url, sql } = await fresh(t)
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const writer = new Writer(sql)
  const client = await stream()
  const mode = modes(client)
  await doorbell(app, 'armed')
  await writer.write(3)
  const stop = writer.keepOn()
  t.equal(await kill(sql, 'fastify-pg-tail listener'), 1)
  await mode('poll')
  await mode('listen')
  await stop()
  await writer.check(t, client)
  await doorbell(app, 'armed')
  await writer.check(t, client)
  t.equal((await status(app)).listener.reconnect_attempts, 0)
})

t.test('all sessions are killed, twenty times, while rows are written: nothing waits for an answer that cannot come', async (t) => {
  const { url, sql } = await fresh(t)
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS, timeout: NEVER })
  const writer = new Writer(sql)
  const client = await stream()
  const mode = modes(client)
  await doorbell(app, 'armed')
  const stop = writer.keepOn()
  for (let round = 0; round < 20; round++) {
    // Each other time in the middle of what follows the time before.
    if (round % 2 === 0) await reach(app, 'listening')
    await kill(connect(t, url, { max: 1 }), 'fastify-pg-tail %')
    if (round % 2 === 0) await mode('poll')
  }
  await reach(app, 'listening')
  await stop()
  await writer.check(t, client)
  await doorbell(app, 'armed')
  await writer.check(t, client)
  t.equal((await sleepers(sql)).length, 1)
})

for (const how of ['fast', 'immediate'] as const) {
  t.test(`the server is stopped (${how}) and started again`, async (t) => {
    const { url, sql } = await fresh(t)
    const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS })
    const writer = new Writer(sql)
    const client = await stream()
    const mode = modes(client)
    await doorbell(app, 'armed')
    await writer.write(3)
    await server.stop(how)
    await mode('poll')
    // That nothing at all comes is said, to whoever comes then, too.
    const AWAY = /^The database cannot be read/
    await client.until(({ data }) => data.type === 'mode' && AWAY.test(data.message))
    const late = await stream()
    await late.until(({ data }) => data.type === 'connected' && AWAY.test(data.message))
    t.match((await status(app)).listener, { running: true, connection_healthy: false, state: /polling|connecting/, mode: 'poll' })
    await server.start()
    writer.renew(connect(t, url))
    await writer.write(3)
    await mode('listen')
    // The listener may be back before the table was read, which is said first, then.
    await late.until(({ data }) => data.type === 'mode' && data.mode === 'listen' && !AWAY.test(data.message))
    late.close()
    await writer.check(t, client)
    await doorbell(app, 'armed')
    await writer.check(t, client)
    t.notMatch(client.events.filter(({ data }) => data?.type === 'mode').at(-1)!.data.message, AWAY, 'and that it comes again')
  })
}

t.test('a crash takes back ids that nobody has committed: all rows are there, so clients are told nothing', async (t) => {
  // What a crash finds on disk is what a commit has put there.
  const server = await startPostgres(t, { wal_writer_delay: '10s' })
  const sql = connect(t, server.url)
  await createDemoTables(sql)
  const { stream } = await startApp(t, { connectionString: server.url, ...INTERVALS })
  const writer = new Writer(sql)
  const client = await stream()
  const mode = modes(client)
  await started(client)
  await writer.write(3)
  const lastValue = async (sql: Sql) => Number((await sql`select pg_sequence_last_value('scraper_log_id_seq') as id`)[0]!['id'])
  let before
  let after = sql
  // Again where the server has put them on disk meanwhile, which it does each 10 s.
  do {
    const burning = connect(t, server.url, { max: 1 })
    await burning`begin`
    await burning`select nextval('scraper_log_id_seq') from generate_series(1, 1000)`
    before = await lastValue(after)
    const [{ now }] = await after`select extract(epoch from clock_timestamp())::float8 as now` as [any]
    await askedSince(after, now)
    await server.stop('immediate')
    await mode('poll')
    await server.start()
    after = connect(t, server.url)
    await mode('listen')
  } while (await lastValue(after) >= before)
  writer.renew(after)
  await writer.check(t, client)
  await writer.check(t, client)
  t.notOk(client.events.some(({ data }) => data.type === 'reset'))
})

t.test('the link is black-holed', async (t) => {
  const { url, sql } = await fresh(t)
  const proxy = await TcpProxy.start(t, server.port)
  const { app, stream } = await startApp(t, { connectionString: proxy.url(url), ...IMPATIENT })
  const writer = new Writer(sql)
  const client = await stream()
  const mode = modes(client)
  await doorbell(app, 'armed')
  await writer.write(3)
  proxy.blackhole()
  await writer.write(3)
  await mode('poll')
  await writer.write(3)
  await eventually(() => status(app), ({ listener }) => /no answer|ended/.test(listener.last_error ?? ''))
  proxy.restore()
  await mode('listen')
  await writer.check(t, client)
  await doorbell(app, 'armed')
  await writer.check(t, client)

  const late = await stream('after=0')
  await late.waitFor(() => late.logs().length === writer.written.length)
  await writer.check(t, late)

  proxy.blackhole()
  await mode('poll')
  const before = performance.now()
  await app.close()
  const took = performance.now() - before
  t.ok(took < 10_000, `closed after ${took} ms`)
  t.equal(await client.ended, 'end')
  await eventually(async () => proxy.connections, (count) => count === 0)
})

for (const pooled of [false, true]) {
  const name = `the table is locked for longer than anybody waits${pooled ? ', behind PgBouncer' : ''}: no session is left at work`
  t.test(name, { skip: pooled && pgBouncer === null && 'there is no pgbouncer on PATH' }, async (t) => {
    const { url, sql } = await fresh(t)
    const connectionString = pooled ? await startPgBouncer(t, pgBouncer!, url) : url
    const { app, stream } = await startApp(t, { connectionString, listenConnectionString: url, ...INTERVALS, timeout: 250 })
    const client = await stream()
    await started(client)
    const writer = new Writer(sql)
    await writer.check(t, client)
    const locker = await connect(t, url).reserve()
    await locker`begin`
    await locker`lock table scraper_log in access exclusive mode`
    const late = await stream('tail=3')
    const reads = (await status(app)).tailer.reads
    await eventually(() => status(app), ({ tailer }) => tailer.reads >= reads + 12)
    const waiting = () => sql`select pid from pg_locks where relation = 'scraper_log'::regclass and not granted`
    await eventually(waiting, ({ length }) => length <= 2)
    t.match(await late.until(({ data }) => data.type === 'connected'), { data: { type: 'connected' } }, 'who comes is greeted all the same')
    const other = await startApp(t, { connectionString, listenConnectionString: url, ...INTERVALS, timeout: NEVER }, { state: null })
    await other.stream('tail=3')
    await eventually(waiting, ({ length }) => length > 1)
    await other.app.close()
    await eventually(waiting, ({ length }) => length <= 1)
    await locker`commit`
    locker.release()
    await writer.check(t, client)
    await late.until(({ data }) => data.message === writer.written.at(-1))
    t.same(late.logs().map(({ message }) => message), writer.written)
    for (const each of [client, late]) each.close()
  })
}

t.test('a dead link has swallowed half of a statement: its session does not keep its lock on the table', async (t) => {
  const { url, sql } = await fresh(t)
  const proxy = await TcpProxy.start(t, server.port)
  const { app, stream } = await startApp(t, { connectionString: proxy.url(url), listenConnectionString: url, ...IMPATIENT })
  const writer = new Writer(sql)
  const client = await stream()
  await started(client)
  await writer.check(t, client)
  // A statement that is new to a session is sent in two parts: what follows the answer to the first one does not arrive.
  const half = new Promise<void>((resolve) => {
    proxy.on('sent', (bytes: Buffer) => {
      if (!bytes.includes('as id_text')) return
      proxy.blackhole()
      resolve()
    })
  })
  const late = await stream('tail=1')
  await half
  proxy.removeAllListeners('sent')
  const stuck = () => sql`select pid from pg_stat_activity where application_name like 'fastify-pg-tail re%' and datname = current_database()
    and state = 'active' and wait_event = 'ClientRead'`
  await eventually(stuck, ({ length }) => length > 0)
  proxy.restore()
  await eventually(stuck, ({ length }) => length === 0)
  await sql.begin(async (locker) => locker`lock table scraper_log in access exclusive mode`)
  await writer.check(t, client)
  await late.until(({ data }) => data.message === writer.written.at(-1))
  t.same(late.logs().map(({ message }) => message), writer.written)
  await doorbell(app, 'armed')
  for (const each of [client, late]) each.close()
})

t.test('a process that closes while its link is black-holed ends by itself', async (t) => {
  const { url, sql } = await fresh(t)
  await install(sql, TARGET)
  const proxy = await TcpProxy.start(t, server.port)
  const plugin = new URL('../plugin.ts', import.meta.url).href
  const script = `
    import Fastify from 'fastify'
    import plugin from ${JSON.stringify(plugin)}
    const app = Fastify()
    await app.register(plugin, { table: 'public.scraper_log', ...${JSON.stringify(IMPATIENT)} })
    let heard = false
    app.notifyListener.on('state', async (state) => {
      console.log(state)
      if (state === 'listening') heard = true
      if (state !== 'polling' || !heard) return
      await app.close()
      console.log('gone')
    })
    await app.ready()
    for await (const row of app.logQueue.subscribe()) console.log(row.message)
    console.log('over')`
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    env: { PATH: process.env['PATH'], DATABASE_URL: proxy.url(url) }, stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  const listening = new Promise<void>((resolve) => {
    child.stdout.on('data', (text) => {
      said += text
      if (said.includes('listening')) resolve()
    })
  })
  const exit = once(child, 'exit')
  await listening
  proxy.blackhole()
  t.same(await exit, [0, null])
  t.match(said, /over[^]*gone/)
})

t.test('the app starts while the server is down', async (t) => {
  const { url, sql } = await fresh(t)
  await install(sql, TARGET)
  await sql.end()
  await server.stop()
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS }, { state: null })
  await app.ready()
  const client = await stream()
  const mode = modes(client)
  const connected = await client.until(({ data }) => data.type === 'connected')
  t.match(connected.data, { mode: 'poll', message: 'The database cannot be read at the moment: rows follow once it can' })
  const tail = await stream('tail=2')
  await eventually(() => status(app), ({ listener }) => /ECONNREFUSED/.test(listener.last_error ?? ''))
  await server.start()
  await mode('listen')
  await Promise.all([client, tail].map(started))
  const writer = new Writer(connect(t, url))
  await writer.check(t, client)
  await writer.check(t, tail)
})

t.test('the trigger is dropped, and put back', async (t) => {
  const { url, sql } = await fresh(t)
  await install(sql, TARGET)
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS, install: 'verify' })
  const writer = new Writer(sql)
  const client = await stream()
  const mode = modes(client)
  await doorbell(app, 'armed')
  for (let round = 0; round < 2; round++) {
    await writer.write(2)
    await sql`drop trigger fastify_pg_tail_insert on scraper_log`
    await writer.write(2)
    await mode('poll')
    await writer.write(2)
    t.match((await status(app)).listener, { state: 'polling', last_error: /no trigger rings: trigger fastify_pg_tail_insert on public.scraper_log/ })
    // The session is still there, but nobody needs to ring for it.
    await eventually(() => sleepers(sql), (locks) => locks.length === 0)
    await sql`select fastify_pg_tail.install('scraper_log')`
    await mode('listen')
    await doorbell(app, 'armed')
    await writer.check(t, client)
    t.match((await status(app)).listener, { state: 'listening', last_error: null })
  }
  t.equal((await sleepers(sql)).length, 1)
  client.close()
  await eventually(() => sleepers(sql), (locks) => locks.length === 0)
})

t.test('too many attempts: an error is logged, and it goes on trying', async (t) => {
  const { url, sql } = await fresh(t)
  const proxy = await TcpProxy.start(t, server.port)
  const lines: any[] = []
  const log = { level: 'warn', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } }
  const { app, stream } = await startApp(t, { connectionString: proxy.url(url), ...INTERVALS }, { server: { logger: log } })
  const writer = new Writer(sql)
  const client = await stream()
  const mode = modes(client)
  await doorbell(app, 'armed')
  proxy.refuse()
  proxy.cut()
  await mode('poll')
  await writer.write(3)
  await eventually(() => app.notifyListener.status().reconnect_attempts >= 6)
  const gaveUp = lines.filter(({ level }) => level === 50)
  t.equal(gaveUp.length, 1)
  t.match(gaveUp[0], { msg: /listener gave up on LISTEN for now/, attempt: 3, err: { message: /ECONNRESET/ } })
  t.match(app.notifyListener.status(), { running: true, max_reconnect_attempts: 3, last_error: /ECONNRESET/ })
  proxy.accept()
  await mode('listen')
  t.equal(app.notifyListener.status().reconnect_attempts, 0)
  await writer.check(t, client)
})

// Older servers have room for 8 GB of notifications.
if (Number(VERSION) >= 17) {
  t.test('a full notification queue fails no commit, and rows are polled for', async (t) => {
    const { url } = await startPostgres(t, { max_notify_queue_pages: '64' })
    const [sql, sleeper] = [connect(t, url), connect(t, url, { max: 1 })]
    await createDemoTables(sql)
    const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS })
    const client = await stream()
    const writer = new Writer(sql)
    await doorbell(app, 'armed')
    await sleeper`listen other`
    await sleeper`begin`
    // It stays in the queue for as long as that session does not end its transaction.
    const full = (async () => { for (;;) await sql`select pg_notify('other', repeat('x', 7900)) from generate_series(1, 4)` })()
    await t.rejects(full, { code: '54000' }, 'too many notifications')
    for (let i = 0; i < 10; i++) await writer.check(t, client)
    await eventually(() => status(app), ({ listener }) => /queue of PostgreSQL is .* % full/.test(listener.last_error ?? ''))
    t.match((await status(app)).listener, { state: 'polling', reconnect_attempts: 0 })
    for (let i = 0; i < 10; i++) await writer.check(t, client)
    await sleeper`commit`
    await doorbell(app, 'armed')
    for (let i = 0; i < 10; i++) await writer.check(t, client)
    client.close()
  })
}

t.test('PgBouncer in transaction mode', { skip: pgBouncer === null && 'there is no pgbouncer on PATH' }, async (t) => {
  const { url, sql } = await fresh(t)
  const pooled = await startPgBouncer(t, pgBouncer!, url)

  await t.test('it is found out, and polled through', async (t) => {
    const { app, stream } = await startApp(t, { connectionString: pooled, ...INTERVALS, timeout: 5000 }, { state: null })
    const client = await stream()
    const writer = new Writer(sql)
    await eventually(() => status(app), ({ listener }) => /pooler.*listenConnectionString/.test(listener.last_error ?? ''))
    t.match(await client.until(({ data }) => data.type === 'connected'), { data: { mode: 'poll' } })
    await started(client)
    await doorbell(app, 'polling')
    const noise = makeNoise(t, pooled)
    for (let i = 0; i < 10; i++) await writer.check(t, client)
    const replay = await stream('run_id=1&after=0')
    await writer.check(t, replay)
    await noise()
    t.same(client.events.filter(({ data }) => data.type === 'mode'), [])
    t.same(await sleepers(sql), [])
  })

  await sql`truncate scraper_log`
  await t.test('with listenConnectionString to the server itself', async (t) => {
    const lines: string[] = []
    t.teardown(() => { if (!t.passing()) t.comment(lines.slice(-10).join('')) })
    const log = { level: 'info', stream: { write: (line: string) => { lines.push(line) } } }
    const { app, stream } = await startApp(t, { connectionString: pooled, listenConnectionString: url, ...INTERVALS, timeout: NEVER }, { server: { logger: log } })
    const client = await stream()
    const writer = new Writer(sql)
    t.match(await client.until(({ data }) => data.type === 'connected'), { data: { mode: 'listen' } })
    await doorbell(app, 'armed')
    const noise = makeNoise(t, pooled)
    for (let i = 0; i < 10; i++) await writer.check(t, client)
    const replay = await stream('run_id=1&after=0')
    await writer.check(t, replay)
    await noise()
    t.match((await status(app)).listener, { state: 'listening', last_error: null })
  })
})

/** Others who use the pooler, so that each transaction of ours is on another session. */
function makeNoise (t: Test, url: string): () => Promise<unknown> {
  const stop = new AbortController()
  const sql = connect(t, url, { prepare: false, max: 3, fetch_types: false })
  // With a pause, so that there is something left of the machine.
  const done = Promise.all([1, 2, 3].map(async () => { while (!stop.signal.aborted) await Promise.all([sql`select 1`, setTimeout(5)]) }))
  return () => {
    stop.abort()
    return done
  }
}

/** What the channel says. A notification of its own proves what did not come before. */
async function eavesdrop (t: Test, url: string) {
  const ear = connect(t, url)
  const heard: string[] = []
  const marks = new Map<string, () => void>()
  await ear.listen('log_updates', (payload) => {
    if (marks.has(payload)) marks.get(payload)!()
    else heard.push(payload)
  })
  return async (): Promise<string[]> => {
    const mark = `mark ${marks.size}`
    const seen = new Promise<void>((resolve) => marks.set(mark, resolve))
    await ear.notify('log_updates', mark)
    await seen
    return heard.splice(0)
  }
}

t.test('nobody subscribes: no lock, no bell, no read', async (t) => {
  const { url, sql } = await fresh(t)
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const heard = await eavesdrop(t, url)
  const writer = new Writer(sql)
  const { tailer } = await status(app)
  for (let round = 0; round < 2; round++) {
    const { tailer: before } = await status(app)
    t.same(await sleepers(sql), [])
    await sql`insert into scraper_log (run_id, message) values (1, 'unheard')`
    // A heartbeat of the listener later, too.
    const { since } = await heartbeat(sql)
    await eventually(() => heartbeat(sql), (beat) => beat.since > since)
    t.same(await heard(), [])
    const { tailer: after, doorbell: { state } } = await status(app)
    t.same(after, before)
    t.equal(state, 'off')
    if (round === 0) t.same(after, tailer)

    const client = await stream()
    await doorbell(app, 'armed')
    const { pid } = await heartbeat(sql)
    t.same(await sleepers(sql), [{ pid, mode: 'ShareLock', granted: true }])
    await writer.write()
    t.same(await heard(), [''])
    await client.until(({ data }) => data.type === 'log' && data.message === writer.written.at(-1))
    t.equal(client.logs().length, 1, 'only what came since')
    client.close()
    await eventually(() => sleepers(sql), (locks) => locks.length === 0)
  }
})

t.test('many bells: hot, and armed again when it is quiet', async (t) => {
  const { url, sql } = await fresh(t)
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const writer = new Writer(sql)
  const client = await stream()
  for (let round = 0; round < 3; round++) {
    await doorbell(app, 'armed')
    t.equal((await sleepers(sql)).length, 1)
    const stop = writer.keepOn()
    await eventually(async () => {
      // Each has a text of its own: PostgreSQL makes one of equal ones.
      await sql`select pg_notify('log_updates', i::text) from generate_series(1, 100) i`
      const { doorbell: { state } } = await status(app)
      return state === 'hot' ? (await sleepers(sql)).length : null
    }, (locks) => locks === 0)
    await stop()
    await doorbell(app, 'armed')
    t.equal((await sleepers(sql)).length, 1)
    await writer.check(t, client)
  }
})

t.test('a writer that looked before the lock was taken, and commits after', async (t) => {
  const { url, sql } = await fresh(t)
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS })
  const heard = await eavesdrop(t, url)
  const early = await connect(t, url).reserve()
  await early`begin`
  await early`insert into scraper_log (run_id, message) values (1, 'early')`
  const client = await stream()
  await eventually(() => sleepers(sql), (locks) => locks.length === 1)
  const { doorbell: bell, tailer } = await status(app)
  t.match(bell, { state: 'arming', rings: 0 })
  await eventually(() => status(app), (answer) => answer.tailer.reads > tailer.reads + 5)
  t.equal((await status(app)).doorbell.state, 'arming', 'as long as it may commit unheard')
  await early`commit`
  await client.until(({ data }) => data.message === 'early')
  t.same(await heard(), [])
  await doorbell(app, 'armed')
  early.release()
  const writer = new Writer(sql)
  writer.written.push('early')
  await writer.check(t, client)
})

t.test('a stranger holds the lock that sleepers share', async (t) => {
  const { url, sql } = await fresh(t)
  const lines: any[] = []
  const log = { level: 'warn', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } }
  const { app, stream } = await startApp(t, { connectionString: url, ...INTERVALS }, { server: { logger: log } })
  const stranger = await connect(t, url).reserve()
  const [row] = await stranger`select 'scraper_log'::regclass::oid::bigint::bit(32)::integer as key`
  await stranger`select pg_advisory_lock(${ADVISORY_CLASS}, ${row!.key})`
  const writer = new Writer(sql)
  const client = await stream()
  const [, listening] = await Promise.all([
    client.until(({ data }) => data.type === 'connected'),
    eventually(async () => lines.find(({ msg }) => /somebody holds the lock that sleepers share/.test(msg)), (line) => line !== undefined)
  ])
  t.equal(listening.level, 40)
  for (let i = 0; i < 3; i++) await writer.check(t, client)
  t.equal((await status(app)).doorbell.state, 'arming')
  t.match(await sleepers(sql), [{ mode: 'ExclusiveLock' }])
  await stranger`select pg_advisory_unlock(${ADVISORY_CLASS}, ${row!.key})`
  await doorbell(app, 'armed')
  t.match(await sleepers(sql), [{ mode: 'ShareLock' }])
  stranger.release()
  await writer.check(t, client)
})
