// What processes have used of the processors: Linux only, and of the server only where it runs on this machine.

import { readdirSync, readFileSync } from 'node:fs'
import type { Sql } from 'postgres'

/** Milliseconds of processor time so far, of all threads; null: it has ended. */
export function timeOf (pid: number): number | null {
  try {
    const threads = readdirSync(`/proc/${pid}/task`)
    return threads.reduce((sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ', 1)[0]), 0) / 1e6
  } catch {
    return null
  }
}

/**
 * Milliseconds of processor time so far of each process of the server, by its pid, whether it is one of somebody's session, and the name of that application.
 * Without those that vacuum by themselves: they come and go when they like.
 */
export async function timesOfServer (sql: Sql): Promise<Map<number, { name: string, session: boolean, time: number }>> {
  const processes = await sql`select pid, application_name as name, backend_type = 'client backend' as session from pg_stat_activity where backend_type <> 'autovacuum worker'`
  return new Map(processes.flatMap(({ pid, name, session }) => {
    const time = timeOf(pid)
    return time === null ? [] : [[pid, { name, session, time }]]
  }))
}

/** Milliseconds of processor time that the server uses meanwhile; not those of processes that end before it is over. */
export async function processorTime (sql: Sql, meanwhile: () => Promise<void>): Promise<number> {
  const before = await timesOfServer(sql)
  await meanwhile()
  let spent = 0
  for (const [pid, { time }] of await timesOfServer(sql)) spent += time - (before.get(pid)?.time ?? 0)
  return spent
}
