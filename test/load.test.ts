// 5,000 streams on one process, a third of which do not read for a while: what they get, and what that costs.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { json } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import Fastify from 'fastify'
import type { Sql } from 'postgres'
import t from 'tap'
import fastifyPgTail from '../plugin.ts'
import { startApp } from './support/app.ts'
import { stopClock } from './support/clock.ts'
import { LoadClient, type Address } from './support/load-client.ts'
import type { Measurement } from './support/load-server.ts'
import { connect, createDemoTables, startPostgres } from './support/postgres.ts'

/** Milliseconds that no test lasts. */
const NEVER = 3_600_000
const KIB = 1024
const RUNS = 50
const QUEUE_SIZE = 100
/** Rows of each run in one statement: one of the first level, and the others of the second. */
const ROUND = 5
const LEVELS = ['ERROR', 'INFO'] as const
/** Characters of a message. With the JSON around it, a row is some 1.1 KiB. */
const MESSAGE = 1000
/** A page has 256 KiB of messages, and the row that goes above that. */
const PAGE_ROWS = Math.ceil(256 * KIB / MESSAGE) + 1
/** Bytes of what frames two chunks, and of a heartbeat. */
const FRAMING = 256

/** One in 250 watches all runs, and of the others one in ten a level. A third is slow. */
const filters = Array.from({ length: scale(5000) }, (_, i) => ({
  run: i % 250 === 0 ? null : i % RUNS + 1,
  level: i % 250 === 0 ? null : LEVELS[Math.floor(i / RUNS) % 20] ?? null,
  slow: i % 250 === 0 ? i % 1000 === 0 : Math.floor(i / RUNS) % 3 === 0
}))
type Filter = typeof filters[number]
const EVERYTHING = { run: null, level: null, slow: true }

const server = await startPostgres(t)
const sql = connect(t, server.url)
await createDemoTables(sql)
const folder = await mkdtemp(join(tmpdir(), 'load-'))
t.teardown(() => rm(folder, { recursive: true }))
// On loopback the kernel takes megabytes for each client before TCP feels that it is slow; here some 200 KB.
const path = join(folder, 'node')

const child = spawn(process.execPath, ['--expose-gc', '--import', 'tsx', fileURLToPath(new URL('support/load-server.ts', import.meta.url)),
  server.url, path, JSON.stringify({ queueSize: QUEUE_SIZE, stallTimeout: NEVER })], { stdio: ['pipe', 'pipe', 'inherit'] })
const exit = once(child, 'exit')
const runs = () => child.exitCode === null && child.signalCode === null
t.teardown(() => { if (runs()) child.kill() })
await once(createInterface(child.stdout), 'line')

const ask = (what: string) => new Promise<any>((resolve, reject) => {
  http.get({ socketPath: path, path: what, agent: false }, (response) => resolve(json(response))).on('error', reject)
})
const measure = (): Promise<Measurement> => ask('/measure')
const memory = async () => (await ask('/measure?gc=1')).memory

/** Each process raises what it may open to the hard limit. */
function scale (wanted: number): number {
  const { soft } = (process.report.getReport() as any).userLimits.open_files
  const streams = Math.min(wanted, (Number(soft) || Infinity) - 200)
  if (streams < wanted) t.comment(`${streams} streams, not ${wanted}: only ${soft} files may be open`)
  return streams
}

/** Rows that came, all clients together. */
let received = 0
/** Connections that are over. */
let closed = 0
const everybodyStays = () => closed === 0
/** Reads and ends of all clients. */
let events = 0
const waiting = new Set<() => void>()

/** Looked at now, and whenever something comes. */
function until (predicate: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (!predicate()) return
      waiting.delete(look)
      resolve()
    }
    waiting.add(look)
    look()
  })
}

function happens (): void {
  events++
  for (const look of waiting) look()
}

function open (to: Address, { run, level }: Filter, { counted = true, ...options }: { slow?: boolean, lastEventId?: string, counted?: boolean } = {}): LoadClient {
  const query = [run !== null && `run_id=${run}`, level !== null && `level=${level}`].filter(Boolean).join('&')
  const onread = (rows: number) => {
    if (counted) received += rows
    happens()
  }
  const client = new LoadClient(to, query, { ...options, onread })
  client.closed.then(() => {
    closed++
    happens()
  })
  return client
}

/** One statement. Its rows are of all runs in turn, so that no run has many of one page. */
async function write (session: Sql, rows = ROUND, length = MESSAGE): Promise<void> {
  await session`insert into scraper_log (run_id, level, message)
    select run, case n when 1 then ${LEVELS[0]} else ${LEVELS[1]} end, repeat('x', ${length}::int)
    from generate_series(1, ${rows}::int) n, generate_series(1, ${RUNS}) run order by n, run`
}

/** How many rows of one statement are for it. */
const rowsOf = ({ run, level }: Filter, rows = ROUND) => (run === null ? RUNS : 1) * (level === null ? rows : level === LEVELS[0] ? 1 : rows - 1)
const sum = (values: number[]) => values.reduce((sum, value) => sum + value, 0)

/** Asks the table what each filter lets through. */
async function whatIsCommitted (): Promise<(filter: Filter) => number[]> {
  const lists: Record<string, number[]> = {}
  for (const { id, run, level } of await sql`select id::int, run_id::int as run, level from scraper_log order by id`) {
    for (const key of [`${run} ${level}`, `${run} null`, 'null null']) (lists[key] ??= []).push(id)
  }
  return ({ run, level }) => lists[`${run} ${level}`]!
}

/** How many clients did not get just that; the first few of them. */
function compare (got: (client: number) => number[], expected: (filter: Filter) => number[], indices = [...filters.keys()]): { wrong: number, such: object[] } {
  const wrong = indices.filter((i) => !isDeepStrictEqual(got(i), expected(filters[i]!)))
  const describe = (i: number) => ({ ...filters[i], got: got(i).length, different: new Set(got(i)).size, expected: expected(filters[i]!).length })
  return { wrong: wrong.length, such: wrong.slice(0, 3).map(describe) }
}
const NOBODY = { wrong: 0, such: [] }

const clients: LoadClient[] = []
const mib = (bytes: number) => `${(bytes / KIB / KIB).toFixed(1)} MiB`

t.test('slow clients cost what the formula says, and everybody gets everything once, in order', async (t) => {
  const none = await memory()
  while (clients.length < filters.length) {
    // Few enough at once for the server's backlog.
    const some = filters.slice(clients.length, clients.length + 100).map((filter) => open({ path }, filter, filter))
    clients.push(...some)
    await Promise.all(some.map(({ greeted }) => greeted))
  }
  const idle = await memory()
  t.comment(`${clients.length} streams: ${((idle - none) / KIB / clients.length).toFixed(1)} KiB each while idle (${mib(none)} without them)`)

  const quick = sum(filters.filter(({ slow }) => !slow).map((filter) => rowsOf(filter)))
  const unfiltered = filters.filter(({ slow, level }) => slow && level === null).length
  let rounds = 0
  const go = async (count: number) => {
    for (let i = 0; i < count; i++) await write(sql)
    rounds += count
    await until(() => received >= rounds * quick || !everybodyStays())
  }
  let first: number
  do {
    await go(5)
    first = (await measure()).stuck
  } while (first < unfiltered && everybodyStays())
  // More than a ring holds: what they have not taken by now is only in the table.
  await go(QUEUE_SIZE / ROUND + 1)

  const loaded = await memory() - idle
  const { stuck, held, excess, batches } = await measure()
  const { notification_queues: { total_queues: rings, queue_sizes: sizes }, subscribers } = await ask('/logs/status')
  t.comment(`${rounds * ROUND * RUNS} rows; ${stuck} streams are stuck and hold ${mib(held.sum)}, ${(held.max / KIB).toFixed(1)} KiB at most, with batches of ${(batches.max / KIB).toFixed(1)} KiB at most`)
  t.ok(excess <= FRAMING, `no stream holds more than its high-water mark and one batch: ${excess} bytes`)
  t.ok(batches.max <= PAGE_ROWS * (MESSAGE + 200), 'a batch is a page at most')
  const { all, ...ofRuns } = sizes
  t.ok(all <= Math.max(QUEUE_SIZE, PAGE_ROWS), `the ring of all runs: ${all} frames`)
  t.ok(Math.max(...Object.values<number>(ofRuns)) <= (LEVELS.length + 1) * QUEUE_SIZE, 'and those of one run and its levels')
  const bound = rings * QUEUE_SIZE * KIB * 7 + stuck * 16 * KIB + batches.sum
  t.comment(`memory: ${mib(loaded)} more than idle, ${mib(bound)} allowed (${rings} rings)`)
  t.ok(loaded <= bound, 'memory is bounded')
  t.match(subscribers, { current: clients.length, stalled: 0 })

  // These come now and want all there is, so that they get stuck on their way to where the others are.
  const late = [1, 2, 3].map(() => open({ path }, EVERYTHING, { slow: true, lastEventId: '0', counted: false }))
  await Promise.all(late.map(({ greeted }) => greeted))
  for (const client of clients) client.resume()
  const total = sum(filters.map((filter) => rowsOf(filter)))
  await until(() => received >= rounds * total || !everybodyStays())
  await write(sql)
  await until(() => received >= (rounds + 1) * total || !everybodyStays())
  let still: Measurement
  do still = await measure()
  while (still.stuck < late.length && everybodyStays())
  t.ok(still.excess <= FRAMING, `who replays is sent no more than that either: ${still.excess} bytes`)
  t.same(compare((i) => clients[i]!.ids, await whatIsCommitted()), NOBODY, 'everybody got everything once, in order')
  t.same(new Set(clients.flatMap(({ notices }) => notices)), new Set(['connected']), 'nobody was told anything but the greeting')
  for (const client of late) client.resume()
  const everything = (await whatIsCommitted())(EVERYTHING)
  await until(() => late.every(({ ids }) => ids.at(-1) === everything.at(-1)) || !everybodyStays())
  t.ok(late.every(({ ids }) => isDeepStrictEqual(ids, everything)), 'also who came late')
  t.equal(closed, 0, 'nobody was dropped')
  const after = (await ask('/logs/status')).subscribers
  t.match(after, { current: clients.length + late.length, stalled: 0 })
  t.ok(after.lagged >= unfiltered, `those that were stuck read on from the table: ${after.lagged} times`)
  const { delay } = await measure()
  for (const client of late) client.close()
  await Promise.all(late.map((client) => client.closed))
  t.comment(`event loop delay: p50 ${delay.p50} ms, p99 ${delay.p99} ms, max ${delay.max} ms`)
})

t.test('a node that closes while rows are written ends every stream properly, and another one goes on from there', async (t) => {
  child.once('exit', happens)
  closed = 0
  let written = received
  const writers = [1, 2, 3].map(async () => {
    const session = connect(t, server.url, { max: 1 })
    while (runs()) {
      const seen = events
      await write(session, 2, 10)
      written += sum(filters.map((filter) => rowsOf(filter, 2)))
      // No faster than it is read: at the end a client has a second for what it has not taken.
      await until(() => received >= written || (closed > 0 && events > seen))
    }
  })
  const before = received
  await until(() => received > before + 10 * clients.length)
  child.stdin.end()
  await Promise.all([...clients.map((client) => client.closed), ...writers])
  t.equal(clients.filter(({ complete }) => !complete).length, 0, 'each has got the end of its response')
  t.same(await exit, [0, null], 'and the process ends by itself')

  const { app } = await startApp(t, { connectionString: server.url })
  const { address: host, port } = app.server.address() as AddressInfo
  // Of all kinds.
  const sample = [...filters.keys()].filter((i) => i % 99 === 0 || i % 1250 === 0)
  const back = new Map(sample.map((i) => [i, open({ host, port }, filters[i]!, { lastEventId: clients[i]!.lastEventId })]))
  await Promise.all([...back.values()].map(({ greeted }) => greeted))
  await write(sql)
  const expected = await whatIsCommitted()
  await until(() => sample.every((i) => back.get(i)!.ids.at(-1) === expected(filters[i]!).at(-1)))
  const both = (i: number) => [...clients[i]!.ids, ...back.get(i)!.ids].sort((a, b) => a - b)
  t.same(compare(both, expected, sample), NOBODY, `together ${sample.length} clients got everything once`)
  for (const client of back.values()) client.close()
})

t.test('of 100 that come at the same moment 10 get in where 10 may, and one more once somebody has left', async (t) => {
  const atTheDoor: Array<(yes: boolean) => void> = []
  const authorize = () => new Promise<boolean>((resolve) => {
    if (atTheDoor.push(resolve) >= 100) for (const answer of atTheDoor) answer(true)
  })
  const { app, stream } = await startApp(t, { connectionString: server.url, maxSubscribers: 10, stream: { authorize } })
  const all = await Promise.all(Array.from({ length: 100 }, () => stream()))
  const inside = all.filter(({ status }) => status === 200)
  const outside = all.filter(({ status }) => status === 503)
  t.same([inside.length, outside.length, app.logQueue.subscribers, app.logQueue.counters.rejected], [10, 90, 10, 90])
  t.ok(outside.every(({ headers }) => Number(headers['retry-after']) > 0), 'and are told when to try again')
  t.same([...new Set(await Promise.all(outside.map((client) => client.body())))].map((body) => JSON.parse(body)),
    [{ statusCode: 503, code: 'FST_PG_TAIL_FULL', error: 'Service Unavailable', message: 'all 10 streams of this node are taken; try again later' }])
  t.throws(() => app.logQueue.subscribe(), { code: 'FST_PG_TAIL_FULL' })
  inside[0]!.close()
  while (app.logQueue.subscribers === 10) await new Promise(setImmediate)
  t.equal((await stream()).status, 200)
  t.equal((await stream()).status, 503)
})

t.test('an app that closes waits for whoever is a moment behind', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyPgTail, { connectionString: server.url, table: 'public.scraper_log', install: true, stream: { public: true } })
  const path = join(folder, 'behind')
  await app.listen({ path })
  const client = new LoadClient({ path }, 'run_id=77', { slow: true })
  await client.greeted
  // More than the kernel takes, less than a page, so that all of it is on its way.
  await sql`insert into scraper_log (run_id, message) select 77, repeat('x', 1000) from generate_series(1, 240)`
  for (let frames = 0; frames < 240; frames = app.logQueue.counters.frames) await new Promise((resolve) => setImmediate(resolve))
  const tick = stopClock(t)
  const closing = app.close()
  while (app.logQueue.subscribers > 0) await new Promise((resolve) => setImmediate(resolve))
  // That moment is a second.
  tick(999)
  client.resume()
  await Promise.all([closing, client.closed])
  t.equal(client.complete, true)
  t.equal(client.ids.length, 240)
})
