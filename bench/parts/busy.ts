// From INSERT to the client at 1,000 rows a second and 1,000 clients.

import { arrived } from '../support/arrived.ts'
import { Child } from '../support/child.ts'
import { Cluster } from '../support/cluster.ts'
import { write } from '../support/load.ts'
import { compare, type Result } from '../support/result.ts'
import { alternate, quantile, type Figures } from '../support/rounds.ts'

const OURS = 'ours'
const RAW = 'raw sockets, a read for each bell'
const POLLING = 'polling each 1 s'
const CLASSIC = 'row trigger and reply.sse.send()'
const SIDES: Record<string, [file: string, ...kind: string[]]> = {
  [OURS]: ['sides/ours.ts'],
  [RAW]: ['sides/hand-made.ts', 'raw'],
  [POLLING]: ['sides/polling.ts'],
  [CLASSIC]: ['sides/classic.ts']
}
const GOAL = 'the goal'
const GOAL_P99 = 25
const CLIENTS = 1000
const RATE = 1000
const WARM_UP = 200
/** Every so manieth client looks how late its rows are. */
const SAMPLE = 20

interface Scene {
  rows: number
  sides: string[]
}

const LONG: Scene = { rows: 3000, sides: [OURS, RAW, POLLING] }
/** The classic one needs minutes for more, and a gigabyte for each second of it. */
const SHORT: Scene = { rows: 400, sides: [OURS, CLASSIC] }

export const about = `Milliseconds from sending an INSERT to its row at the client, ${RATE} rows/s, ${CLIENTS} clients, of which every ${SAMPLE}th measures. Polling for each client, and a send for each message and client, cannot keep up: how late their rows are depends on how long it goes on.`

export async function measure (rounds: number): Promise<Result['comparisons']> {
  await using cluster = await Cluster.start()
  await using receivers = await Child.start('support/receivers.ts')
  let databases = 0
  const scene = async ({ rows, sides }: Scene): Promise<{ p50: Figures, p99: Figures }> => {
    console.log(`${rows} rows`)
    const p50: Figures = Object.fromEntries(sides.map((side) => [side, []]))
    const p99 = await alternate(sides, rounds, async (side) => {
      const { url, sql } = await cluster.database(`busy_${++databases}`)
      await using server = await Child.start(...SIDES[side]!, url)
      await receivers.ask('connect', await server.ask('port'), Array(CLIENTS).fill('/logs/stream'), SAMPLE)
      const send = async (rows: number, before: number): Promise<number[]> => {
        await write(sql, { rate: RATE, rows, runs: 1 })
        await arrived(receivers, Array(CLIENTS).fill(before + rows))
        return receivers.ask('latencies')
      }
      // What a process does for the first time takes it long.
      await send(WARM_UP, 0)
      const latencies = await send(rows, WARM_UP)
      await receivers.ask('close')
      await sql.end()
      p50[side]!.push(quantile(latencies, 0.5))
      return quantile(latencies, 0.99)
    })
    for (const figures of Object.values(p50)) figures.shift()
    return { p50, p99 }
  }
  const long = await scene(LONG)
  const short = await scene(SHORT)
  return [
    compare('p99', 'ms', { ...long.p99, [GOAL]: Array(rounds).fill(GOAL_P99) }, OURS, GOAL, { atMost: 1 }),
    compare('p99', 'ms', long.p99, OURS, POLLING, { atMost: 0.1 }),
    compare('p99', 'ms', long.p99, OURS, RAW),
    compare('p50', 'ms', long.p50, OURS, POLLING),
    compare('p50', 'ms', long.p50, OURS, RAW),
    compare(`p99, ${SHORT.rows} rows`, 'ms', short.p99, OURS, CLASSIC, { atMost: 0.5 }),
    compare(`p50, ${SHORT.rows} rows`, 'ms', short.p50, OURS, CLASSIC)
  ]
}
