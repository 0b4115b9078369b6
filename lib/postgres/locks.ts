import type { Sql } from 'postgres'
import { epochOf, lastValueOf, mayAsk } from './epoch.ts'
import { ON_STANDBY, onPrimary } from './primary.ts'
import { query } from './query.ts'
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

/** Who writes to the table, to that of its runs, or to a partition, in a transaction that is not over. See HolderSet. */
export function writersInFlight (session: Sql, table: Table): Promise<string[]> {
  return rowExclusiveHolders(session, table.runs === null ? [table.oid] : [table.oid, table.runs])
}

/**
 * Names of those who hold the RowExclusiveLock of one of the relations, or of a partition of it. A session's
 * `virtualtransaction` is somebody else's after a restart of the server; a prepared transaction has another one
 * then, but keeps its xid. Partitions by the catalog: `pg_partition_tree()` would wait where the table of runs is locked, and reads with it.
 */
async function rowExclusiveHolders (session: Sql, relations: number[]): Promise<string[]> {
  const rows = await query(session, `
    with l as materialized (select * from pg_locks)
    select pg_is_in_recovery() as standby, coalesce(array_agg(distinct case
        when pid is not null then concat_ws(' ', virtualtransaction, pid, extract(epoch from pg_postmaster_start_time()))
        else '-1/' || coalesce((select min(x.transactionid::text::bigint)::text from l x
          where x.locktype = 'transactionid' and x.mode = 'ExclusiveLock' and x.virtualtransaction = l.virtualtransaction), virtualtransaction)
      end), '{}') as holders
    from l
    where locktype = 'relation' and mode = 'RowExclusiveLock' and granted
      and database = (select oid from pg_database where datname = current_database())
      and relation in (
        with recursive tree (rel) as (select unnest($1::oid[]) union select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.rel)
        select rel from tree)`, [relations])
  return onPrimary(rows)['holders']
}

export interface SequenceState {
  /** Last id handed out; null where it may not be asked. */
  lastValue: bigint | null
  /** This role may only use the sequence: after setval() with `false` it cannot know, and 0 stands for it. */
  unsure: boolean
  /** Another one means that the sequence was started again, or that the table is another. */
  epoch: string
}

export interface SequenceLook extends SequenceState {
  /** All who took an id and are not over yet. See HolderSet. */
  holders: string[]
}

/**
 * Who may still commit an id that was handed out. First the last id, then the locks, so that whoever
 * took an id up to it is among the holders or over. Whoever asks for the last id locks the sequence, too, until
 * its statement is over: hence another one for the locks.
 */
export async function lookAtSequence (session: Sql, table: Table): Promise<SequenceLook> {
  return { ...await readSequence(session, table), holders: await rowExclusiveHolders(session, [table.sequence]) }
}

/** How far the sequence is. */
export async function readSequence (session: Sql, table: Table): Promise<SequenceState> {
  const sequence = `${table.sequence}::oid`
  const { epoch, last, usable, readable } = onPrimary(await query(session, `
    select ${ON_STANDBY}, ${epochOf('$1::text', table)} as epoch, ${mayAsk(table)} as usable,
      ${lastValueOf(table)}::text as last,
      (select ${sequence}::regclass::text where has_sequence_privilege(${sequence}, 'select')) as readable`, [table.name]))
  if (last !== null) return { lastValue: BigInt(last), unsure: false, epoch }
  // It has handed out nothing since it was made, or since setval() with `false`, which may be far up.
  if (readable === null) return { lastValue: usable ? 0n : null, unsure: true, epoch }
  const [fresh] = await query(session, `select (case when is_called then last_value else last_value - 1 end)::text as last from ${readable}`)
  return { lastValue: BigInt(fresh!['last']), unsure: false, epoch }
}

/** Somebody who keeps a gap open. */
export interface Blocker {
  /** Null: it is a prepared transaction. */
  pid: number | null
  /** Name of a prepared transaction. */
  gid: string | null
  /** As pg_stat_activity has it, or `prepared transaction`. */
  state: string
  age_seconds: number | null
}

/** Who took ids and is not over: what log and status tell of open gaps. */
export async function blockers (session: Sql, table: Pick<Table, 'sequence'>): Promise<Blocker[]> {
  const rows = await session`
    select distinct l.pid, p.gid, case when l.pid is null then 'prepared transaction' else coalesce(a.state, 'unknown') end as state,
      extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8 as age
    from pg_locks l
    left join pg_stat_activity a on a.pid = l.pid
    left join pg_prepared_xacts p on l.pid is null and p.database = current_database()
      and exists (select from pg_locks x where x.locktype = 'transactionid' and x.transactionid = p.transaction
        and x.virtualtransaction = l.virtualtransaction)
    where l.locktype = 'relation' and l.mode = 'RowExclusiveLock' and l.granted
      and l.database = (select oid from pg_database where datname = current_database())
      and l.relation = ${table.sequence}::oid`
  return rows.map(({ pid, gid, state, age }) => ({ pid, gid, state, age_seconds: age === null ? null : Math.round(age * 10) / 10 }))
}
