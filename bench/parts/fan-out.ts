// Rows to many clients: deliveries a second of processor time of the serving process, reading from the table included.

import { arrived } from '../support/arrived.ts'
import { Child } from '../support/child.ts'
import { Cluster } from '../support/cluster.ts'
import { LEVELS, write, type Load } from '../support/load.ts'
import { compare, type Comparison } from '../support/result.ts'
import { alternate } from '../support/rounds.ts'

const OURS = 'ours'
const RAW = 'raw sockets, paced as ours'
const EAGER = 'raw sockets, a read for each bell'
const SIDES: Record<string, string[]> = {
  [OURS]: ['sides/ours.ts'],
  [RAW]: ['sides/hand-made.ts', 'raw', 'paced'],
  [EAGER]: ['sides/hand-made.ts', 'raw'],
  'reply.sse.send()': ['sides/hand-made.ts', 'send'],
  'better-sse': ['sides/hand-made.ts', 'better-sse']
}

/** Seconds before, which do not count. */
const WARM_UP = 1
/** Where there are many small reads. Of ours 4,000 rows of 200 runs took a fifth less after 15 s than after one, of raw sockets as much as before. */
const LONG_WARM_UP = 10

interface Scene extends Load {
  what: string
  /** What the clients ask for, one after the other, and how many rows each of them gets. */
  clients: Array<{ path: string, rows: number }>
  sides: string[]
  warmUp?: number
  targets: Record<string, number | undefined>
}

const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i))

const SCENES: Scene[] = [
  {
    what: '1,000 clients of one run, 1,000 rows/s',
    rate: 1000,
    rows: 2000,
    runs: 1,
    clients: times(1000, () => ({ path: '/logs/stream?run_id=0', rows: 2000 })),
    sides: [OURS, RAW, EAGER],
    targets: { [RAW]: 0.8, [EAGER]: undefined }
  },
  {
    // Fewer, for it takes some of them minutes.
    what: '1,000 clients of one run, 400 rows at 1,000 rows/s',
    rate: 1000,
    rows: 400,
    runs: 1,
    clients: times(1000, () => ({ path: '/logs/stream?run_id=0', rows: 400 })),
    sides: [OURS, 'reply.sse.send()', 'better-sse'],
    targets: { 'reply.sse.send()': 10, 'better-sse': 5 }
  },
  {
    what: '1,000 clients of one run, 10,000 rows/s',
    rate: 10_000,
    rows: 20_000,
    runs: 1,
    clients: times(1000, () => ({ path: '/logs/stream?run_id=0', rows: 20_000 })),
    sides: [OURS, RAW, EAGER],
    targets: { [RAW]: 0.8, [EAGER]: undefined }
  },
  {
    what: '200 runs of 5 clients, 1,000 rows/s',
    rate: 1000,
    rows: 4000,
    runs: 200,
    clients: times(1000, (i) => ({ path: `/logs/stream?run_id=${i % 200}`, rows: 20 })),
    sides: [OURS, RAW, EAGER],
    warmUp: LONG_WARM_UP,
    targets: { [RAW]: 0.5, [EAGER]: undefined }
  },
  {
    what: '1,000 clients, each of one of 4 levels, 1,000 rows/s',
    rate: 1000,
    rows: 4000,
    runs: 1,
    clients: times(1000, (i) => ({ path: `/logs/stream?level=${LEVELS[i % 4]}`, rows: 1000 })),
    sides: [OURS, RAW, EAGER],
    targets: { [RAW]: 0.5, [EAGER]: undefined }
  }
]

export const about = 'Deliveries (a row at a client) a second of processor time, user and system, of the process that serves; the clients are another process. ' +
  'The other sides read the table with one select after the last id; the first of them reads when ours would, by bells or after a pause, so that batches are alike: the last table says how many reads each has made. A round counts only once every client has every row.'

export const rounds = 5

export async function measure (rounds: number): Promise<Comparison[]> {
  await using cluster = await Cluster.start({})
  await using receivers = await Child.start('support/receivers.ts')
  const comparisons: Comparison[] = []
  let databases = 0
  for (const scene of SCENES) {
    console.log(scene.what)
    const { deliveries, reads } = await alternate<'deliveries' | 'reads'>(scene.sides, rounds, async (side) => {
      const { url, sql } = await cluster.database(`fan_out_${++databases}`)
      const [file, kind, ...pace] = SIDES[side]!
      await using server = await (kind === undefined ? Child.start(file!, url, JSON.stringify({ queueSize: 100_000 })) : Child.start(file!, kind, url, ...pace))
      await receivers.ask('connect', await server.ask('port'), scene.clients.map(({ path }) => path))
      const warmUp = scene.warmUp === undefined ? Math.min(scene.rate * WARM_UP, scene.rows) : scene.rate * scene.warmUp
      const send = async (rows: number, before: number): Promise<{ spent: number, reads: number }> => {
        const [reads, spent] = [await server.ask('reads'), await server.ask('cpu')]
        await write(sql, { ...scene, rows })
        await arrived(receivers, scene.clients.map((client) => client.rows * (before + rows) / scene.rows))
        return { spent: await server.ask('cpu') - spent, reads: await server.ask('reads') - reads }
      }
      // What a process does for the first time takes it long.
      await send(warmUp, 0)
      const { spent, reads } = await send(scene.rows, warmUp)
      await receivers.ask('close')
      await sql.end()
      return { deliveries: scene.clients.reduce((sum, { rows }) => sum + rows, 0) / spent * 1000, reads }
    })
    for (const [other, atLeast] of Object.entries(scene.targets)) comparisons.push(compare(scene.what, 'deliveries/s', deliveries, OURS, other, atLeast === undefined ? undefined : { atLeast }))
    if (RAW in scene.targets) comparisons.push(compare(scene.what, 'reads', reads, OURS, RAW))
  }
  return comparisons
}
