// From COMMIT to the client, on a quiet table: one client, one row now and then.

import { Child } from '../support/child.ts'
import { Cluster, DURABLE } from '../support/cluster.ts'
import { openProbe } from '../support/probe.ts'
import { compare, type Comparison } from '../support/result.ts'
import { alternate, quantile } from '../support/rounds.ts'

const OURS = 'ours'
const BY_HAND = 'by hand'
const ROWS = 200

export const about = `Milliseconds from sending COMMIT to the row at the client, ${ROWS} rows a round with pauses of 10 to 30 ms. By hand: LISTEN, one select, one write. Both wait for the same disk where commits do, as PostgreSQL is set by default;
without it the difference is larger, seen as a ratio.`

export const rounds = 5

export async function measure (rounds: number): Promise<Comparison[]> {
  return [
    ...await quiet('each commit on disk', DURABLE, rounds),
    ...await quiet('no wait for the disk', {}, rounds)
  ]
}

async function quiet (what: string, settings: Record<string, string>, rounds: number): Promise<Comparison[]> {
  console.log(what)
  await using cluster = await Cluster.start(settings)
  const ours = await cluster.database('ours')
  const byHand = await cluster.database('by_hand')
  await using node = await Child.start('sides/ours.ts', ours.url)
  await using other = await Child.start('sides/hand-made.ts', 'raw', byHand.url)
  const sides: Record<string, (rows: number) => Promise<number[]>> = {
    [OURS]: await openProbe(ours.sql, await node.ask('port')),
    [BY_HAND]: await openProbe(byHand.sql, await other.ask('port'))
  }
  await node.ask('doorbell', 'armed')
  const { p50, p99 } = await alternate(Object.keys(sides), rounds, async (side) => {
    const latencies = await sides[side]!(ROWS)
    return { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) }
  })
  return [
    compare(`p50, ${what}`, 'ms', p50, OURS, BY_HAND, { atMost: 1.3 }),
    compare(`p99, ${what}`, 'ms', p99, OURS, BY_HAND, { atMost: 2 })
  ]
}
