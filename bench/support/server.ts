// What the server has used of the processors: Linux only, and only where it runs on this machine.

import { readdir, readFile } from 'node:fs/promises'
import type { Sql } from 'postgres'

/** Milliseconds of processor time of each process of the server so far, by its pid. They have one thread each. */
async function times (postmaster: number): Promise<Map<string, number>> {
  const found = new Map<string, number>()
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    try {
      const stat = await readFile(`/proc/${pid}/stat`, 'latin1')
      // The name of a process may hold anything, and ends with the last bracket. See proc(5): state ppid …
      const [, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      if (Number(parent) !== postmaster) continue
      const [nanoseconds] = (await readFile(`/proc/${pid}/schedstat`, 'latin1')).split(' ')
      found.set(pid, Number(nanoseconds) / 1e6)
    } catch {} // it has ended
  }
  return found
}

/** Milliseconds of processor time that the server uses meanwhile; not those of processes that end before it is over. */
export async function processorTime (sql: Sql, meanwhile: () => Promise<void>): Promise<number> {
  const [row] = await sql`select split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int as pid`
  const before = await times(row!.pid)
  await meanwhile()
  let spent = 0
  for (const [pid, time] of await times(row!.pid)) spent += time - (before.get(pid) ?? 0)
  return spent
}
