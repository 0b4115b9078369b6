// Each committed row once, to everybody: many writers, two processes, clients that hop between them.

import t from 'tap'
import type { Sql } from 'postgres'
import { startApp } from './support/app.ts'
import { startNode } from './support/nodes.ts'
import { connect, createDemoTables, startPostgres } from './support/postgres.ts'
import { SseClient } from './support/sse-client.ts'

const WRITERS = 16
const ROWS = 10_000
const HOPS = 60

const server = await startPostgres(t)
const sql = connect(t, server.url, { max: WRITERS + 2 })
await createDemoTables(sql)
const first = await startApp(t, { connectionString: server.url })
const nodes = [first.url, await startNode(t, server.url), await startNode(t, server.url)]
const ordered = await startApp(t, { connectionString: server.url, order: 'id' })

/** Deterministic, so that a failure can be repeated. */
function random (seed: number): () => number {
  return () => {
    seed = (seed * 1103515245 + 12345) & 0x7fffffff
    return seed / 0x7fffffff
  }
}

/** One writer; `run` is its own, so its rows must arrive in the order of their ids. */
async function write (run: number, rows: number): Promise<void> {
  const chance = random(run)
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
  const insert = (tx: Sql, n = 1) => tx`insert into scraper_log (run_id, message) select ${run}, 'row' from generate_series(1, ${n}::int)`
  let left = rows
  while (left > 0) {
    const dice = chance()
    const n = Math.min(left, 1 + Math.floor(chance() * 10))
    if (dice < 0.5) {
      await insert(sql)
      left--
    } else if (dice < 0.6) {
      await insert(sql, n)
      left -= n
    } else if (dice < 0.75) {
      await sql.begin(async (tx) => {
        await insert(tx as unknown as Sql, n)
        throw new Error('rolled back')
      }).catch(() => {})
    } else if (dice < 0.85) {
      await sql.begin(async (tx) => {
        await insert(tx as unknown as Sql, n)
        await tx.savepoint(async (point) => {
          await insert(point as unknown as Sql, 3)
          throw new Error('rolled back')
        }).catch(() => {})
      })
      left -= n
    } else if (dice < 0.9) {
      await sql.begin(async (tx) => {
        await tx`select nextval(pg_get_serial_sequence('scraper_log', 'id'))`
        await insert(tx as unknown as Sql, n)
        await pause(chance() * 300)
      })
      left -= n
    } else await pause(chance() * 20)
  }
}

/** Comes back again and again, each time to another node, often in the middle of a batch. */
async function hop (done: Promise<unknown>, last: () => bigint | null): Promise<any[]> {
  const logs: any[] = []
  const chance = random(42)
  let cursor = '0'
  let over = false
  done.then(() => { over = true })
  for (let turn = 0; ; turn++) {
    const client = await SseClient.connect(`${nodes[turn % nodes.length]}/logs/stream`, { lastEventId: cursor })
    const enough = 1 + Math.floor(chance() * ROWS / HOPS)
    await client.waitFor((client) => client.logs().length >= enough || (over && logs.length + client.logs().length >= Number(last())))
    client.close()
    logs.push(...client.logs())
    // What the client has parsed is what it has; its last id says just that.
    cursor = client.lastEventId
    if (over && logs.length >= Number(last())) return logs
  }
}

t.test('10,000 rows of 16 writers', async (t) => {
  const connectTo = async (url: string, query = '') => {
    const client = await SseClient.connect(`${url}/logs/stream${query}`)
    await client.until(({ data }) => data.type === 'connected')
    return client
  }
  const clients = await Promise.all([...nodes.map((url) => connectTo(url)), connectTo(ordered.url)])
  const one = await connectTo(nodes[1]!, '?run_id=3')
  let count: bigint | null = null
  const writing = Promise.all([...Array(WRITERS).keys()].map((run) => write(run, ROWS / WRITERS)))
    .then(async () => { count = BigInt((await sql`select count(*) from scraper_log`)[0]!.count) })
  const hopping = hop(writing, () => count)
  await writing
  const committed = (await sql`select id from scraper_log order by id`).map(({ id }) => Number(id))
  t.equal(committed.length, ROWS)

  await Promise.all(clients.map((client) => client.waitFor(() => client.logs().length >= ROWS)))
  const own = (await sql`select id from scraper_log where run_id = 3 order by id`).map(({ id }) => Number(id))
  await one.waitFor(() => one.logs().length >= own.length)
  // A last row: whatever came before it twice would have come by then.
  await sql`insert into scraper_log (run_id, message) values (3, 'last')`
  await Promise.all([...clients, one].map((client) => client.until(({ data }) => data.message === 'last')))

  const check = (name: string, logs: any[], expected: number[]) => {
    const ids = logs.filter(({ message }) => message !== 'last').map(({ id }) => id)
    const seen = new Set(ids)
    t.same({ lost: expected.filter((id) => !seen.has(id)).length, doubled: ids.length - seen.size, strangers: ids.filter((id) => !expected.includes(id)).length },
      { lost: 0, doubled: 0, strangers: 0 }, name)
    const high = new Map<number, number>()
    t.equal(logs.filter(({ id, run_id: run }) => {
      const wrong = (high.get(run) ?? 0) > id
      high.set(run, id)
      return wrong
    }).length, 0, `${name}: in order within each run`)
  }
  for (const [i, client] of clients.entries()) check(i === nodes.length ? 'order id' : `node ${i}`, client.logs(), committed)
  check('one run', one.logs(), own)
  check('hopping', await hopping, committed)
  const ids = clients.at(-1)!.logs().map(({ id }) => id)
  t.ok(ids.every((id, i) => i === 0 || ids[i - 1] < id), 'order id: in order altogether')
  for (const client of [...clients, one]) client.close()
})
