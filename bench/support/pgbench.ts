// Transactions of one statement as fast as they go, and who takes the processors' time meanwhile.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Sql } from 'postgres'
import type { Child } from './child.ts'
import { timeOf, timesOfServer } from './server.ts'

export interface Load {
  url: string
  /** A script of pgbench: one INSERT. */
  file: string
  /** That it inserts. */
  rows: number
  writers: number
  seconds: number
  /** Whether a commit waits for the disk. */
  disk: boolean
  /** Of the same database. */
  sql: Sql
  /** Those who read meanwhile, if any, and how many clients. */
  serving: { node: Child, receivers?: Child, clients: number } | undefined
}

const NAME = 'pgbench'

export interface Spent {
  /** Microseconds of processor time for a row that is written: of sessions that write, of pgbench, and of the server's processes that are no session. */
  writing: number
  pgbench: number
  background: number
  /** For a row that has reached the clients: of the other sessions, of the process that serves, and of the clients. */
  reading: number
  node: number
  clients: number
}

/** From when all sessions are there, until they are told to end: pgbench would count the time in which they come and go. */
export async function pgbench (load: Load): Promise<{ commits: number } & Spent> {
  const { url, file, rows, writers, seconds, disk, sql } = load
  const child = spawn('pgbench', ['-n', '-c', String(writers), '-j', '1', '-T', '3600', '-M', 'prepared', '-f', file, url], {
    env: { ...process.env, PGAPPNAME: NAME, PGOPTIONS: disk ? '' : '-c synchronous_commit=off' }, stdio: ['ignore', 'ignore', 'inherit']
  })
  const exit = once(child, 'exit')
  try {
    while (await countSessions(sql) < writers) {
      if (child.exitCode !== null) throw new Error(`pgbench ended: ${child.exitCode}`)
      await sleep(5)
    }
    const before = await look(load, child.pid!)
    await sleep(seconds * 1000)
    const after = await look(load, child.pid!)
    const written = after.written - before.written
    const arrived = after.arrived - before.arrived
    const each = (who: keyof Spent, rows: number) => rows === 0 ? 0 : (after[who] - before[who]) * 1000 / rows
    return {
      commits: written / rows / (after.at - before.at) * 1000,
      writing: each('writing', written),
      pgbench: each('pgbench', written),
      background: each('background', written),
      reading: each('reading', arrived),
      node: each('node', arrived),
      clients: each('clients', arrived)
    }
  } finally {
    child.kill()
    await exit
    while (await countSessions(sql) > 0) await sleep(5)
  }
}

async function countSessions (sql: Sql): Promise<number> {
  const [row] = await sql`select count(*)::int as count from pg_stat_activity where application_name = ${NAME}`
  return row!.count
}

/** Milliseconds so far, and rows. */
async function look ({ sql, serving }: Load, pgbench: number): Promise<Spent & { at: number, written: number, arrived: number }> {
  const arrived: number[] = await serving?.receivers?.ask('received', Array(serving.clients).fill(0)) ?? []
  const [sequence] = await sql`select pg_sequence_last_value('scraper_log_id_seq')::float8 as rows`
  const at = performance.now()
  let [writing, reading, background] = [0, 0, 0]
  for (const { name, session, time } of (await timesOfServer(sql)).values()) {
    if (name === NAME) writing += time
    else if (session) reading += time
    else background += time
  }
  return {
    at,
    written: sequence!.rows,
    arrived: arrived.length === 0 ? 0 : arrived.reduce((sum, rows) => sum + rows, 0) / arrived.length,
    writing,
    reading,
    background,
    pgbench: timeOf(pgbench)!,
    node: serving === undefined ? 0 : timeOf(serving.node.pid)!,
    clients: serving?.receivers === undefined ? 0 : timeOf(serving.receivers.pid)!
  }
}
