// What further nodes cost the server, and what it takes when many clients come back at once.

import { arrived } from '../support/arrived.ts'
import { Child } from '../support/child.ts'
import { Cluster } from '../support/cluster.ts'
import { write } from '../support/load.ts'
import { compare, type Result } from '../support/result.ts'
import { alternate, type Figures } from '../support/rounds.ts'
import { processorTime } from '../support/server.ts'

const SECONDS = 4
const RATES = [2, 100, 1000]
const NODES = [1, 2, 5, 10]
const CLIENTS_OF_A_NODE = 5
const NONE = 'no node'

const WATCHED_RUNS = 1000
const RATE_OF_RUNS = 1000
const ALL_RUNS = `1 node, ${CLIENTS_OF_A_NODE} clients of all runs`
const EACH_RUN = '1 node, a client of each run'

const ROWS = 100_000
const RETURNING = 1000
const RUNS = 200
const MISSED = 50
const OURS = 'ours'
const SELECTS = 'their selects alone'

export const about = `Processor time of the server. For each node: milliseconds a second more than without any, with ${CLIENTS_OF_A_NODE} clients of all runs at each; against one node. And of one node, where each run has a client.
For each client that comes back: ${RETURNING.toLocaleString('en')} of them at once to one node, of ${RUNS} runs, each with a cursor ${MISSED} rows behind; against one select for each, sent by 4 sessions.`

export async function measure (rounds: number): Promise<Result['comparisons']> {
  await using cluster = await Cluster.start({})
  return [...await nodes(cluster, rounds), ...await runs(cluster, rounds), ...await returning(cluster, rounds)]
}

async function nodes (cluster: Cluster, rounds: number): Promise<Result['comparisons']> {
  const comparisons: Result['comparisons'] = []
  const { url, sql } = await cluster.database('nodes')
  await using receivers = await Child.start('support/receivers.ts')
  for (const rate of RATES) {
    console.log(`${rate} rows/s`)
    const names = NODES.map(name)
    const { spent } = await alternate([NONE, ...names], rounds, async (side) => {
      // Those that nobody watches would hear the bells as well.
      const some: Child[] = []
      for (let i = 0; i < (NODES[names.indexOf(side)] ?? 0); i++) some.push(await Child.start('sides/ours.ts', url))
      for (const node of some) await receivers.ask('connect', await node.ask('port'), Array(CLIENTS_OF_A_NODE).fill('/logs/stream'))
      for (const node of some) await node.ask('doorbell', 'armed')
      const rows = rate * SECONDS
      const took = await processorTime(sql, async () => {
        await write(sql, { rate, rows, runs: 1 })
        await arrived(receivers, Array(some.length * CLIENTS_OF_A_NODE).fill(rows))
      })
      await receivers.ask('close')
      await Promise.all(some.map((node) => node[Symbol.asyncDispose]()))
      return { spent: took / SECONDS }
    })
    const each: Figures = Object.fromEntries(NODES.map((count) => [name(count), spent[name(count)]!.map((ms, i) => (ms - spent[NONE]![i]!) / count)]))
    for (const other of names.slice(1)) comparisons.push(compare(`${rate} rows/s`, 'ms/s and node', each, other, names[0]!))
  }
  await sql.end()
  return comparisons
}

/** One node, of whose clients each watches a run of its own. */
async function runs (cluster: Cluster, rounds: number): Promise<Result['comparisons']> {
  const what = `${RATE_OF_RUNS} rows/s of ${WATCHED_RUNS} runs`
  console.log(what)
  const { url, sql } = await cluster.database('runs')
  await using receivers = await Child.start('support/receivers.ts')
  const rows = RATE_OF_RUNS * SECONDS
  const sides: Record<string, string[]> = {
    [NONE]: [],
    [ALL_RUNS]: Array(CLIENTS_OF_A_NODE).fill('/logs/stream'),
    [EACH_RUN]: Array.from({ length: WATCHED_RUNS }, (_, i) => `/logs/stream?run_id=${i}`)
  }
  const { spent } = await alternate(Object.keys(sides), rounds, async (side) => {
    const paths = sides[side]!
    const node = paths.length === 0 ? null : await Child.start('sides/ours.ts', url)
    await receivers.ask('connect', await node?.ask('port') ?? 0, paths)
    await node?.ask('doorbell', 'armed')
    const took = await processorTime(sql, async () => {
      await write(sql, { rate: RATE_OF_RUNS, rows, runs: WATCHED_RUNS })
      await arrived(receivers, Array(paths.length).fill(side === EACH_RUN ? rows / WATCHED_RUNS : rows))
    })
    await receivers.ask('close')
    await node?.[Symbol.asyncDispose]()
    return { spent: took / SECONDS }
  })
  const each: Figures = Object.fromEntries(Object.entries(spent).map(([side, ms]) => [side, ms.map((figure, i) => figure - spent[NONE]![i]!)]))
  return [compare(what, 'ms/s and node', each, EACH_RUN, ALL_RUNS)]
}

async function returning (cluster: Cluster, rounds: number): Promise<Result['comparisons']> {
  console.log('clients that come back')
  const { url, sql } = await cluster.database('coming_back')
  const [row] = await sql`insert into scraper_log (run_id, message) select n % ${RUNS}::int, 'a line of some length, as scrapers write them, ' || n from generate_series(1, ${ROWS}::int) n returning id`
  const after = String(BigInt(row!.id) - 1n + BigInt(ROWS - RUNS * MISSED))
  await sql.unsafe('vacuum analyze scraper_log')
  await using receivers = await Child.start('support/receivers.ts')
  await using node = await Child.start('sides/ours.ts', url)
  const port = await node.ask('port')
  const reader = cluster.connect(url, { max: 4 })
  const sides: Record<string, () => Promise<void>> = {
    async [OURS] () {
      await receivers.ask('connect', port, Array.from({ length: RETURNING }, (_, i) => `/logs/stream?run_id=${i % RUNS}&after=${after}`))
      await arrived(receivers, Array(RETURNING).fill(MISSED))
    },
    async [SELECTS] () {
      await Promise.all(Array.from({ length: RETURNING }, async (_, i) => {
        const rows = await reader`select id::text, run_id::text, level, message, created_at from scraper_log where run_id = ${i % RUNS} and id > ${after} order by scraper_log.id limit 1000`
        if (rows.length !== MISSED) throw new Error(`${rows.length} rows`)
      }))
    }
  }
  const { spent } = await alternate([OURS, SELECTS], rounds, async (side) => {
    const took = await processorTime(sql, sides[side]!)
    await receivers.ask('close')
    return { spent: took / RETURNING }
  })
  await sql.end()
  return [compare('each client that comes back', 'ms', spent, OURS, SELECTS)]
}

const name = (nodes: number) => `${nodes} node${nodes === 1 ? '' : 's'}`
