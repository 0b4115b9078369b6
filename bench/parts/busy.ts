// From INSERT to the client at 1,000 rows a second and 1,000 clients.

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
const CLIENTS = 1000
/** The classic one leaves a gigabyte a second in its queues. */
const SECONDS = 2
const RATE = 1000
const WARM_UP = 500
/** Every so manieth client looks how late its rows are. */
const SAMPLE = 20

export const about = `Milliseconds from sending an INSERT to its row at the client, ${RATE} rows/s for ${SECONDS} s, ${CLIENTS} clients, of which every ${SAMPLE}th measures. Polling for each client, and a send for each message and client, cannot keep up: how late their rows are depends on how long it goes on.`

export async function measure (rounds: number): Promise<Result['comparisons']> {
  await using cluster = await Cluster.start()
  await using receivers = await Child.start('support/receivers.ts')
  let databases = 0
  const p50: Figures = Object.fromEntries(Object.keys(SIDES).map((side) => [side, []]))
  const p99 = await alternate(Object.keys(SIDES), rounds, async (side) => {
    const { url, sql } = await cluster.database(`busy_${++databases}`)
    await using server = await Child.start(...SIDES[side]!, url)
    await receivers.ask('connect', await server.ask('port'), Array(CLIENTS).fill('/logs/stream'), SAMPLE)
    const send = async (rows: number, before: number): Promise<number[]> => {
      await write(sql, { rate: RATE, rows, runs: 1 })
      const received: number[] = await receivers.ask('received', Array(CLIENTS).fill(before + rows))
      if (received.some((count) => count !== before + rows)) throw new Error(`${side}: not every client has every row once`)
      return receivers.ask('latencies')
    }
    // What a process does for the first time takes it long.
    await send(WARM_UP, 0)
    const latencies = await send(RATE * SECONDS, WARM_UP)
    await receivers.ask('close')
    await sql.end()
    p50[side]!.push(quantile(latencies, 0.5))
    return quantile(latencies, 0.99)
  })
  for (const figures of Object.values(p50)) figures.shift()
  return [
    compare('p99', 'ms', p99, OURS, POLLING, { atMost: 0.1 }),
    compare('p99', 'ms', p99, OURS, CLASSIC, { atMost: 0.5 }),
    compare('p99', 'ms', p99, OURS, RAW),
    compare('p50', 'ms', p50, OURS, RAW),
    compare('p50', 'ms', p50, OURS, POLLING),
    compare('p50', 'ms', p50, OURS, CLASSIC)
  ]
}
