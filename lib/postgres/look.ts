import type { Sql } from 'postgres'
import { ADVISORY_CLASS } from './locks.ts'
import { MARK, query, quote } from './query.ts'

// What can be seen of the plugin, and of what is in its way, whichever node it is on.

/** Percent of the queue of notifications: from there on the trigger is silent, so that it makes no commit fail. As in sql/install.sql. */
export const QUEUE_FULL = 80

export interface ServerLook {
  version: string
  standby: boolean
  /** Of the queue of notifications, which is one for all databases. */
  queue_usage_percent: number
}

/** What a role has of a server. */
export interface RoleLook {
  version_num: number
  /** Quoted where SQL needs it. */
  role: string
  /** It sees the transactions of other roles. */
  sees_all: boolean
  /** Sessions that it may still open. */
  free: number
  /** What the bound of those is. */
  bound: string
  max_connections: number
  max_prepared_transactions: number
}

/** What a role gets out of a table. */
export interface RowsLook {
  /** Row-level security may hide rows from it. */
  restricted: boolean
  /** The highest id; null: there are no rows. */
  last: string | null
  /** It did not come in time. */
  late: boolean
}

/** Readers that sleep and have writers ring for them. */
export interface Sleeper {
  pid: number
  /** The table, by its name or, in want of that, its oid. */
  table: string
}

export interface PluginSession {
  pid: number
  /** As the plugin calls its sessions, without what tells instances apart. */
  name: string
  /** Null where this role may not see it. */
  state: string | null
  /** Since the session was opened. */
  age_seconds: number | null
}

export async function lookAtServer (sql: Sql): Promise<ServerLook> {
  const [row] = await query(sql, `select current_setting('server_version') as version, pg_is_in_recovery() as standby,
    round((case when pg_is_in_recovery() then 0 else pg_notification_queue_usage() end * 100)::numeric, 2)::float8 as queue_usage_percent`)
  return row as ServerLook
}

export async function lookAtRole (sql: Sql): Promise<RoleLook> {
  const [row] = await query(sql, `
    select current_setting('server_version_num')::int as version_num, quote_ident(current_user) as role, pg_has_role('pg_read_all_stats', 'usage') as sees_all,
      current_setting('max_connections')::int as max_connections, current_setting('max_prepared_transactions')::int as max_prepared_transactions,
      bounds.free, bounds.bound
    from (
      select current_setting('max_connections')::int - (select sum(numbackends)::int from pg_stat_database)
        - case when r.rolsuper then 0 else current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true)::int, 0) end as free,
        'max_connections' as bound
      from pg_roles r where r.rolname = current_user
      union all
      select d.datconnlimit - (select numbackends from pg_stat_database s where s.datid = d.oid), 'CONNECTION LIMIT of database ' || quote_ident(d.datname)
      from pg_database d where d.datname = current_database() and d.datconnlimit >= 0
      union all
      select r.rolconnlimit - (select count(*)::int from pg_stat_activity a where a.usesysid = r.oid), 'CONNECTION LIMIT of role'
      from pg_roles r where r.rolname = current_user and r.rolconnlimit >= 0
    ) bounds
    order by bounds.free limit 1`)
  return row as RoleLook
}

/** Of those that this role may see. */
export async function oldestTransactions (sql: Sql): Promise<Array<{ pid: number, age: number }>> {
  const rows = await query(sql, `select pid, round(extract(epoch from clock_timestamp() - xact_start))::int as age from pg_stat_activity
    where xact_start is not null and backend_type = 'client backend' and pid <> pg_backend_pid() order by xact_start limit 3`)
  return rows as Array<{ pid: number, age: number }>
}

/**
 * @param name of the table, quoted where SQL needs it
 * @param patience milliseconds
 */
export async function lookAtRows (sql: Sql, name: string, id: string, patience: number): Promise<RowsLook> {
  const [row] = await query(sql, `
    with policy as (
      select polpermissive as permissive, pg_get_expr(polqual, polrelid) = 'true' as lets_all from pg_policy
      where polrelid = $1::text::regclass and polcmd in ('r', '*')
        and exists (select from unnest(polroles) as member where member = 0 or pg_has_role(member, 'usage'))
    )
    select row_security_active($1::text)
      and (exists (select from policy where not permissive) or not exists (select from policy where permissive and lets_all)) as restricted`, [name])
  const { restricted } = row as RowsLook
  try {
    // One query: it is one transaction, so the time-out does not stay with the session.
    const [, [found]] = await sql.unsafe(`${MARK} set local statement_timeout = ${patience}; select max(${quote(id)})::text as last from ${name}`).simple() as unknown as [unknown, [RowsLook]]
    return { restricted, last: found.last, late: false }
  } catch (error) {
    if ((error as { code?: string }).code !== '57014') throw error
    return { restricted, last: null, late: true }
  }
}

/**
 * The processes that hold what a change of a table waits for, or a read; null: a prepared transaction. None where nobody does, or
 * nobody can tell. Partitions by the catalog: `pg_partition_tree()` would wait for the same lock.
 */
export async function lockHolders (sql: Sql, tables: readonly string[], { read = false } = {}): Promise<Array<number | null>> {
  const rows = await query(sql, `
    with recursive tree (rel) as (
      select root::regclass::oid from unnest($1::text[]) as root
      union select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.rel
    )
    select distinct pid from pg_locks
    where locktype = 'relation' and relation in (select rel from tree)
      -- Whoever reads waits behind who waits for such a lock, too.
      and case when $2::boolean then mode = 'AccessExclusiveLock' else granted and mode not in ('AccessShareLock', 'RowShareLock') end
      and database = (select oid from pg_database where datname = current_database())`, [tables, read]).catch(() => [])
  return rows.map(({ pid }) => pid)
}

/** In words, for a sentence. */
export function holderNames (holders: ReadonlyArray<number | null>): string {
  return holders.map((pid) => pid === null ? 'a prepared transaction' : `pid ${pid}`).join(', ')
}

export async function sleepers (sql: Sql): Promise<Sleeper[]> {
  const rows = await query(sql, `select pid, objid::regclass::text as table from pg_locks
    where locktype = 'advisory' and classid = ${ADVISORY_CLASS} and objid <> 0 and objsubid = 2 and mode = 'ShareLock' and granted
      and database = (select oid from pg_database where datname = current_database())
    order by 2, 1`)
  return rows as Sleeper[]
}

/** All of this database but our own. */
export async function pluginSessions (sql: Sql): Promise<PluginSession[]> {
  const rows = await query(sql, `
    select pid, regexp_replace(application_name, ' [0-9a-f]{8}[.][0-9]+$', '') as name, state,
      round(extract(epoch from clock_timestamp() - backend_start)::numeric, 1)::float8 as age_seconds
    from pg_stat_activity
    where application_name like 'fastify-pg-tail %' and datname = current_database() and pid <> pg_backend_pid()
    order by 2, 1`)
  return rows as PluginSession[]
}
