// What it adds to the start of an app: a process that registers it, becomes ready and ends.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { fileURLToPath } from 'node:url'
import { Cluster } from '../support/cluster.ts'
import { compare, type Comparison } from '../support/result.ts'
import { alternate } from '../support/rounds.ts'

const run = promisify(execFile)
const OURS = 'ours'
const WITHOUT = 'Fastify with @fastify/sse'

export const about = 'Milliseconds from the start of the process to app.ready(), and MiB that it takes by then. The plugin is the built one, and has looked its table up by then.'

export const rounds = 20

export async function measure (rounds: number): Promise<Comparison[]> {
  await using cluster = await Cluster.start({})
  const { url } = await cluster.database('start')
  const file = fileURLToPath(new URL('../sides/start.mjs', import.meta.url))
  const { ready, memory } = await alternate([OURS, WITHOUT], rounds, async (side) => {
    const { stdout } = await run(process.execPath, [file, ...side === OURS ? [url] : []])
    const { milliseconds, bytes } = JSON.parse(stdout)
    return { ready: milliseconds as number, memory: bytes / 1024 / 1024 }
  })
  return [
    compare('time to ready', 'ms', ready, OURS, WITHOUT),
    compare('memory at ready', 'MiB', memory, OURS, WITHOUT)
  ]
}
