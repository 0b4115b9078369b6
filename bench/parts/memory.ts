// What an open stream takes while nothing comes.

import { Child } from '../support/child.ts'
import { Cluster } from '../support/cluster.ts'
import { compare, type Comparison } from '../support/result.ts'
import { alternate } from '../support/rounds.ts'

const STREAMS = 5000
const OURS = 'ours'
const BARE = 'bare Fastify route'
const SSE = 'bare route with @fastify/sse'
const SIDES: Record<string, string[]> = { [OURS]: ['sides/ours.ts'], [BARE]: ['sides/bare.ts'], [SSE]: ['sides/bare.ts', 'sse'] }

export const about = `KiB a stream, ${STREAMS.toLocaleString('en')} streams open and idle: what is alive after a collection (heap and outside of it), and what the process takes of the system.`

export const rounds = 5

export async function measure (rounds: number): Promise<Comparison[]> {
  await using cluster = await Cluster.start({})
  const { url } = await cluster.database('memory')
  await using receivers = await Child.start('support/receivers.ts')
  const { alive, resident } = await alternate(Object.keys(SIDES), rounds, async (side) => {
    const [file, ...args] = SIDES[side]!
    await using server = await Child.start(file!, ...args, ...side === OURS ? [url] : [])
    const port = await server.ask('port')
    const open = (count: number) => receivers.ask('connect', port, Array(count).fill('/logs/stream'))
    // What is made for the first ones only does not count.
    await open(100)
    const before = await server.ask('memory')
    await open(STREAMS)
    const after = await server.ask('memory')
    await receivers.ask('close')
    const each = (name: 'alive' | 'rss') => (after[name] - before[name]) / STREAMS / 1024
    return { alive: each('alive'), resident: each('rss') }
  })
  return [
    compare('alive', 'KiB', alive, OURS, BARE, { atMost: 1.25 }),
    compare('alive', 'KiB', alive, OURS, SSE),
    compare('resident', 'KiB', resident, OURS, BARE, { atMost: 1.25 }),
    compare('resident', 'KiB', resident, OURS, SSE)
  ]
}
