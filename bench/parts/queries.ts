// What the server is asked while nothing happens, as PostgreSQL counts it.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Sql } from 'postgres'
import { Child } from '../support/child.ts'
import { Cluster } from '../support/cluster.ts'
import { compare, type Result } from '../support/result.ts'
import type { Figures } from '../support/rounds.ts'

const SECONDS = 130
const HOUR = 3600
const CLIENTS = [0, 1, 100, 1000]

export const about = `Statements an hour on a quiet table, from ${SECONDS} s after a while of rest: transactions that pg_stat_database counts. Polling: each client once a second.`

export async function measure (): Promise<Result['comparisons']> {
  await using cluster = await Cluster.start({})
  const figures: Figures = {}
  // All at once: each has a database of its own, and rests.
  await Promise.all(CLIENTS.map(async (clients) => {
    await using receivers = await Child.start('support/receivers.ts')
    const { url, sql } = await cluster.database(`queries_${clients}`)
    await sql.end()
    const admin = cluster.connect(cluster.url, { max: 1 })
    await using node = await Child.start('sides/ours.ts', url)
    await receivers.ask('connect', await node.ask('port'), Array(clients).fill('/logs/stream'))
    // The statistics of a session come up to 10 s late where it rests.
    await sleep(40_000)
    const before = await transactions(admin, new URL(url).pathname.slice(1))
    await sleep(SECONDS * 1000)
    figures[name(clients)] = [(await transactions(admin, new URL(url).pathname.slice(1)) - before) * HOUR / SECONDS]
  }))
  for (const clients of CLIENTS) figures[polling(clients)] = [clients * HOUR]
  return [
    ...CLIENTS.slice(1).map((clients) => compare(`${clients} clients`, 'statements/h', figures, name(clients), polling(clients), { atMost: 1 })),
    compare('1,000 clients and one', 'statements/h', figures, name(1000), name(1), { atMost: 1.05 }),
    compare('nobody watches, and one client', 'statements/h', figures, name(0), name(1), { atMost: 1 })
  ]
}

const name = (clients: number) => `ours, ${clients} client${clients === 1 ? '' : 's'}`
const polling = (clients: number) => `polling, ${clients} client${clients === 1 ? '' : 's'}`

async function transactions (sql: Sql, database: string): Promise<number> {
  const [row] = await sql`select xact_commit::int as count from pg_stat_database where datname = ${database}`
  return row!.count
}
