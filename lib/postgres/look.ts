import type { Sql } from 'postgres'
import { ADVISORY_CLASS } from './locks.ts'
import { query } from './query.ts'

// What a monitor can see of the plugin in the database, whichever node it is on.

export interface ServerLook {
  version: string
  standby: boolean
  /** Of the queue of notifications, which is one for all databases. */
  queue_usage_percent: number
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
