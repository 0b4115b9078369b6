// What the server is asked while nothing happens, as PostgreSQL counts it.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Sql } from 'postgres'
import { Child } from '../support/child.ts'
import { Cluster } from '../support/cluster.ts'
import { compare, type Comparison } from '../support/result.ts'
import type { Figures } from '../support/rounds.ts'

const WINDOW = 600
/** The statistics of a session come up to 10 s late where it rests. */
const REST = 40
const HOUR = 3600
const CLIENTS = [0, 1, 100, 1000]
const UNWATCHED_ROWS = 100
const GOAL = 'six hundred'
const GOAL_PER_HOUR = 600

export const about = `Transactions an hour on a quiet table, as pg_stat_database counts them in windows of ${WINDOW / 60} minutes. Polling is not measured: it is once a second for each client. ${UNWATCHED_ROWS} rows are written
first, before anybody watches; where nobody does later, that no bell was rung for them and no row read is looked at in the end.`

/** Windows, one after the other. */
export const rounds = 2

export async function measure (rounds: number): Promise<Comparison[]> {
  // It asks the server as well, and is none of ours.
  await using cluster = await Cluster.start({ autovacuum: 'off' })
  const figures: Figures = {}
  // All at once: each has a database of its own, and rests.
  await Promise.all(CLIENTS.map(async (clients) => {
    await using receivers = await Child.start('support/receivers.ts')
    const { url, sql } = await cluster.database(`queries_${clients}`)
    const admin = cluster.connect(cluster.url, { max: 1 })
    await using node = await Child.start('sides/ours.ts', url)
    for (let i = 0; i < UNWATCHED_ROWS; i++) await sql`insert into scraper_log (run_id, message) values (1, 'unheard')`
    await receivers.ask('connect', await node.ask('port'), Array(clients).fill('/logs/stream'))
    await sql.end()
    await sleep(REST * 1000)
    const ours = figures[name(clients)] = [] as number[]
    for (let round = 1; round <= rounds; round++) {
      const before = await transactions(admin, new URL(url).pathname.slice(1))
      await sleep(WINDOW * 1000)
      ours.push((await transactions(admin, new URL(url).pathname.slice(1)) - before) * HOUR / WINDOW)
      console.log(`  round ${round}  ${name(clients)}: ${ours.at(-1)}`)
    }
    const { doorbell, tailer } = await node.ask('status')
    if (clients === 0 && (doorbell.rings > 0 || tailer.reads > 0)) throw new Error(`nobody watches: ${doorbell.rings} bells, ${tailer.reads} reads`)
    if (clients > 0) figures[polling(clients)] = Array(rounds).fill(clients * HOUR)
  }))
  figures[GOAL] = Array(rounds).fill(GOAL_PER_HOUR)
  return [
    ...CLIENTS.slice(1).map((clients) => compare(`${clients} clients`, 'transactions/h', figures, name(clients), polling(clients), { atMost: 1 })),
    compare('1,000 clients', 'transactions/h', figures, name(1000), GOAL, { atMost: 1 }),
    compare('1,000 clients and one', 'transactions/h', figures, name(1000), name(1), { atMost: 1.05 }),
    compare('nobody watches, and one client', 'transactions/h', figures, name(0), name(1), { atMost: 1 })
  ]
}

const name = (clients: number) => `ours, ${clients} client${clients === 1 ? '' : 's'}`
const polling = (clients: number) => `polling, ${clients} client${clients === 1 ? '' : 's'}`

async function transactions (sql: Sql, database: string): Promise<number> {
  const [row] = await sql`select xact_commit::int as count from pg_stat_database where datname = ${database}`
  return row!.count
}
