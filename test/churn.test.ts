// Clients come, read a little and leave in every way there is, thousands of times: nothing of them stays behind.
// CHURN_SECONDS=3600 makes it an hour of that; CHURN_SEED repeats what was drawn.

import { getEventListeners, setMaxListeners, type EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import Fastify from 'fastify'
import t from 'tap'
import fastifyPgTail, { type LogRow, type SubscribeOptions } from '../plugin.ts'
import { count, gc, heap, listeners, slope, turn } from './support/alive.ts'
import { reach } from './support/app.ts'
import { LoadClient, type LoadClientOptions } from './support/load-client.ts'
import { connect, createDemoTables, startPostgres } from './support/postgres.ts'
import { Random } from './torture/random.ts'

const SECONDS = Number(process.env['CHURN_SECONDS'] ?? 0)
t.setTimeout((SECONDS + 900) * 1000)
const seed = Number(process.env['CHURN_SEED'] ?? Date.now() % 2 ** 32)
/** Cycles between two moments at which nobody is there, and how many at once. */
const ROUND = 100
const CROWD = 20
const WARM_UP = 12
const ROUNDS = 20
/** Bytes that are left of each cycle: V8 goes on learning for some thousands of them, and then there is little. */
const allowed = (cycles: number) => Math.max(50, 1024 * 1024 / cycles)
const RUNS = 10
/** Nobody writes to it. */
const QUIET_RUN = 99
const FORBIDDEN_RUN = 66
const LEVELS = ['ERROR', 'INFO']
/** Rows in the table, about, and characters in each: more of them than a socket takes. */
const KEPT = 400
const MESSAGE = 1900

const server = await startPostgres(t)
const sql = connect(t, server.url, { max: 3 })
await createDemoTables(sql)
const folder = await mkdtemp(join(tmpdir(), 'churn-'))
t.teardown(() => rm(folder, { recursive: true }))
/** The kernel takes less for a client than on loopback. */
const path = join(folder, 'app')

const responses = new Set<ServerResponse>()
const app = Fastify()
t.teardown(() => app.close())
await app.register(fastifyPgTail, {
  connectionString: server.url,
  table: 'public.scraper_log',
  install: true,
  queueSize: 50,
  heartbeat: 20,
  status: { public: true },
  stream: {
    authorize: async (_request, { run }) => run !== String(FORBIDDEN_RUN),
    reauthorize: 20,
    onRequest: async (_request, { raw }) => {
      responses.add(raw)
      raw.once('close', () => responses.delete(raw))
    }
  }
})
await app.listen({ path })
await reach(app, 'listening')
const status = async () => (await app.inject('/logs/status')).json()

/** What nobody should see. */
const alarms: string[] = []
const alarm = (what: Error) => { alarms.push(String(what.stack)) }
process.on('warning', alarm).on('uncaughtExceptionMonitor', alarm)
t.teardown(() => { process.off('warning', alarm).off('uncaughtExceptionMonitor', alarm) })

/** One that lives as long as the app: who leaves shall leave it, too. */
const { signal: lasting } = new AbortController()
setMaxListeners(CROWD, lasting)
let written = 0
let lastId = 0
const writing = new AbortController()

/** A row of each run and level, again and again; old ones of theirs are deleted, perhaps before anybody has read them. */
async function write (): Promise<void> {
  while (!writing.signal.aborted) {
    const rows = await sql`insert into scraper_log (run_id, level, message)
      select run, level, repeat('x', ${MESSAGE}::int) from generate_series(1, ${RUNS}::int) run, unnest(${LEVELS}::text[]) level returning id`
    lastId = Number(rows.at(-1)!.id)
    if (++written % 10 === 0) await sql`delete from scraper_log where id < ${lastId - KEPT} and run_id <= ${RUNS}`
  }
}

type Start = Pick<SubscribeOptions, 'after' | 'tail'>
type Wish = Pick<SubscribeOptions, 'run' | 'level'> & Start

const STARTS: Array<(random: Random) => Start> = [
  () => ({}),
  () => ({ after: '0' }),
  (random) => ({ after: String(lastId - random.integer(0, 200)) }),
  () => ({ after: `${lastId}~${lastId - 20}-${lastId - 10}` }),
  // Of another life of the table: it is told so, and begins at the start.
  () => ({ after: String(lastId + 1_000_000) }),
  (random) => ({ tail: random.integer(0, 100) })
]

/** Something of which rows will come. */
function wish (random: Random): Wish {
  const run = random.pick([undefined, ...Array.from({ length: RUNS }, (_, i) => i + 1)])
  const level = random.pick([undefined, 'ERROR', 'INFO,ERROR'])
  return { ...(run !== undefined && { run }), ...(level !== undefined && { level }), ...random.pick(STARTS)(random) }
}

/** Anything. */
const anything = (random: Random) => ({ ...wish(random), ...(random.next() < 0.3 && { run: QUIET_RUN }) })

let visits = 0
/** A stream, and the server's end of it. */
function visit (random: Random, { run, level, after, tail }: Wish, options: LoadClientOptions = {}) {
  const name = `visit=${++visits}`
  const inHeader = after !== undefined && random.next() < 0.5
  const query = Object.entries({ run_id: run, level, after: inHeader ? undefined : after, tail }).filter(([, value]) => value !== undefined)
  const client = new LoadClient({ path }, [...query.map((pair) => pair.join('=')), name].join('&'), { ...options, ...(inHeader && { lastEventId: after }) })
  // Who leaves early is not greeted.
  client.greeted.catch(() => {})
  return { client, response: () => [...responses].find(({ req }) => req.url!.endsWith(name)) }
}

function rowsOf (random: Random, wish: Wish, count: number): Promise<LoadClient> {
  return new Promise((resolve) => {
    const { client } = visit(random, wish, { onread: (rows) => { if ((count -= rows) <= 0) resolve(client) } })
  })
}

async function turns (random: Random): Promise<void> {
  for (let count = random.integer(0, 30); count > 0; count--) await turn()
}

const must = (right: boolean, what: string) => { if (!right) alarm(new Error(what)) }
let stopped = 1000

/** All ways to come and to leave. Who is still there in the end hangs up. */
const WAYS: Record<string, (random: Random) => Promise<LoadClient | void>> = {
  'reads some rows': (random) => rowsOf(random, wish(random), random.integer(1, 50)),
  'leaves during its replay': (random) => rowsOf(random, { ...wish(random), after: '0' }, 1),
  'leaves after its request': async (random) => {
    const { client } = visit(random, anything(random))
    await client.sent
    return client
  },
  'leaves at any moment': async (random) => {
    const { client } = visit(random, anything(random))
    await client.sent
    await turns(random)
    return client
  },
  'leaves after the greeting': async (random) => {
    const { client } = visit(random, anything(random))
    await client.greeted
    return client
  },
  'does not read': async (random) => {
    const { client, response } = visit(random, { after: '0' }, { slow: true })
    await client.greeted
    while (!response()!.socket!.writableNeedDrain) await turn()
    return client
  },
  'is refused': async (random) => {
    const wrong = random.pick<Wish>([{ run: 'x' }, { run: FORBIDDEN_RUN }, { after: 'x' }, { level: ',' }, { tail: -1 }])
    const { client } = visit(random, wrong)
    await client.greeted.then(() => must(false, `${JSON.stringify(wrong)} was let in`), ({ message }) => must(/ 40[03] /.test(message), message))
    return client
  },
  'stays until its run is stopped, and comes back': async (random) => {
    const run = ++stopped
    const { client } = visit(random, { run })
    await client.greeted
    await sql`insert into scraper_log (run_id, message) values (${run}, 'only one')`
    await app.logQueue.stop(run)
    while (!client.complete) await turn()
    must(client.ids.length === 1, `${client.ids.length} rows of run ${run}`)
    client.close()
    const back = new LoadClient({ path }, `run_id=${run}`, { lastEventId: client.lastEventId })
    await back.greeted.then(async () => {
      // Nobody could look its end up in time.
      while (!back.complete) await turn()
      must(back.ids.length === 0, 'it begins anew')
    }, ({ message }) => must(/ 204 /.test(message), message))
    await sql`delete from scraper_log where run_id = ${run}`
    return back
  },
  'breaks out of its loop': async (random) => {
    let left = random.integer(1, 50)
    for await (const row of app.logQueue.subscribe({ ...wish(random), signal: lasting })) if (row && --left === 0) break
  },
  'throws in its loop': async (random) => {
    try {
      for await (const row of app.logQueue.subscribe({ ...wish(random), signal: lasting })) if (row) throw row
    } catch (error) {
      must(typeof (error as LogRow).cursor === 'string', String(error))
    }
  },
  'returns at any moment': async (random) => {
    const rows = app.logQueue.subscribe({ ...anything(random), signal: lasting })
    const next = random.next() < 0.5 ? rows.next() : null
    await turns(random)
    await rows.return!()
    await next
  },
  'aborts at any moment': async (random) => {
    const abort = new AbortController()
    if (random.next() < 0.1) abort.abort()
    const rows = app.logQueue.subscribe({ ...anything(random), signal: abort.signal })
    turns(random).then(() => abort.abort())
    while (!(await rows.next()).done);
  },
  'is refused in the process': async (random) => {
    const wrong = random.pick<Wish>([{ run: 'x' }, { after: 'x' }, { level: '' }, { tail: -1 }])
    try {
      app.logQueue.subscribe({ ...wrong, signal: lasting })
      must(false, `${JSON.stringify(wrong)} was let in`)
    } catch (error) {
      must(/^FST_PG_TAIL_/.test((error as { code: string }).code), String(error))
    }
  }
}

/** Many of them, and then nobody: neither here nor in the database. */
async function round (random: Random): Promise<void> {
  let left = ROUND
  await Promise.all(Array.from({ length: CROWD }, async () => {
    while (left-- > 0) {
      // What is held weakly only goes now, with all of them there.
      if (left === ROUND / 2) gc()
      const client = await random.pick(Object.values(WAYS))(random)
      client?.close()
      await client?.closed
    }
  }))
  while (responses.size > 0 || app.logQueue.subscribers > 0) await turn()
  // What was asked for those that have left.
  while ((await sql`select from pg_stat_activity where application_name like 'fastify-pg-tail%' and state <> 'idle'`).length > 0);
}

/** What there is where nobody is. */
async function leftovers () {
  const { subscribers, notification_queues: queues, watermark, doorbell } = await status()
  const sessions = await sql`select split_part(application_name, ' ', 1) || ' ' || split_part(application_name, ' ', 2) as name from pg_stat_activity where application_name like 'fastify-pg-tail%'`
  // Nothing here works with files but tsx, which writes down what it has compiled.
  const resources = count(process.getActiveResourcesInfo().filter((name) => !/^(Immediate|FSReq.*|CloseReq)$/.test(name)))
  // The driver closes a session that has nothing to do for a while, and has a timer for that.
  resources['TCPSocketWrap']! -= sessions.length
  resources['Timeout']! -= sessions.filter(({ name }) => name === 'fastify-pg-tail replay').length
  return {
    subscribers: { current: subscribers.current, stalled: subscribers.stalled, rejected: subscribers.rejected, rings: queues.total_queues },
    tailer: { watermark, doorbell: doorbell.state, locks: (await sql`select from pg_locks where locktype = 'advisory'`).length },
    sessions: count(sessions.map(({ name }) => name)),
    listeners: [listeners(app.server), listeners(app.notifyListener as unknown as EventEmitter), listeners(process), getEventListeners(lasting, 'abort').length],
    resources
  }
}

/** As soon as it is right; after a while as it is. */
async function settle (right: (left: Awaited<ReturnType<typeof leftovers>>, last?: unknown) => boolean) {
  let last
  for (let tries = 1; ; tries++) {
    const left = await leftovers()
    if (right(left, last) || tries === 100) return left
    last = left.resources
    await delay(100)
  }
}

t.test('of those that have left nothing stays behind', async (t) => {
  t.comment(`seed ${seed}`)
  const random = new Random(seed)
  const end = performance.now() + SECONDS * 1000
  const writer = write()
  while ((await sql`select from scraper_log`).length < KEPT);
  for (let i = 0; i < WARM_UP; i++) await round(random)
  // What closes takes its socket and its timers along one after the other.
  const before = await settle(({ tailer, resources }, last) => tailer.locks === 0 && isDeepStrictEqual(resources, last))
  const heaps = [await heap()]
  while (heaps.length <= ROUNDS || performance.now() < end) {
    await round(random)
    heaps.push(await heap())
  }
  const after = await settle(({ tailer, resources }) => tailer.locks === 0 && isDeepStrictEqual(resources, before.resources))
  const cycles = (heaps.length - 1) * ROUND
  const left = slope(heaps, ROUND)
  t.comment(`${cycles} cycles: ${Math.round((heaps.at(-1)! - heaps[0]!) / 1024)} KiB more of ${Math.round(heaps[0]! / 1024)}, ${left.toFixed(1)} bytes a cycle; ${app.logQueue.counters.subscribed} streams`)
  t.comment(`${JSON.stringify(after.sessions)}, ${JSON.stringify(after.resources)}`)

  t.same(alarms, [], 'no warning, and nothing that nobody caught')
  t.same(after.subscribers, { current: 0, stalled: 0, rejected: 0, rings: 0 }, 'nobody is there, and no ring')
  t.same(after.tailer, { watermark: null, doorbell: 'off', locks: 0 }, 'nothing is read, and no writer has to ring')
  t.match(after.sessions, { 'fastify-pg-tail listener': 1, 'fastify-pg-tail reader': 1 }, 'sessions')
  t.ok((after.sessions['fastify-pg-tail replay'] ?? 0) <= 4, 'not more than four of them for replays')
  t.ok((after.sessions['fastify-pg-tail lookup'] ?? 0) <= 2, 'not more than two for ends of runs')
  t.same(after.listeners, before.listeners, 'listeners')
  t.same(after.resources, before.resources, 'handles and timers')
  t.ok(left < allowed(cycles), `memory: less than ${Math.round(allowed(cycles))} bytes a cycle`)

  const client = new LoadClient({ path }, 'run_id=1')
  await client.greeted
  while (client.ids.length === 0) await turn()
  client.close()
  writing.abort()
  await writer
})
