import type { Sql } from 'postgres'
import { epochOf } from './epoch.ts'
import type { Table } from './table.ts'

/** First half of every advisory lock of ours ("pgta"); the second is the table. As in sql/install.sql. */
export const ADVISORY_CLASS = 1885828193

/** Takes the sleeper's lock on this session, without waiting. */
export async function tryShareLock (session: Sql, table: Table): Promise<boolean> {
  const [row] = await session`select pg_try_advisory_lock_shared(${ADVISORY_CLASS}, ${table.lockKey}) as taken`
  return row!.taken
}

export async function releaseShareLock (session: Sql, table: Table): Promise<void> {
  await session`select pg_advisory_unlock_shared(${ADVISORY_CLASS}, ${table.lockKey})`
}

/** Who writes to the table, to that of its runs, or to a partition, in a transaction that is not over. */
export async function writersInFlight (session: Sql, table: Table): Promise<string[]> {
  const rows = await session`
    select distinct virtualtransaction as holder from pg_locks
    where locktype = 'relation' and mode = 'RowExclusiveLock' and granted
      and database = (select oid from pg_database where datname = current_database())
      and relation in (
        select root from unnest(${[table.oid, table.runs ?? table.oid]}::oid[]) as root
        union all select relid::oid from unnest(${[table.oid, table.runs ?? table.oid]}::oid[]) as root, pg_partition_tree(root))
      and pid is distinct from pg_backend_pid()`
  return rows.map(({ holder }) => holder)
}

export interface SequenceLook {
  /** Last id handed out; null where it may not be read. */
  lastValue: bigint | null
  /** `virtualtransaction` of all who took an id and are not over yet. */
  holders: string[]
}

/**
 * Who may still commit an id that was handed out. `session` runs its statements in turn, each in a
 * transaction of its own: first the last id, then the locks, so that whoever took an id up to it
 * is among the holders or over. The function locks the sequence too, hence not our own backend.
 */
export async function lookAtSequence (session: Sql, table: Table): Promise<SequenceLook> {
  const [{ lastValue }, holders] = await Promise.all([readSequence(session, table), sequenceHolders(session, table)])
  return { lastValue, holders }
}

/** `virtualtransaction` of all who took an id and are not over yet. */
async function sequenceHolders (session: Sql, table: Table): Promise<string[]> {
  const rows = await session`
    select distinct virtualtransaction as holder from pg_locks
    where locktype = 'relation' and mode = 'RowExclusiveLock' and granted
      and database = (select oid from pg_database where datname = current_database())
      and relation = ${table.sequence}::oid
      and pid is distinct from pg_backend_pid()`
  return rows.map(({ holder }) => holder)
}

export interface SequenceState {
  /** Last id handed out; null where it may not be read. */
  lastValue: bigint | null
  /** Another one means that the sequence was started again, or that the table is another. */
  epoch: string
}

/** How far the sequence is. A plain select from it would be up to 32 ahead after a crash. */
export async function readSequence (session: Sql, table: Table): Promise<SequenceState> {
  const sequence = `${table.sequence}::oid`
  const [row] = await session.unsafe(`
    select ${epochOf('$1::text', table)} as epoch,
      case when has_sequence_privilege(${sequence}, 'select') or has_sequence_privilege(${sequence}, 'usage')
        then coalesce(pg_sequence_last_value(${sequence}::regclass), 0) end as last`, [table.name], { prepare: true })
  return { lastValue: row!.last === null ? null : BigInt(row!.last), epoch: row!.epoch }
}

/** Who took ids and is not over: what a status tells of open gaps. Prepared transactions have no pid. */
export async function blockers (session: Sql, table: Table): Promise<Array<{ pid: number | null, state: string, age_seconds: number | null }>> {
  const rows = await session`
    select distinct l.pid, case when l.pid is null then 'prepared transaction' else coalesce(a.state, 'unknown') end as state,
      extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8 as age
    from pg_locks l
    left join pg_stat_activity a on a.pid = l.pid
    left join pg_prepared_xacts p on l.pid is null and p.database = current_database()
      and exists (select from pg_locks x where x.locktype = 'transactionid' and x.transactionid = p.transaction
        and x.virtualtransaction = l.virtualtransaction)
    where l.locktype = 'relation' and l.mode = 'RowExclusiveLock' and l.granted
      and l.database = (select oid from pg_database where datname = current_database())
      and l.relation = ${table.sequence}::oid
      and l.pid is distinct from pg_backend_pid()`
  return rows.map(({ pid, state, age }) => ({ pid, state, age_seconds: age === null ? null : Math.round(age * 10) / 10 }))
}
