import type { Sql } from 'postgres'
import { errors, isNoName } from '../errors.ts'
import { ON_STANDBY, onPrimary } from './primary.ts'
import { quote } from './query.ts'
import { inspectSequence, newId } from './sequence.ts'

/** Names of columns. */
export interface Columns {
  /** smallint, integer or bigint, from a sequence. Default: `id`. */
  id: string
  /** Any type that has `=`. Default: `run_id`. In the stream the field is always `run_id`. */
  run: string
  /** Default: `level`. */
  level: string
  /** Default: `message`. */
  message: string
  /** timestamptz, timestamp or date. Default: `created_at`. In the stream the field is always `timestamp`. */
  timestamp: string
  /** More columns to pass through under their own names, which must differ from the fields of a row. Default: none. */
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
  /** Those of its extra columns that are text inside: how long that is, is known before it is unpacked. */
  texts: string[]
  /** Oid of the table of runs, whose trigger rings for this one; null where there is none. */
  runs: number | null
  /** Oid of the sequence that hands out the ids. */
  sequence: number
  /** What works, but not well. Sentences for the log. */
  warnings: string[]
}

/** Something about a table that is not as it should be. */
export interface Fault {
  about: 'table' | 'privilege' | 'columns' | 'sequence' | 'index'
  /** Of the table, such as `it is not a table`. */
  wrong: string
  /** Commands, with their semicolon, and sentences. */
  fix: string[]
}

/** What there is, whether it can be tailed or not. */
export interface Relation {
  oid: number
  /** See Table. */
  lockKey: number
  partitioned: boolean
  /** This role may read it. */
  readable: boolean
  /** Null: no such column. */
  runType: string | null
  /** See Table. */
  texts: string[]
  /** Null: there is none, or the ids are no integers. */
  sequence: number | null
}

/** All that there is to say of a table. */
export interface Inspection {
  /** `schema.name`, quoted where SQL needs it; what was asked for where it is not there. */
  name: string
  /** Who asked, likewise. */
  role: string
  /** Null: it is not there, or no table. */
  relation: Relation | null
  /** What was looked at. */
  checked: Array<Fault['about']>
  /** What could lose rows. */
  faults: Fault[]
  /** What works, but not well. */
  warnings: Fault[]
}

/** That a name leads to nothing, as of `it`. */
export interface Absence { wrong: string, fix: string }

interface Attribute { name: string, type: string, base: string, is_text: boolean, number: number }

const INTEGERS = ['smallint', 'integer', 'bigint']
const TIMES = ['timestamp with time zone', 'timestamp without time zone', 'date']

/**
 * Looks the table up and refuses what could lose rows.
 * @param name `schema.name` as SQL would write it
 * @throws FST_PG_TAIL_TABLE or FST_PG_TAIL_SERVER with the fix in the message
 */
export async function inspectTable (sql: Sql, name: string, columns: Columns): Promise<Table> {
  await inspectServer(sql)
  const { name: found, relation, faults: [fault], warnings } = await examineTable(sql, name, columns)
  if (fault !== undefined) throw new errors.Table(found, fault.wrong, fault.fix.join(' '))
  const { oid, lockKey, runType, texts, sequence } = relation!
  return {
    name: found,
    oid,
    lockKey,
    columns,
    runType: runType!,
    texts,
    runs: null,
    sequence: sequence!,
    warnings: warnings.map(({ wrong, fix }) => `Table ${found}: ${wrong}. ${fix.join(' ')}`)
  }
}

async function inspectServer (sql: Sql): Promise<void> {
  const server = await sql.unsafe(`select current_setting('server_version_num')::int as version, ${ON_STANDBY}`)
  if (onPrimary(server)['version'] < 140000) throw new errors.Server('it is older than PostgreSQL 14', 'Upgrade it')
}

/** The same without a refusal: all that is wrong. */
export async function examineTable (sql: Sql, name: string, columns: Columns): Promise<Inspection> {
  const [{ role }] = await sql<[{ role: string }]>`select quote_ident(current_user) as role`
  const found = await findRelation(sql, name)
  const inspection: Inspection = { name: found?.name ?? name, role, relation: null, checked: ['table'], faults: [], warnings: [] }
  const fault = (about: Fault['about'], wrong: string, ...fix: string[]) => { inspection.faults.push({ about, wrong, fix }) }
  const absence = await whyAbsent(sql, name, role, found)
  if (absence !== null) fault('table', absence.wrong, absence.fix)
  else if (found!.kind !== 'r' && found!.kind !== 'p') fault('table', 'it is not a table', 'Name the table itself, not a view of it.')
  if (inspection.faults.length > 0) return inspection

  const table = { name: inspection.name, oid: found!.oid as string, partitioned: found!.kind === 'p', role }
  inspection.checked.push('privilege', 'columns')
  if (!found!.readable) fault('privilege', `role ${role} may not read it`, `grant select on ${table.name} to ${role};`)

  const attributes = await sql<Attribute[]>`
    select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnum::int as number,
      format_type(base.type, null) as base,
      base.type = 'text'::regtype or exists (select from pg_cast where castsource = base.type and casttarget = 'text'::regtype and castmethod = 'b') as is_text
    from pg_attribute a join pg_type t on t.oid = a.atttypid
      cross join lateral (select case when t.typtype = 'd' then t.typbasetype else t.oid end as type) base
    where a.attrelid = ${table.oid}::oid and a.attnum > 0 and not a.attisdropped`
  const attribute = (wanted: string) => attributes.find((each) => each.name === wanted)
  for (const [purpose, wanted] of byPurpose(columns)) {
    const column = attribute(wanted)
    if (column === undefined) fault('columns', `it has no column "${wanted}"`, `Set the option columns.${purpose}; its columns are ${attributes.map((each) => each.name).join(', ')}.`)
    else if (purpose === 'id' && !INTEGERS.includes(column.type)) fault('columns', `its column "${wanted}" is ${column.type}, so it gives no order`, ...newId(table.name))
    else if (purpose === 'run' && !await comparable(sql, column.type)) {
      fault('columns', `its column "${wanted}" is ${column.type}, which has no equality`, 'Set the option columns.run to a column of another type.')
    } else if (purpose === 'timestamp' && !TIMES.includes(column.base)) {
      fault('columns', `its column "${wanted}" is ${column.type}, not a time`, 'Set the option columns.timestamp to a column of type timestamptz.')
    }
  }

  const id = attribute(columns.id)
  const run = attribute(columns.run)
  let sequence: number | null = null
  if (id !== undefined && INTEGERS.includes(id.type)) {
    const { oid, faults, warnings } = await inspectSequence(sql, table, id.name)
    sequence = oid
    inspection.checked.push('sequence')
    inspection.faults.push(...faults)
    inspection.warnings.push(...warnings)
  }
  if (id !== undefined && run !== undefined) {
    inspection.checked.push('index')
    inspection.warnings.push(...await inspectIndexes(sql, table, id, run))
  }
  const { partitioned } = table
  const texts = columns.extra.filter((name) => attribute(name)?.is_text)
  inspection.relation = { oid: Number(table.oid), lockKey: found!.lock_key, partitioned, readable: found!.readable, runType: run?.type ?? null, texts, sequence }
  return inspection
}

/** Why nothing is found by that name; null where something is. */
export async function findAbsence (sql: Sql, name: string): Promise<Absence | null> {
  const [{ role }] = await sql<[{ role: string }]>`select quote_ident(current_user) as role`
  return whyAbsent(sql, name, role, await findRelation(sql, name))
}

async function whyAbsent (sql: Sql, name: string, role: string, found: Record<string, any> | undefined): Promise<Absence | null> {
  if (found?.denied) return { wrong: `role ${role} may not look into its schema`, fix: `grant usage on schema ${await schemaOf(sql, name)} to ${role};` }
  return found?.oid ? null : { wrong: 'it does not exist', fix: 'Create it, or name it as schema.table.' }
}

/** What has that name. `denied`: it is in a schema that this role may not look into. */
async function findRelation (sql: Sql, name: string): Promise<Record<string, any> | undefined> {
  const [found] = await sql`
    select c.oid::int8::text as oid, c.oid::bigint::bit(32)::integer as lock_key, c.relkind as kind,
      format('%I.%I', n.nspname, c.relname) as name, has_table_privilege(c.oid, 'select') as readable
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass(${name})`.catch((error) => {
    if (!isNoName(error)) throw error
    return [{ denied: error.code === '42501' }]
  })
  return found
}

/** The columns that are wanted, and what for. */
export function byPurpose ({ extra, ...columns }: Columns): Array<[purpose: string, name: string]> {
  return [...Object.entries(columns), ...extra.map((name): [string, string] => ['extra', name])]
}

/** Of a name that SQL takes for one in a schema. */
async function schemaOf (sql: Sql, name: string): Promise<string> {
  const [row] = await sql`select quote_ident(parts[cardinality(parts) - 1]) as schema from parse_ident(${name}) as parts`
  return row!.schema
}

/** Each read goes by the id, a replay by the run and the id: other kinds of indexes have no order. */
async function inspectIndexes (sql: Sql, { name, oid, partitioned }: { name: string, oid: string, partitioned: boolean }, id: Attribute, run: Attribute): Promise<Fault[]> {
  const indexes = await sql`
    select x.indkey[0]::int as first, case when x.indnkeyatts > 1 then x.indkey[1]::int end as second
    from pg_index x join pg_class c on c.oid = x.indexrelid join pg_am a on a.oid = c.relam
    where x.indrelid = ${oid}::oid and x.indisvalid and x.indpred is null and a.amname = 'btree'`
  const warnings: Fault[] = []
  const miss = (wrong: string, columns: Attribute[]) => {
    // Concurrently, so that writers need not wait; PostgreSQL cannot do so with partitions.
    const create = `create index${partitioned ? '' : ' concurrently'} on ${name} (${columns.map((column) => quote(column.name)).join(', ')});`
    warnings.push({ about: 'index', wrong, fix: [create] })
  }
  if (!indexes.some(({ first }) => first === id.number)) miss(`it has no index that starts with "${id.name}": every read scans the table`, [id])
  if (!indexes.some(({ first, second }) => first === run.number && second === id.number)) {
    miss(`it has no index on ("${run.name}", "${id.name}"): replay of a run scans the table`, [run, id])
  }
  return warnings
}

/** Json and xml are not. */
async function comparable (sql: Sql, type: string): Promise<boolean> {
  try {
    await sql.unsafe(`select null::${type} = null::${type}`)
    return true
  } catch (error) {
    if ((error as { code?: string }).code === '42883') return false
    throw error
  }
}
