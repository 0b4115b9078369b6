// What further nodes cost the server, and what it takes when many clients come back at once.

import type { Sql } from 'postgres'
import { arrived } from '../support/arrived.ts'
import { Child } from '../support/child.ts'
import { Cluster } from '../support/cluster.ts'
import { write, type Load } from '../support/load.ts'
import { compare, type Comparison } from '../support/result.ts'
import { alternate, type Figures } from '../support/rounds.ts'
import { processorTime } from '../support/server.ts'

const SECONDS = 4
const RATES = [2, 100, 1000]
const NODES = [1, 2, 5, 10]
const CLIENTS_OF_A_NODE = 5
const NONE = 'no node'

const WATCHED_RUNS = 1000
const RATE_OF_RUNS = 1000
const ALL_RUNS = `ours, ${CLIENTS_OF_A_NODE} clients of all runs`
const EACH_RUN = 'ours, a client of each run'

const ROWS = 100_000
const RETURNING = 1000
const RUNS = 200
const MISSED = 50
const OURS = 'ours'
const SELECTS = 'their selects alone'

export const about = `Processor time of the server. For each node: milliseconds a second more than without any, with ${CLIENTS_OF_A_NODE} clients of all runs at each; against one node. And of one node, where each run has a client.
For each client that comes back: ${RETURNING.toLocaleString('en')} of them at once to one node, of ${RUNS} runs, each with a cursor ${MISSED} rows behind; against one select for each, sent by 4 sessions.`

export const rounds = 5

export async function measure (rounds: number): Promise<Comparison[]> {
  await using cluster = await Cluster.start({})
  return [...await nodes(cluster, rounds), ...await runs(cluster, rounds), ...await returning(cluster, rounds)]
}

async function nodes (cluster: Cluster, rounds: number): Promise<Comparison[]> {
  const comparisons: Comparison[] = []
  await using table = await Table.create(cluster, 'nodes')
  const paths = Array(CLIENTS_OF_A_NODE).fill('/logs/stream')
  for (const rate of RATES) {
    console.log(`${rate} rows/s`)
    const names = NODES.map(name)
    const { spent } = await alternate([NONE, ...names], rounds, async (side) => ({
      spent: await table.spend({ rate, runs: 1 }, Array(NODES[names.indexOf(side)] ?? 0).fill(paths))
    }))
    const each: Figures = Object.fromEntries(NODES.map((count) => [name(count), spent[name(count)]!.map((ms, i) => (ms - spent[NONE]![i]!) / count)]))
    for (const other of names.slice(1)) comparisons.push(compare(`${rate} rows/s`, 'ms/s and node', each, other, names[0]!))
  }
  return comparisons
}

/** One node, of whose clients each watches a run of its own. */
async function runs (cluster: Cluster, rounds: number): Promise<Comparison[]> {
  const what = `${RATE_OF_RUNS} rows/s of ${WATCHED_RUNS} runs`
  console.log(what)
  await using table = await Table.create(cluster, 'runs')
  const sides: Record<string, string[][]> = {
    [NONE]: [],
    [ALL_RUNS]: [Array(CLIENTS_OF_A_NODE).fill('/logs/stream')],
    [EACH_RUN]: [Array.from({ length: WATCHED_RUNS }, (_, i) => `/logs/stream?run_id=${i}`)]
  }
  const { spent } = await alternate(Object.keys(sides), rounds, async (side) => ({ spent: await table.spend({ rate: RATE_OF_RUNS, runs: WATCHED_RUNS }, sides[side]!) }))
  const each: Figures = Object.fromEntries(Object.entries(spent).map(([side, ms]) => [side, ms.map((figure, i) => figure - spent[NONE]![i]!)]))
  return [compare(what, 'ms/s and node', each, EACH_RUN, ALL_RUNS)]
}

/** A table that nodes watch for a while. */
class Table implements AsyncDisposable {
  readonly #url: string
  readonly #sql: Sql
  readonly #receivers: Child

  static async create (cluster: Cluster, name: string): Promise<Table> {
    const { url, sql } = await cluster.database(name)
    return new Table(url, sql, await Child.start('support/receivers.ts'))
  }

  private constructor (url: string, sql: Sql, receivers: Child) {
    this.#url = url
    this.#sql = sql
    this.#receivers = receivers
  }

  /** Milliseconds a second of the server's processor time while rows come to so many nodes, with clients of these paths each. */
  async spend ({ rate, runs }: Omit<Load, 'rows'>, paths: string[][]): Promise<number> {
    const rows = rate * SECONDS
    // Those that nobody watches would hear the bells as well.
    const nodes: Child[] = []
    while (nodes.length < paths.length) nodes.push(await Child.start('sides/ours.ts', this.#url))
    for (const [i, node] of nodes.entries()) await this.#receivers.ask('connect', await node.ask('port'), paths[i])
    for (const node of nodes) await node.ask('doorbell', 'armed')
    const took = await processorTime(this.#sql, async () => {
      await write(this.#sql, { rate, rows, runs })
      await arrived(this.#receivers, paths.flat().map((path) => path.includes('run_id') ? rows / runs : rows))
    })
    await this.#receivers.ask('close')
    await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()))
    return took / SECONDS
  }

  async [Symbol.asyncDispose] (): Promise<void> {
    await this.#receivers[Symbol.asyncDispose]()
    await this.#sql.end()
  }
}

async function returning (cluster: Cluster, rounds: number): Promise<Comparison[]> {
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

const name = (nodes: number) => `ours, ${nodes} node${nodes === 1 ? '' : 's'}`
