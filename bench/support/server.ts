// What the server has used of the processors: Linux only, and only where it runs on this machine.

import { readdir, readFile } from 'node:fs/promises'
import type { Sql } from 'postgres'

/** Of Linux, on all processors that Node runs on. */
const TICKS_A_SECOND = 100

/** Milliseconds of processor time of the server so far: all of its processes, those that have ended too. */
export async function processorTime (sql: Sql): Promise<number> {
  const [row] = await sql`select split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int as pid`
  const postmaster = row!.pid
  let ticks = 0
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '')
    // The name of a process may hold anything, and ends with the last bracket. See proc(5): state ppid …
    const [, parent, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [user, system, userOfEnded, systemOfEnded] = fields.slice(9, 13).map(Number)
    if (Number(pid) === postmaster) ticks += user! + system! + userOfEnded! + systemOfEnded!
    else if (Number(parent) === postmaster) ticks += user! + system!
  }
  return ticks * 1000 / TICKS_A_SECOND
}
