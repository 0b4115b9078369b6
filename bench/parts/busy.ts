// From INSERT to the client at 1,000 rows a second and 1,000 clients.

import { cpus } from 'node:os'
import { arrived } from '../support/arrived.ts'
import { Child } from '../support/child.ts'
import { Cluster } from '../support/cluster.ts'
import { clock } from '../support/clock.ts'
import { LINE, write } from '../support/load.ts'
import { compare, type Comparison } from '../support/result.ts'
import { alternate, quantile } from '../support/rounds.ts'
import { processorTime, timeOf } from '../support/server.ts'

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
const PASSES = 'two passes over all sockets, nothing else'
const GOAL = 'the goal'
const GOAL_P99 = 25
const CLIENTS = 1000
const RATE = 1000
const WARM_UP = 200
/** What a read brings while the pass before goes on. */
const ROWS_OF_A_PASS = 30
const PASSES_OF_A_ROUND = 50
/** Every so manieth client looks how late its rows are. */
const SAMPLE = 20

interface Scene {
  rows: number
  sides: string[]
}

const LONG: Scene = { rows: 3000, sides: [OURS, RAW, POLLING] }
/** The classic one needs minutes for more, and a gigabyte for each second of it. */
const SHORT: Scene = { rows: 400, sides: [OURS, CLASSIC] }

export const about = `Milliseconds from sending an INSERT to its row at the client, ${RATE} rows/s, ${CLIENTS} clients, of which every ${SAMPLE}th measures. Polling for each client, and a send for each message and client, cannot keep up: how late their rows are depends on how long it goes on.
Two passes: twice what \`socket.write()\` to all takes, with ${ROWS_OF_A_PASS} rows ready, no database, and nobody else at work but the clients. About so long does a row take that has just missed a pass, at the last client of the
next, where one pass follows the other. The last lines say how often a side reads, and who took the processors: milliseconds a second, of all of them.`

export const rounds = 5

export async function measure (rounds: number): Promise<Comparison[]> {
  await using cluster = await Cluster.start()
  await using receivers = await Child.start('support/receivers.ts')
  let databases = 0
  const open = async (side: string) => {
    const { url, sql } = await cluster.database(`busy_${++databases}`)
    const server = await Child.start(...SIDES[side]!, url)
    await receivers.ask('connect', await server.ask('port'), Array(CLIENTS).fill('/logs/stream'), SAMPLE)
    return { sql, server }
  }
  const load = async (side: string, rows: number) => {
    const { sql, server } = await open(side)
    const send = async (rows: number, before: number): Promise<number[]> => {
      await write(sql, { rate: RATE, rows, runs: 1 })
      await arrived(receivers, Array(CLIENTS).fill(before + rows))
      return receivers.ask('latencies')
    }
    // What a process does for the first time takes it long.
    await send(WARM_UP, 0)
    const counts = side === OURS || side === RAW
    const reads = counts ? await server.ask('reads') : 0
    const [node, clients] = [server, receivers].map(({ pid }) => timeOf(pid)!)
    const idle = idleTime()
    const start = performance.now()
    let latencies: number[] = []
    const database = await processorTime(sql, async () => { latencies = await send(rows, WARM_UP) })
    const seconds = (performance.now() - start) / 1000
    const shares = {
      node: (timeOf(server.pid)! - node!) / seconds,
      clients: (timeOf(receivers.pid)! - clients!) / seconds,
      database: database / seconds,
      idle: (idleTime() - idle) / seconds,
      ...counts && { reads: (await server.ask('reads') - reads) / seconds }
    }
    await receivers.ask('close')
    await server[Symbol.asyncDispose]()
    await sql.end()
    return { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99), ...shares }
  }
  const passes = async () => {
    const { sql, server } = await open(RAW)
    const rows = Array.from({ length: ROWS_OF_A_PASS }, (_, id) => ({ id, run_id: 1, level: 'INFO', created_at: new Date(), message: `t${clock()} ${LINE}` }))
    const times: number[] = []
    for (let i = 1; i <= PASSES_OF_A_ROUND; i++) {
      times.push(await server.ask('pass', rows))
      await arrived(receivers, Array(CLIENTS).fill(i * rows.length))
    }
    await receivers.ask('close')
    await server[Symbol.asyncDispose]()
    await sql.end()
    return { p99: 2 * quantile(times, 0.5) }
  }
  console.log(`${LONG.rows} rows`)
  const long = await alternate<keyof Awaited<ReturnType<typeof load>>>([...LONG.sides, PASSES], rounds, (side) => side === PASSES ? passes() : load(side, LONG.rows))
  console.log(`${SHORT.rows} rows`)
  const short = await alternate(SHORT.sides, rounds, (side) => load(side, SHORT.rows))
  return [
    compare('p99', 'ms', { ...long.p99, [GOAL]: Array(rounds).fill(GOAL_P99) }, OURS, GOAL, { atMost: 1 }),
    compare('p99', 'ms', long.p99, OURS, PASSES),
    compare('p99', 'ms', long.p99, OURS, POLLING, { atMost: 0.1 }),
    compare('p99', 'ms', long.p99, OURS, RAW),
    compare('p50', 'ms', long.p50, OURS, POLLING),
    compare('p50', 'ms', long.p50, OURS, RAW),
    compare('reads', 'a second', long.reads, OURS, RAW),
    compare('processors: the process that serves', 'ms/s', long.node, OURS, RAW),
    compare('processors: the clients', 'ms/s', long.clients, OURS, RAW),
    compare('processors: the server', 'ms/s', long.database, OURS, RAW),
    compare('processors: idle', 'ms/s', long.idle, OURS, RAW),
    compare(`p99, ${SHORT.rows} rows`, 'ms', short.p99, OURS, CLASSIC, { atMost: 0.5 }),
    compare(`p50, ${SHORT.rows} rows`, 'ms', short.p50, OURS, CLASSIC)
  ]
}

/** Milliseconds so far, of all processors. */
function idleTime (): number {
  return cpus().reduce((sum, { times }) => sum + times.idle, 0)
}
