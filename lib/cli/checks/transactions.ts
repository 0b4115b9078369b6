import type { Sql } from 'postgres'
import { literals } from '../../postgres/install.ts'
import { blockers, type Blocker } from '../../postgres/locks.ts'
import { ok, plural, warning, type Findings } from './finding.ts'

/** Seconds: a transaction that writes to a log is over by then. */
const LONG = 5

/** Who has taken ids and is not over. */
export async function * checkTransactions (sql: Sql, sequence: number): Findings {
  const holders = await blockers(sql, { sequence })
  // Somebody may be there by several locks.
  const long = holders.filter(({ gid, pid, age_seconds: age }) => gid !== null || pid === null || (age ?? 0) >= LONG)
  for (const holder of long) {
    yield warning('gaps', `${describe(holder)} has taken ids`,
      "Its rows are waited for. With the option order: 'id', or where it keeps many ids back, newer rows wait as well; the start of a stream may take 10 s.",
      command(holder))
  }
  if (long.length === 0) yield ok('gaps', `${plural(holders.length, 'transaction')} in flight, none for long`)
}

function describe ({ pid, gid, state, age_seconds: age }: Blocker): string {
  const since = age === null ? '' : `, open for ${age} s,`
  return pid === null ? `prepared transaction ${gid ?? 'of unknown name'}${since}` : `the transaction of pid ${pid} (${state})${since}`
}

function command ({ pid, gid }: Blocker): string {
  if (pid !== null) return `select pg_terminate_backend(${pid});`
  return gid === null ? 'select gid, prepared from pg_prepared_xacts; -- and: rollback prepared …' : `rollback prepared ${literals(gid)};`
}
