// How the cost of a delivery, and the delay, grow with clients, rows, runs and the table.

import { arrived } from '../support/arrived.ts'
import { Child } from '../support/child.ts'
import { Cluster } from '../support/cluster.ts'
import { write } from '../support/load.ts'
import { compare, type Comparison } from '../support/result.ts'
import { alternate, quantile, type Figures } from '../support/rounds.ts'
import { openProbe } from '../support/probe.ts'

interface Point { name: string, clients: number, rate: number, runs: number }
interface Axis {
  what: string
  points: Point[]
  target?: { atMost: number }
  /** Whether it is shown what a row takes, too: where a row goes to fewer clients the further one gets. */
  perRow?: boolean
}

/** What varies by as much from round to round counts as flat. */
const FLAT = { atMost: 1.25 }

const SECONDS = 2
/** Seconds before, which do not count. */
const WARM_UP = 1
const AXES: Axis[] = [
  { what: 'clients, at 100 rows/s', points: [10, 100, 1000, 5000].map((clients) => ({ name: `${clients} clients`, clients, rate: 100, runs: 1 })), target: FLAT },
  { what: 'rows, at 100 clients', points: [10, 100, 1000, 10_000].map((rate) => ({ name: `${rate} rows/s`, clients: 100, rate, runs: 1 })), target: FLAT },
  { what: 'runs, at 1,000 clients and 1,000 rows/s', points: [1, 10, 100, 1000].map((runs) => ({ name: `${runs} runs`, clients: 1000, rate: 1000, runs })), perRow: true },
  // A row goes to one client here: nothing is shared, whatever their number.
  { what: 'runs of a client each, at 1,000 rows/s', points: [1, 10, 100, 1000].map((runs) => ({ name: `${runs} runs`, clients: runs, rate: 1000, runs })), target: FLAT }
]
const SIZES = [10_000, 100_000, 1_000_000, 10_000_000]

export const about = 'Microseconds of processor time a delivery, of the node; and, by the size of the table, milliseconds from COMMIT to the client on a quiet table (median of 100 rows). Each held against the one before it, and the last against the first.'

export const rounds = 5

export async function measure (rounds: number): Promise<Comparison[]> {
  await using cluster = await Cluster.start({})
  await using receivers = await Child.start('support/receivers.ts')
  const comparisons: Comparison[] = []
  let databases = 0
  for (const { what, points, target, perRow } of AXES) {
    console.log(what)
    const names = points.map(({ name }) => name)
    const { cost, costOfRow } = await alternate<'cost' | 'costOfRow'>(names, rounds, async (side) => {
      const { clients, rate, runs } = points.find(({ name }) => name === side)!
      const { url, sql } = await cluster.database(`growth_${++databases}`)
      await using node = await Child.start('sides/ours.ts', url, JSON.stringify({ queueSize: 100_000 }))
      await receivers.ask('connect', await node.ask('port'), Array.from({ length: clients }, (_, i) => `/logs/stream?run_id=${i % runs}`))
      const send = async (rows: number, before: number): Promise<number> => {
        const spent = await node.ask('cpu')
        await write(sql, { rate, rows, runs })
        await arrived(receivers, Array(clients).fill((before + rows) / runs))
        return await node.ask('cpu') - spent
      }
      // What a process does for the first time takes it long.
      await send(rate * WARM_UP, 0)
      const spent = await send(rate * SECONDS, rate * WARM_UP)
      await receivers.ask('close')
      await sql.end()
      return { cost: spent * 1000 / (clients * rate * SECONDS / runs), costOfRow: spent * 1000 / (rate * SECONDS) }
    })
    comparisons.push(...steps(what, 'µs/delivery', cost, names, target), ...perRow === true ? steps(what, 'µs/row', costOfRow, names) : [])
  }

  console.log('the size of the table')
  const names = SIZES.map((size) => `${size.toLocaleString('en')} rows`)
  const probes = await Promise.all(SIZES.map(async (size) => {
    const { url, sql } = await cluster.database(`size_${size}`)
    await sql`insert into scraper_log (run_id, message) select n % 50, 'a line of some length, as scrapers write them, ' || n from generate_series(1, ${size}::int) n`
    await sql.unsafe('vacuum analyze scraper_log')
    const node = await Child.start('sides/ours.ts', url)
    return { node, probe: await openProbe(sql, await node.ask('port')) }
  }))
  const { delay } = await alternate(names, rounds, async (side) => ({ delay: quantile(await probes[names.indexOf(side)]!.probe(100), 0.5) }))
  comparisons.push(...steps('rows in the table', 'ms', delay, names, FLAT))
  for (const { node } of probes) await node[Symbol.asyncDispose]()
  return comparisons
}

/** Each against the one before it, and the last against the first. */
function steps (what: string, unit: string, figures: Figures, names: string[], target?: Axis['target']): Comparison[] {
  return [
    ...names.slice(1).map((name, i) => compare(what, unit, figures, name, names[i]!, target)),
    compare(what, unit, figures, names.at(-1)!, names[0]!)
  ]
}
