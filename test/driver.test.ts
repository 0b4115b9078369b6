// What we rely on in the driver, so that an update of it cannot take that away unnoticed.

import { once } from 'node:events'
import net from 'node:net'
import { mock } from 'node:test'
import postgres, { type Sql } from 'postgres'
import t, { type Test } from 'tap'
import { Database, listenSession } from '../lib/postgres/database.ts'
import { Pool } from '../lib/postgres/pool.ts'
import { query } from '../lib/postgres/query.ts'
import { Reader } from '../lib/postgres/reader.ts'
import { lookForPgBouncer, startPgBouncer } from './support/pgbouncer.ts'
import { stopClock } from './support/clock.ts'
import { connect, startPostgres } from './support/postgres.ts'
import { TcpProxy } from './support/proxy.ts'

const server = await startPostgres(t)
const pgBouncer = await lookForPgBouncer()

async function pidOf (sql: Sql): Promise<number> {
  const [row] = await sql`select pg_backend_pid() as pid`
  return row!.pid
}

async function sessions (sql: Sql, name: string): Promise<number> {
  const [row] = await sql`select count(*)::int as count from pg_stat_activity where application_name = ${name} or application_name like ${name + ' %'}`
  return row!.count
}

/** Sockets of this process that lead to a port. */
function socketsTo (port: number): number {
  const { _getActiveHandles: handles } = process as unknown as { _getActiveHandles: () => net.Socket[] }
  return handles.call(process).filter((handle) => handle instanceof net.Socket && handle.remotePort === port && !handle.destroyed).length
}

/** A server that does this with every link. */
async function startServer (t: Test, onlink: (socket: net.Socket) => void) {
  const open = new Set<net.Socket>()
  const listener = net.createServer((socket) => {
    open.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => open.delete(socket))
    onlink(socket)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.teardown(() => {
    for (const socket of open) socket.destroy()
    listener.close()
  })
  const { port } = listener.address() as net.AddressInfo
  return { port, url: `postgres://nobody:none@127.0.0.1:${port}/none` }
}

function message (type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

const WELCOME = Buffer.concat([message('R', Buffer.alloc(4)), message('Z', Buffer.from('I'))])
const FATAL = message('E', Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0'))

t.test('sql.listen() has a session of its own, and keeps it as sql.listen.sql', async (t) => {
  const sql = connect(t, server.url, { max: 1 })
  t.equal(listenSession(sql), undefined)
  const { state } = await sql.listen('one', () => {})
  const session = listenSession(sql)!
  const pid = await pidOf(session)
  t.equal(pid, state.pid)
  t.not(pid, await pidOf(sql))
  await sql.listen('two', () => {})
  t.equal(listenSession(sql), session, 'one session for all channels')
  const channels = await session`select pg_listening_channels() as name`
  t.same(channels.map(({ name }) => name).sort(), ['one', 'two'])
})

t.test('the option backoff is called when a session is lost, before the next LISTEN', async (t) => {
  const happened: string[] = []
  const sql = connect(t, server.url, {
    max: 1,
    backoff: () => {
      happened.push('backoff')
      return 0
    }
  })
  const again = new Promise<void>((resolve) => {
    let times = 0
    sql.listen('lost', () => {}, () => {
      happened.push('listen')
      if (++times === 2) resolve()
    })
  })
  const control = connect(t, server.url)
  while (!happened.includes('listen')) await control`select 1`
  await control`select pg_terminate_backend(${await pidOf(listenSession(sql)!)})`
  await again
  t.same(happened, ['listen', 'backoff', 'listen'])
})

t.test('the option socket makes the socket of every session', async (t) => {
  const proxy = await TcpProxy.start(t, server.port)
  let made = 0
  let led = 0
  proxy.on('connection', () => { led++ })
  const sql = connect(t, server.url, {
    max: 3,
    socket: () => {
      made++
      return net.connect(proxy.port, '127.0.0.1')
    }
  } as object)
  await Promise.all([sql`select pg_sleep(0.05)`, sql`select pg_sleep(0.05)`, sql`select pg_sleep(0.05)`, sql.listen('any', () => {})])
  t.equal(made, 4)
  t.equal(led, 4)
})

t.test('destroy() leaves no session and no socket, and none comes back', async (t) => {
  const proxy = await TcpProxy.start(t, server.port)
  const control = connect(t, server.url)
  let links = 0
  proxy.on('connection', () => { links++ })

  const idle = new Database(proxy.url(server.url), { name: 'destroyed', timeout: 10_000 })
  await idle.sql.listen('any', () => {})
  // The second one waits for its turn.
  const running = [idle.sql`select pg_sleep(60)`, idle.sql`select pg_sleep(60)`]
  const failures = Promise.allSettled(running)
  while (await sessions(control, 'destroyed') < 2) await control`select 1`
  idle.destroy()
  idle.destroy()
  for (const { status } of await failures) t.equal(status, 'rejected')
  await t.rejects(idle.sql`select 1`)
  await t.rejects(idle.sql.listen('other', () => {}))
  t.equal(socketsTo(proxy.port), 0)

  // The worst moment: the session was just lost, and the driver is about to open the next. One that
  // nobody destroys, with the same back-off, tells when that would have happened.
  const happened = { lost: 0, listens: 0 }
  const broken: Database = new Database(proxy.url(server.url), {
    name: 'destroyed',
    timeout: 10_000,
    onlost: () => {
      happened.lost++
      broken.destroy()
    }
  })
  await broken.sql.listen('any', () => {})
  const other = new Database(server.url, { name: 'comes back', timeout: 10_000 })
  t.teardown(() => other.destroy())
  await other.sql.listen('any', () => {}, () => { happened.listens++ })
  const before = links
  await control`select pg_terminate_backend(${await pidOf(listenSession(broken.sql)!)})`
  while (happened.lost === 0) await control`select 1`
  await control`select pg_terminate_backend(${await pidOf(listenSession(other.sql)!)})`
  while (happened.listens < 2) await control`select 1`
  t.equal(happened.lost, 1)
  t.equal(links, before, 'no new link')
  t.equal(socketsTo(proxy.port), 0)
  // The sleepers do not notice that they are alone.
  await control`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'destroyed'`
  while (await sessions(control, 'destroyed') > 0) await control`select 1`
  t.equal(links, before)
})

t.test('destroy() while the server says nothing', async (t) => {
  const { url, port } = await startServer(t, () => {})
  const database = new Database(url, { name: 'silent', timeout: 200 })
  const tick = stopClock(t)
  const late = [
    t.rejects(database.answer(database.sql`select 1`), { code: 'FST_PG_TAIL_TIMEOUT' }),
    t.rejects(database.answer(database.sql.listen('any', () => {})), { code: 'FST_PG_TAIL_TIMEOUT' })
  ]
  // The driver opens sessions by a timer.
  await new Promise(setImmediate)
  tick(1)
  while (socketsTo(port) < 2) await new Promise(setImmediate)
  tick(200)
  await Promise.all(late)
  t.equal(socketsTo(port), 2)
  database.destroy()
  t.equal(socketsTo(port), 0)
})

t.test('close() is polite: what is under way is waited for, for a while', async (t) => {
  const control = connect(t, server.url)
  const database = new Database(server.url, { name: 'closed', timeout: 10_000 })
  await database.sql.listen('any', () => {})
  for (const sql of [database.sql, control]) await sql`select 1`
  const tick = stopClock(t)
  const answer = database.sql`select 1 as one`.execute()
  const closing = Promise.all([database.close(), database.close()])
  tick(499)
  await closing
  t.same(await answer, [{ one: 1 }])
  while (await sessions(control, 'closed') > 0) await control`select 1`
})

t.test('a server that ends each link before its first word', async (t) => {
  let links = 0
  let onlink = () => {}
  const { url, port } = await startServer(t, (socket) => {
    links++
    onlink()
    socket.end()
  })
  await t.test('the driver alone comes back for ever and tells nobody', async (t) => {
    const sql = postgres(url, { max: 1, connect_timeout: 30, backoff: 0 } as object)
    let settled = false
    const query = sql`select 1`.then(() => { settled = true }, () => { settled = true })
    await new Promise<void>((resolve) => { onlink = () => { if (links === 20) resolve() } })
    t.equal(settled, false)
    onlink = () => {}
    await sql.end({ timeout: 0 })
    await query
  })
  await t.test('ours gives up after the time-out, and does not storm the server', async (t) => {
    links = 0
    const database = new Database(url, { name: 'ended', timeout: 1000 })
    await t.rejects(database.answer(database.sql.listen('any', () => {})), { code: 'FST_PG_TAIL_TIMEOUT' })
    t.ok(links < 10, `with pauses: ${links} links`)
    database.destroy()
    const after = links
    t.equal(socketsTo(port), 0)
    t.equal(links, after)
  })
})

t.test('a session that dies before its first statement is answered fails that statement, and no more', async (t) => {
  // With fetch_types the driver asks for types first, and leaves their failure to the process.
  const asked: string[] = []
  const { url } = await startServer(t, (socket) => {
    socket.once('data', () => {
      socket.write(WELCOME)
      socket.once('data', (data) => {
        asked.push(data.toString())
        socket.end(FATAL)
      })
    })
  })
  const lost: string[] = []
  const database = new Database(url, { name: 'dies', timeout: 5000, onlost: (cause) => lost.push(cause.message) })
  t.teardown(() => database.destroy())
  await t.rejects(database.answer(database.sql`select 'mine'`))
  t.match(asked[0], /select 'mine'/)
  t.equal(asked.length, 1)
})

t.test('sessions of a pool that nobody needs are closed', async (t) => {
  const control = connect(t, server.url, { max: 1 })
  await control`select 1`
  const many = new Pool(server.url, { size: 2, kept: 0 }, { name: 'many', timeout: 60_000 })
  const one = new Reader(server.url, { name: 'one', timeout: 60_000 })
  t.teardown(() => Promise.all([many.close(), one.close()]))
  const ask = (reader: Pick<Reader, 'answer'>) => Promise.all([1, 2].map(() => reader.answer(pidOf)))
  await Promise.all([ask(many), ask(one)])
  // The driver opens sessions by a timer, so they are open by now.
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  await Promise.all([ask(many), ask(one)])
  mock.timers.tick(15_000)
  await Promise.all([ask(many), ask(one)])
  mock.timers.tick(15_000)
  t.same([await sessions(control, 'many'), await sessions(control, 'one')], [2, 1], 'they were needed 15 s ago')
  mock.timers.tick(5_000)
  while (await sessions(control, 'many') > 0) await control`select 1`
  t.equal(await sessions(control, 'one'), 1)
  mock.timers.reset()
  await ask(many)
  t.equal(await sessions(control, 'many'), 2, 'and opened again')
})

t.test('a pool has more to do than sessions: nobody runs out of time while waiting for one', async (t) => {
  const pool = new Pool(server.url, { size: 4, kept: 0 }, { name: 'busy', timeout: 5000 })
  t.teardown(() => pool.close())
  const nap = (i: number) => pool.answer((sql) => sql`select pg_sleep(0.6), ${i}::int as i, pg_backend_pid() as pid`)
  const order: number[] = []
  const answers = await Promise.all(Array.from({ length: 40 }, async (_, i) => {
    const [row] = await nap(i)
    order.push(i)
    return row!['pid'] as number
  }))
  t.equal(new Set(answers).size, 4, 'no session was given up')
  t.same(order.slice(-4).sort(), [36, 37, 38, 39], 'who came last is served last')
})

t.test('a pool keeps what it shall keep, and asks nothing for those who are gone', async (t) => {
  const control = connect(t, server.url, { max: 1 })
  await control`select 1`
  const pool = new Pool(server.url, { size: 2, kept: 1 }, { name: 'kept', timeout: 60_000 })
  t.teardown(() => pool.close())
  await Promise.all([pool.answer(pidOf), pool.answer(pidOf)])
  // The driver opens sessions by a timer, so they are open by now.
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  await Promise.all([pool.answer(pidOf), pool.answer(pidOf)])
  mock.timers.tick(20_000)
  while (await sessions(control, 'kept') > 1) await control`select 1`
  mock.timers.reset()
  const gate = await connect(t, server.url).reserve()
  await gate`select pg_advisory_lock(99)`
  const wait = () => pool.answer((sql) => sql`select pg_advisory_xact_lock_shared(99)`)
  const both = [wait(), wait()]
  let [here, asked] = [true, 0]
  const gone = Promise.allSettled(Array.from({ length: 100 }, () => pool.answer((sql) => { asked++; return sql`select 1` }, () => here)))
  const last = pool.answer(pidOf)
  here = false
  await gate`select pg_advisory_unlock(99)`
  gate.release()
  await Promise.all([...both, last])
  for (const { status, reason } of await gone as PromiseRejectedResult[]) if (status !== 'rejected' || reason.code !== 'FST_PG_TAIL_CLOSED') throw reason
  t.equal(asked, 0)
})

t.test('one statement of a pool that takes too long is given up alone, and one whose answer is arriving is not', async (t) => {
  const pool = new Pool(server.url, { size: 2, kept: 0 }, { name: 'shared', timeout: 5000 })
  t.teardown(() => pool.close())
  // By an answer that is arriving nobody knows whether the session is still being opened.
  await Promise.all([pool.answer(pidOf), pool.answer(pidOf)])
  let asked = 0
  // A row is more than the server keeps before it sends.
  const arriving = pool.answer((sql) => {
    asked++
    return sql`select repeat('x', 20000), pg_sleep(1.5) from generate_series(1, 8)`
  })
  await t.rejects(pool.answer((sql) => sql`select pg_sleep(60)`), { code: 'FST_PG_TAIL_TIMEOUT' })
  t.equal((await arriving).length, 8)
  t.equal(asked, 1)
})

t.test('close() of a pool: what is under way is waited for, and who waits is told', async (t) => {
  const control = connect(t, server.url)
  await control`select 1`
  const pool = new Pool(server.url, { size: 1, kept: 0 }, { name: 'shut', timeout: 10_000 })
  await pool.answer(pidOf)
  const tick = stopClock(t)
  const first = pool.answer((sql) => sql`select 1 as one`.execute())
  const waiting = t.rejects(pool.answer(pidOf), { code: 'FST_PG_TAIL_CLOSED' })
  const closing = pool.close()
  tick(499)
  await closing
  t.same(await first, [{ one: 1 }])
  await waiting
  await t.rejects(pool.answer(pidOf), { code: 'CONNECTION_ENDED' })
  while (await sessions(control, 'shut') > 0) await control`select 1`
})

t.test("a statement that got no answer is ended on the server, also where nobody asks again, and no stranger's", async (t) => {
  const control = connect(t, server.url)
  await control`create table locked (id int)`
  const locker = await control.reserve()
  t.teardown(() => locker.release())
  await locker`begin`
  await locker`lock table locked`
  const waiting = async () => (await control`select from pg_locks where relation = 'locked'::regclass and not granted`).length
  const look = (sql: Sql) => query(sql, 'select from locked')
  // What the URL says of the name does not count.
  const reader = new Reader(`${server.url}?application_name=web`, { name: 'impatient', timeout: 5000 })
  const [{ name }] = await reader.answer((sql) => sql`select current_setting('application_name') as name`) as [any]
  // As behind a pooler that gave it our session.
  const stranger = connect(t, server.url, { connection: { application_name: name } })
  const his = stranger`select from locked`.then(() => 'let in', () => 'ended')
  while (await waiting() < 1);
  await t.rejects(reader.answer(look), { code: 'FST_PG_TAIL_TIMEOUT' })
  while (await waiting() > 1);
  // The next one is still at work when it closes.
  const last = reader.answer(look).catch(() => {})
  while (await waiting() < 2);
  await reader.close()
  await last
  while (await waiting() > 1);
  await locker`rollback`
  t.equal(await his, 'let in')
})

t.test('the server cannot be had: why is said, and not that something was thrown away', async (t) => {
  const { url, port } = await startServer(t, (socket) => socket.resetAndDestroy())
  const reader = new Reader(url.replace(String(port), '1'), { name: 'refused', timeout: 5000 })
  t.teardown(() => reader.close())
  for (let i = 0; i < 3; i++) await t.rejects(reader.answer(pidOf), { code: 'ECONNREFUSED' })
})

t.test('why a session was lost, or could not be had', async (t) => {
  const { url, port } = await startServer(t, (socket) => socket.resetAndDestroy())
  for (const [target, code] of [[url, 'ECONNRESET'], [url.replace(String(port), '1'), 'ECONNREFUSED']] as const) {
    const cause = new Promise<Error>((resolve) => {
      const database: Database = new Database(target, {
        name: 'lost',
        timeout: 5000,
        onlost: (cause) => {
          database.destroy()
          resolve(cause)
        }
      })
      database.sql.listen('any', () => {}).catch(() => {})
    })
    t.equal((await cause as NodeJS.ErrnoException).code, code)
  }
})

t.test('several statements at once through PgBouncer', { skip: pgBouncer === null && 'there is no pgbouncer on PATH' }, async (t) => {
  const database = new Database(await startPgBouncer(t, pgBouncer!, server.url), { name: 'at once', timeout: 600_000 })
  database.sql.options.prepare = false
  t.teardown(() => database.destroy())
  const { sql } = database
  for (let i = 0; i < 20; i++) {
    // The second one has parameters: the driver asks for their types first.
    const answers = await Promise.all([sql`select 1 as n`, sql`select ${i}::int + 1 as n`, sql`select 2 as n`])
    t.same(answers.map(([row]) => row!['n']), [1, i + 1, 2])
  }
})

t.test("the host's own instance: its way to the server, but not its ears", async (t) => {
  const heard: string[] = []
  let made = 0
  const host = connect(t, server.url, {
    onclose: () => heard.push('close'),
    onparameter: () => heard.push('parameter'),
    socket: async () => {
      made++
      return net.connect(server.port, '127.0.0.1')
    }
  } as object)
  const database = new Database(host, { name: 'borrowed', timeout: 5000 })
  const [row] = await database.sql`select current_setting('application_name') as name`
  t.equal(row!.name, 'borrowed')
  await database.sql.listen('any', () => {})
  t.equal(made, 2)
  await database.close()
  t.same(heard, [])
  t.same(await host`select 1 as one`, [{ one: 1 }], 'it is not closed')
})

t.test('arrays, without asking the server for its types', async (t) => {
  const host = connect(t, server.url)
  await host`select 1`
  for (const connection of [server.url, host]) {
    const { sql, ...database } = new Database(connection, { name: 'arrays', timeout: 5000 })
    t.teardown(() => sql.end())
    const [row] = await sql`
      select array[1, null, 3] as numbers, array[9007199254740993] as big, '{}'::text[] as none,
        array[[1, 2], [3, 4]] as nested, '[0:1]={5,6}'::int[] as bounds, array[true, false] as truths,
        array['a,b', '{"c"}', 'back\\slash', '', 'NULL', null, ' x '] as texts, array['{"a": [1]}'::jsonb] as json`
    t.same(row, {
      numbers: [1, null, 3],
      big: ['9007199254740993'],
      none: [],
      nested: [[1, 2], [3, 4]],
      bounds: [5, 6],
      truths: [true, false],
      texts: ['a,b', '{"c"}', 'back\\slash', '', 'NULL', null, ' x '],
      json: [{ a: [1] }]
    })
    const texts = ['a,b', '{"c"}', 'back\\slash', '', 'NULL', 'null', ' x ', 'é🎉\n']
    const [back] = await sql`select ${texts}::text[] as texts, ${['1', '-9007199254740993']}::bigint[] as big, ${[]}::text[] as none`
    t.same(back, { texts, big: ['1', '-9007199254740993'], none: [] })
    t.ok(database)
  }
  t.type((host.options as unknown as { parsers: Record<number, { array?: boolean }> }).parsers[1009]?.array, 'boolean', "the host's own are left alone")
})
