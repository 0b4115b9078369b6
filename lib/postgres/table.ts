import type { Sql } from 'postgres'
import { errors, isNoName } from '../errors.ts'
import { ON_STANDBY, onPrimary } from './primary.ts'

export interface Columns {
  id: string
  run: string
  level: string
  message: string
  timestamp: string
  extra: string[]
}

/** What the catalog says of the table that is tailed. */
export interface Table {
  /** `schema.name`, each part quoted where SQL needs it. */
  name: string
  oid: number
  /** Second half of the advisory lock: the oid as a signed integer. */
  lockKey: number
  columns: Columns
  /** Type of the run column as SQL writes it, such as `bigint` or `uuid`. */
  runType: string
  /** Oid of the table of runs, whose trigger rings for this one; null where there is none. */
  runs: number | null
  /** Oid of the sequence that hands out the ids. */
  sequence: number
  /** What works, but not well. Sentences for the log. */
  warnings: string[]
}

export const INTEGERS = ['smallint', 'integer', 'bigint']
export const TIMES = ['timestamp with time zone', 'timestamp without time zone', 'date']

/**
 * Looks the table up and refuses what could lose rows.
 * @param name `schema.name` as SQL would write it
 * @throws FST_PG_TAIL_TABLE or FST_PG_TAIL_SERVER with the mend in the message
 */
export async function inspectTable (sql: Sql, name: string, columns: Columns): Promise<Table> {
  await inspectServer(sql)
  const [found] = await sql`
    select c.oid::int8::text as oid, c.oid::bigint::bit(32)::integer as lock_key, c.relkind,
      format('%I.%I', n.nspname, c.relname) as name, has_table_privilege(c.oid, 'select') as readable
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass(${name})`.catch((error) => {
    if (isNoName(error)) return []
    throw error
  })
  const refuse = (wrong: string, mend: string) => new errors.Table(found?.name ?? name, wrong, mend)
  if (!found) throw refuse('it does not exist, or its schema is not visible to this role', 'Create it, or name it as schema.table')
  if (found.relkind !== 'r' && found.relkind !== 'p') throw refuse('it is not a table', 'Name the table itself, not a view of it')
  if (!found.readable) throw refuse('this role may not read it', `Run: grant select on ${found.name} to …`)

  const attributes = await sql`
    select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnum::int as number,
      format_type(case when t.typtype = 'd' then t.typbasetype else t.oid end, null) as base
    from pg_attribute a join pg_type t on t.oid = a.atttypid
    where a.attrelid = ${found.oid}::oid and a.attnum > 0 and not a.attisdropped`
  const column = (purpose: string, wanted: string) => {
    const attribute = attributes.find((each) => each.name === wanted)
    if (attribute) return attribute
    throw refuse(`it has no column "${wanted}"`, `Set the option columns.${purpose}; its columns are ${attributes.map((each) => each.name).join(', ')}`)
  }
  const id = column('id', columns.id)
  const run = column('run', columns.run)
  if (!await comparable(sql, run.type)) {
    throw refuse(`its column "${run.name}" is ${run.type}, which has no equality`, 'Set the option columns.run to a column of another type')
  }
  for (const purpose of ['level', 'message'] as const) column(purpose, columns[purpose])
  const timestamp = column('timestamp', columns.timestamp)
  if (!TIMES.includes(timestamp.base)) {
    throw refuse(`its column "${timestamp.name}" is ${timestamp.type}, not a time`, 'Set the option columns.timestamp to a column of type timestamptz')
  }
  for (const extra of columns.extra) column('extra', extra)
  if (!INTEGERS.includes(id.type)) {
    throw refuse(`its column "${id.name}" is ${id.type}, so it gives no order`,
      `Add one that does: alter table ${found.name} add column seq bigint generated always as identity; and set columns.id to "seq"`)
  }

  const sequence = await inspectSequence(sql, found, id.name, refuse)
  return {
    name: found.name,
    oid: Number(found.oid),
    lockKey: found.lock_key,
    columns,
    runType: run.type,
    runs: null,
    sequence: sequence.oid,
    warnings: [...sequence.warnings, ...await inspectIndexes(sql, found, id, run)]
  }
}

async function inspectServer (sql: Sql): Promise<void> {
  const server = await sql.unsafe(`select current_setting('server_version_num')::int as version, ${ON_STANDBY}`)
  if (onPrimary(server)['version'] < 140000) throw new errors.Server('it is older than PostgreSQL 14', 'Upgrade it')
}

export type Refuse = (wrong: string, mend: string) => Error

export async function inspectSequence (sql: Sql, table: Record<string, any>, id: string, refuse: Refuse) {
  const [sequence] = await sql`/* fastify-pg-tail */
    select s.seqrelid::int8::text as oid, s.seqrelid::regclass::text as name, s.seqcache, s.seqcycle, s.seqincrement, s.seqmin,
      has_sequence_privilege(s.seqrelid, 'select') or has_sequence_privilege(s.seqrelid, 'usage') as readable
    from pg_sequence s
    where s.seqrelid = coalesce(
      pg_get_serial_sequence(${table.name}, ${id})::regclass,
      (select d.refobjid from pg_attrdef a
        join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = a.oid and d.refclassid = 'pg_class'::regclass
        join pg_class c on c.oid = d.refobjid and c.relkind = 'S'
        join pg_attribute t on t.attrelid = a.adrelid and t.attnum = a.adnum
        where a.adrelid = ${table.oid}::oid and t.attname = ${id} limit 1))`
  if (!sequence) {
    throw refuse(`no sequence hands out the ids of its column "${id}", so nobody can tell which are still in flight`,
      `Add one: alter table ${table.name} add column seq bigint generated always as identity; and set columns.id to "seq"`)
  }
  const mend = (clause: string) => `Run: alter sequence ${sequence.name} ${clause}`
  const below = 'new ids could appear below old ones, and rows would be lost'
  if (BigInt(sequence.seqincrement) < 1n) throw refuse(`its sequence counts down: ${below}`, mend('increment by 1'))
  if (sequence.seqcycle) throw refuse(`its sequence is CYCLE: ${below}`, mend('no cycle'))
  if (BigInt(sequence.seqcache) > 1n) throw refuse(`its sequence has CACHE ${sequence.seqcache}: sessions keep ids for later, ${below}`, mend('cache 1'))
  if (BigInt(sequence.seqmin) < 1n) throw refuse('its sequence may hand out ids below 1', mend('minvalue 1'))
  const warnings: string[] = []
  if (!sequence.readable) {
    warnings.push(`This role may not read the sequence ${sequence.name}, so a restart of it goes unnoticed. Run: grant select on sequence ${sequence.name} to …`)
  }
  if (BigInt(sequence.seqincrement) > 1n) {
    warnings.push(`The sequence ${sequence.name} counts in steps of ${sequence.seqincrement}. Where an application hands out the ids between them by itself (hi/lo), ` +
      'it may do so below newer ones, and such rows would be missed')
  }
  return { oid: Number(sequence.oid), warnings }
}

export async function inspectIndexes (sql: Sql, table: Record<string, any>, id: Record<string, any>, run: Record<string, any>): Promise<string[]> {
  const indexes = await sql`
    select indkey[0]::int as first, indkey[1]::int as second from pg_index
    where indrelid = ${table.oid}::oid and indisvalid and indpred is null`
  const warnings: string[] = []
  if (!indexes.some((index) => index.first === id.number)) {
    warnings.push(`Table ${table.name} has no index that starts with "${id.name}": every read scans the table. Add one`)
  }
  if (!indexes.some((index) => index.first === run.number)) {
    warnings.push(`Table ${table.name} has no index on ("${run.name}", "${id.name}"): replay of a run scans the table. Add one`)
  }
  return warnings
}

/** Json and xml are not. */
export async function comparable (sql: Sql, type: string): Promise<boolean> {
  try {
    await sql.unsafe(`select null::${type} = null::${type}`)
    return true
  } catch (error) {
    if ((error as { code?: string }).code === '42883') return false
    throw error
  }
}
