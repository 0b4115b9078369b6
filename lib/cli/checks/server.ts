import type { Sql } from 'postgres'
import { query } from '../../postgres/query.ts'
import type { Reader } from '../../postgres/reader.ts'
import { errorText } from '../failure.ts'
import { ok, plural, problem, warning, type Finding, type Findings } from './finding.ts'

/** Sessions of one node at most: a listener, a reader, and four for replays. */
const SESSIONS = 6
const OLDEST = 140000
/** Percent. From there on the trigger is silent, as in sql/install.sql. */
const FULL = 80

export interface Server {
  version: string
  version_num: number
  standby: boolean
  /** Quoted where SQL needs it. */
  role: string
  /** Sessions that this role may still open. */
  free: number
  /** What the bound of those is. */
  bound: string
  max_prepared_transactions: number
  queue_usage: number
}

/** @returns null where it cannot be reached, which is then found */
export async function reach (reader: Reader): Promise<Server | Finding> {
  try {
    return await reader.answer(look)
  } catch (error) {
    return problem('server', `the server cannot be asked: ${errorText(error)}`, 'Rows come from there.', mendReach(error as { code?: string }))
  }
}

export async function * checkServer (reader: Reader, server: Server): Findings {
  const { version, version_num: number, standby, role, free, bound, queue_usage: usage } = server
  yield ok('server', `it answers: role ${role}`)
  yield number >= OLDEST
    ? ok('version', `PostgreSQL ${version}`)
    : problem('version', `PostgreSQL ${version} is older than 14`, 'The plugin refuses to start on it.', 'Upgrade the server.')
  yield standby
    ? problem('primary', 'the server is a hot standby', 'It cannot LISTEN, and the locks of writers are not on it.', 'Point connectionString at the primary.')
    : ok('primary', 'the server is a primary')
  yield free >= SESSIONS
    ? ok('sessions', `${free} more can be opened; a node takes ${SESSIONS}`)
    : (free > 0 ? warning : problem)('sessions', `only ${plural(Math.max(free, 0), 'more session')} can be opened (${bound}); a node takes ${SESSIONS}`,
        'Without a session nothing can be read.', ...moreSessions(bound, role))
  if (usage < FULL / 2) yield ok('queue', `the notification queue is ${usage} % full`)
  else {
    const oldest = await reader.answer(oldestTransactions)
    yield (usage < FULL ? warning : problem)('queue', `the notification queue is ${usage} % full`,
      `Some session that LISTENs has a transaction open. From ${FULL} % on the trigger does not ring, and a full queue fails every commit that notifies.`,
      ...oldest.map(({ pid, age }) => `select pg_terminate_backend(${pid}); -- a transaction open for ${age} s`))
  }
}

async function look (sql: Sql): Promise<Server> {
  const [row] = await query(sql, `
    select current_setting('server_version') as version, current_setting('server_version_num')::int as version_num,
      pg_is_in_recovery() as standby, quote_ident(current_user) as role,
      current_setting('max_prepared_transactions')::int as max_prepared_transactions,
      round((case when pg_is_in_recovery() then 0 else pg_notification_queue_usage() end * 100)::numeric, 2)::float8 as queue_usage,
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
  return row as Server
}

async function oldestTransactions (sql: Sql): Promise<Array<{ pid: number, age: number }>> {
  const rows = await query(sql, `select pid, round(extract(epoch from clock_timestamp() - xact_start))::int as age from pg_stat_activity
    where xact_start is not null and pid <> pg_backend_pid() order by xact_start limit 3`)
  return rows as Array<{ pid: number, age: number }>
}

function moreSessions (bound: string, role: string): string[] {
  if (bound === 'max_connections') return ['alter system set max_connections = 200; -- and restart the server; or put a pooler before it']
  if (bound === 'CONNECTION LIMIT of role') return [`alter role ${role} connection limit -1;`]
  return [`alter ${bound.slice('CONNECTION LIMIT of '.length)} connection limit -1;`]
}

function mendReach ({ code = '' }: { code?: string }): string {
  if (code === 'ECONNREFUSED') return 'Nobody listens there: start the server, or correct host and port in the URL.'
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'Correct the host in the URL.'
  if (code === 'FST_PG_TAIL_TIMEOUT' || code === 'ETIMEDOUT') return 'Look for a firewall between here and there, and whether the host is up.'
  if (code === '3D000') return 'Create the database, or correct its name in the URL.'
  if (code === '53300') return 'Close sessions, or raise max_connections: a node takes six.'
  if (code.startsWith('28')) return 'Correct role and password in the URL, or the line for them in pg_hba.conf.'
  return 'Correct the URL, or mend the server: what it says is above.'
}
