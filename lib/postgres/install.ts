import { readFile } from 'node:fs/promises'
import type { ISql, Sql } from 'postgres'
import { errors } from '../errors.ts'
import { ADVISORY_CLASS } from './locks.ts'
import { holderNames, lockHolders } from './look.ts'
import { MARK } from './query.ts'

/** The version of sql/install.sql, as its function version() has it. */
const BUNDLED = 1

export interface InstallTarget {
  /** The log table as text that casts to regclass, such as `public.scraper_log`, quoted where needed. */
  table: string
  /** The table of runs, likewise. */
  runs?: string
  channel: string
  /** none: an empty ring, only while a reader sleeps. row: every row as JSON, always. */
  payload: 'none' | 'row'
}

export interface Installation {
  /** Version of the installed schema; null when absent. */
  version: number | null
  /** Version that this package brings. */
  bundled: number
  /**
   * own: our triggers are right on the table and every partition. foreign: another trigger notifies
   * the channel when rows come in. none: nothing rings, or not everywhere.
   */
  bell: 'own' | 'foreign' | 'none'
  /** The table of runs has our trigger. True when there is no such table. */
  runsBell: boolean
  /** What is missing, or not as it should be, a sentence each. */
  missing: string[]
  /** The commands that fix it, each with its semicolon. */
  remedy: string[]
}

export interface InstallOptions {
  /** Wait for the table for so long at most: a DDL that waits makes every later writer wait. Milliseconds. */
  lockTimeout?: number
  /** Beside somebody else's trigger as well, where rows alone would need no other. */
  beside?: boolean
}

// pg_trigger.tgtype of ours: 1 row, 4 insert, 16 update, 32 truncate.
const TRUNCATE = { name: 'fastify_pg_tail_truncate', bits: 32 }
export const STATEMENT = { name: 'fastify_pg_tail_insert', bits: 4 }
export const ROW = { name: 'fastify_pg_tail_row', bits: 5 }
const RUNS = { name: 'fastify_pg_tail_runs', bits: 20 }

/** A trigger on one of the tables; a table without any has one row of nulls. */
export interface TriggerRow {
  part: 'log' | 'runs'
  place: string
  name: string | null
  bits: number
  enabled: boolean
  /** Made by hand or by us, rather than cloned from the root. */
  own: boolean
  /** Calls the function that it should, with the look that it should have. */
  right: boolean
  channel: string | null
  /** Somebody else's, that notifies the channel for new rows. */
  foreign: boolean
  /** Of the schema: in each row the same; null: it is not there. */
  version: number | null
}

/** Says what is installed. Reads catalogs only, so that any role may ask; waits for whoever has locked a table. */
export async function verify (sql: ISql, target: InstallTarget, { beside = false }: InstallOptions = {}): Promise<Installation> {
  const triggers = await readTriggers(sql, target)
  const version = triggers[0]?.version ?? null
  const places = new Map<string, TriggerRow[]>()
  for (const row of triggers) {
    places.set(row.part + row.place, [...places.get(row.part + row.place) ?? [], row])
  }

  const [wanted, unwanted] = target.payload === 'row' ? [ROW, STATEMENT] : [STATEMENT, ROW]
  const bellFaults: string[] = []
  const runsFaults: string[] = []
  const leftovers: string[] = []
  let foreign = true
  for (const rows of places.values()) {
    const { part, place } = rows[0]!
    if (part === 'runs') {
      runsFaults.push(...faults(RUNS, rows, target.channel))
      continue
    }
    bellFaults.push(...faults(wanted, rows, target.channel), ...faults(TRUNCATE, rows, target.channel))
    if (rows.some(row => row.name === unwanted.name && row.own)) {
      leftovers.push(`trigger ${unwanted.name} on ${place} is left over from another payload`)
    }
    foreign &&= rows.some(row => row.foreign)
  }

  const bell = bellFaults.length === 0 ? 'own' : foreign ? 'foreign' : 'none'
  // Somebody else's bell wakes as well; but it does not send our rows to other programs.
  const accepted = bell === 'foreign' && target.payload === 'none' && !beside
  const bellMissing = [...accepted ? [] : bellFaults, ...leftovers]
  const outdated = version === null || version < BUNDLED
  const missing = [...bellMissing, ...runsFaults]
  if (outdated) {
    missing.unshift(version === null ? `schema fastify_pg_tail (version ${BUNDLED}) is missing` : `schema fastify_pg_tail has version ${version}, not ${BUNDLED}`)
  }
  const { table, runs, channel, payload } = target
  const remedy: string[] = []
  if (outdated) remedy.push('psql -1 "$DATABASE_URL" -f node_modules/fastify-pg-tail/sql/install.sql;')
  if (bellMissing.length > 0) {
    remedy.push(`select fastify_pg_tail.install(${literals(table, channel, payload)});`)
  }
  if (runs !== undefined && runsFaults.length > 0) {
    remedy.push(`select fastify_pg_tail.install_runs(${literals(runs, table, channel)});`)
  }
  return { version, bundled: BUNDLED, bell, runsBell: runsFaults.length === 0, missing, remedy }
}

/** Milliseconds. */
export const LOCK_TIMEOUT = 3000

/** Another node may have installed a later version while we waited for the lock: it stays. */
export const NOT_NEWER = `do $$ declare version integer; begin
  if to_regproc('fastify_pg_tail.version') is null then return; end if;
  execute 'select fastify_pg_tail.version()' into version;
  if version > ${BUNDLED} then raise 'version % is installed by now', version; end if;
end $$`

/**
 * Installs what `verify` finds missing; where nothing is, it runs no DDL.
 * @throws FST_PG_TAIL_INSTALL that says why and how to do it by hand; no table is left half done
 */
export async function install (sql: Sql, target: InstallTarget, options: InstallOptions = {}): Promise<Installation> {
  const { lockTimeout = LOCK_TIMEOUT } = options
  const before = await verify(sql, target, options)
  if (before.missing.length === 0) return before
  const script = await readFile(new URL(import.meta.resolve('#sql/install.sql')), 'utf8')
  const outdated = before.version === null || before.version < BUNDLED
  const commands = before.remedy.filter(command => command.startsWith('select '))
  // One table at a time: who holds the locks of two waits, at a host that takes them the other way round, in a deadlock
  // that the host may lose.
  const [first = 'select', ...others] = commands
  await apply(sql, target, before, lockTimeout, [...outdated ? [NOT_NEWER, script] : [], first])
  for (const command of others) await apply(sql, target, before, lockTimeout, [command])
  return await verify(sql, target, options)
}

/** How each of our transactions that change the schema begins. */
export function preamble (lockTimeout: number): string[] {
  return [
    // Whatever the defaults are: after the wait for another node, we must see what it has made.
    `${MARK} set transaction isolation level read committed read write`,
    `set local lock_timeout = ${Math.ceil(lockTimeout)}`,
    `select pg_advisory_xact_lock(${ADVISORY_CLASS}, 0)`
  ]
}

async function apply (sql: Sql, target: InstallTarget, { remedy }: Installation, lockTimeout: number, commands: string[]): Promise<void> {
  try {
    // One query: it is one transaction, and where a session dies in the middle of sql.begin(), the
    // driver's ROLLBACK on it takes the process along.
    await sql.unsafe([
      ...preamble(lockTimeout),
      ...commands
    ].join(';\n')).simple()
  } catch (err) {
    const { code, message } = err as { code?: string, message: string }
    const fix = `To do it by hand${code === '42501' ? ', as the owner of the table' : ''}: ${remedy.join(' ')}`
    const table = commands.at(-1)!.includes('.install_runs(') ? target.runs! : target.table
    if (code === '55P03' || code === '40P01') {
      const holders = await lockHolders(sql, [target.table, target.runs ?? target.table])
      const who = holders.length > 0 ? `now held by ${holderNames(holders)}` : 'free again now'
      throw new errors.Install(table, `no lock within ${lockTimeout} ms (${who}), since a ` +
        'transaction writes to the table or another node installs', fix, { cause: err })
    }
    throw new errors.Install(table, message, fix, { cause: err })
  }
}

/** What is wrong with one of our triggers on one table. */
function faults (wanted: { name: string, bits: number }, rows: TriggerRow[], channel: string): string[] {
  const trigger = rows.find(row => row.name === wanted.name)
  const what = `trigger ${wanted.name} on ${rows[0]!.place}`
  if (!trigger) return [`${what} is missing`]
  if (!trigger.enabled) return [`${what} is disabled`]
  if (!trigger.right || trigger.bits !== wanted.bits) return [`${what} is not as this version makes it`]
  if (trigger.channel !== channel) return [`${what} rings channel "${trigger.channel}", not "${channel}"`]
  return []
}

export async function readTriggers (sql: ISql, { table, runs = null, channel }: Omit<InstallTarget, 'runs'> & { runs?: string | null }): Promise<TriggerRow[]> {
  return await sql<TriggerRow[]>`/* fastify-pg-tail */
    with root as (
      select ${table}::text::regclass as target, ${table}::text::regclass as rel, 'log' as part
      union all
      select ${table}::text::regclass, ${runs}::text::regclass, 'runs' where ${runs}::text is not null
    ), tree as (
      select target, rel, part, 0 as level from root
      union
      select r.target, p.relid, r.part, p.level
      from root r cross join pg_partition_tree(r.rel) p join pg_class c on c.oid = p.relid
      where c.relkind in ('r', 'p')
    )
    select tree.part,
      case when tree.level > 0 then 'partition ' else '' end || format('%I.%I', n.nspname, c.relname) as place,
      t.tgname::text as name,
      t.tgtype::integer as bits,
      t.tgenabled in ('O', 'A') as enabled,
      t.tgparentid = 0 as own,
      case when t.tgname like 'fastify\\_pg\\_tail\\_%' and f.schema = 'fastify_pg_tail' then
        case when t.tgtype & 1 = 1 then f.name = 'ring_row' and t.tgqual is null
        when tree.rel = tree.target then f.name = 'look_and_ring' and t.tgqual is null else
          f.name = 'ring'
          and pg_get_triggerdef(t.oid) like ${`%pg_try_advisory_lock(${ADVISORY_CLASS},%pg_advisory_unlock(${ADVISORY_CLASS},%`}
          -- The WHEN condition names the right table: told by the dependency, whatever its name is now.
          and exists (
            select from pg_depend d
            where d.classid = 'pg_trigger'::regclass and d.objid = t.oid and d.deptype = 'n'
              and d.refclassid = 'pg_class'::regclass and d.refobjid = tree.target
          ) end
        else false end as right,
      case when f.schema = 'fastify_pg_tail' and t.tgnargs = 1 then
        convert_from(substr(t.tgargs, 1, octet_length(t.tgargs) - 1), getdatabaseencoding()) end as channel,
      t.tgname not like 'fastify\\_pg\\_tail\\_%' and t.tgenabled in ('O', 'A') and t.tgtype & 4 = 4
        and f.prosrc ~* '\\m(pg_notify|notify)\\M'
        and (position(quote_literal(${channel}::text) in f.prosrc) > 0
          or f.prosrc ~* ${`\\mnotify\\s+"?${channel.replace(/[^\p{L}\p{N}_]/gu, '\\$&')}("|\\M)`}
          or position(convert_to(${channel}::text, getdatabaseencoding()) || decode('00', 'hex') in t.tgargs) > 0) as foreign,
      (select substring(p.prosrc from '[0-9]+')::integer
        from pg_proc p join pg_namespace s on s.oid = p.pronamespace
        where s.nspname = 'fastify_pg_tail' and p.proname = 'version' and p.pronargs = 0) as version
    from tree
    -- It waits where somebody has locked the table: what cannot be read now is not well, whatever its triggers are.
    join pg_class c on c.oid = tree.rel and coalesce(pg_relation_size(tree.rel), 0) >= 0
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_trigger t on t.tgrelid = tree.rel -- Before version 16 a clone counts as internal.
      and (not t.tgisinternal or t.tgparentid <> 0)
    left join lateral (
      select s.nspname as schema, p.proname as name, p.prosrc
      from pg_proc p join pg_namespace s on s.oid = p.pronamespace where p.oid = t.tgfoid
    ) f on true
    order by tree.part, tree.level, place, t.tgname`
}

/** The values as SQL writes them, with commas between. */
export function literals (...values: string[]): string {
  return values.map(value => `'${value.replaceAll("'", "''")}'`).join(', ')
}
