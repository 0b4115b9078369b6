import type { Sql } from 'postgres'
import { literals } from '../../postgres/install.ts'
import { blockers, type Blocker } from '../../postgres/locks.ts'
import type { RoleLook } from '../../postgres/look.ts'
import { holderText } from '../holder.ts'
import { ok, plural, problem, warning, type Findings, type Level } from './finding.ts'

/** Seconds: a transaction that writes to a log is over by then. */
const LONG = 5
/** Seconds: somebody has forgotten it by then. */
const FORGOTTEN = 60
const WHY = "Its rows are waited for. With the option order: 'id', or where it keeps many ids back, newer rows wait as well; the start of a stream may take 10 s."

/** Who has taken ids and is not over. */
export async function * checkTransactions (sql: Sql, sequence: number, { role, sees_all: seesAll }: RoleLook): Findings {
  const holders = await blockers(sql, { sequence })
  // Somebody may be there by several locks.
  const long = holders.filter(({ pid, age_seconds: age }) => pid === null || (age ?? 0) >= LONG)
  const hidden = seesAll ? [] : holders.filter(({ pid, age_seconds: age }) => pid !== null && age === null)
  for (const holder of long) yield (levelOf(holder) === 'problem' ? problem : warning)('gaps', `${holderText(holder)}, has taken ids`, WHY, command(holder))
  if (hidden.length > 0) {
    yield warning('gaps', `pid ${hidden.map(({ pid }) => pid).join(', ')} has taken ids; since when, is not visible to role ${role}`, WHY, mayMonitor(role))
  }
  if (long.length + hidden.length === 0) yield ok('gaps', `${plural(holders.length, 'transaction')} in flight, none for long`)
}

/** A prepared transaction is there for a moment, unless it is an orphan. */
export function levelOf ({ pid, age_seconds: age }: Pick<Blocker, 'pid' | 'age_seconds'>): Level {
  return (age ?? 0) >= (pid === null ? LONG : FORGOTTEN) || (pid === null && age === null) ? 'problem' : 'warning'
}

function command ({ pid, gid }: Blocker): string {
  if (pid !== null) return endOf(pid)
  return gid === null ? PREPARED : `rollback prepared ${literals(gid)};`
}

/** The command that ends whoever has that process. */
export function endOf (pid: number): string {
  return `select pg_terminate_backend(${pid});`
}

/** Where nobody can tell which prepared transaction it is. */
export const PREPARED = 'select gid, prepared from pg_prepared_xacts; -- and: rollback prepared …'

/** The command that lets a role see what others do. */
export function mayMonitor (role: string): string {
  return `grant pg_monitor to ${role};`
}
