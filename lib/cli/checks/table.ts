import type { Sql } from 'postgres'
import { isNoName } from '../../errors.ts'
import { query } from '../../postgres/query.ts'
import { comparable, inspectIndexes, inspectSequence, INTEGERS, TIMES, type Columns } from '../../postgres/table.ts'
import { ok, problem, warning, type Finding, type Findings } from './finding.ts'

/** The plugin refuses to start, so as not to lose rows. */
const REFUSED = 'The plugin refuses to start on such a table.'

export interface Relation {
  /** Quoted where SQL needs it. */
  name: string
  oid: string
  /** Null where the id has none, or it could not be found. */
  sequence: number | null
}

interface Attribute { name: string, type: string, base: string, number: number }

/** @returns null where there is no such table, which is then found */
export async function findTable (sql: Sql, name: string): Promise<Relation & { kind: string, readable: boolean } | Finding> {
  const rows = await query(sql, `
    select c.oid::int8::text as oid, c.relkind as kind, format('%I.%I', n.nspname, c.relname) as name, has_table_privilege(c.oid, 'select') as readable
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass($1)`, [name]).catch((error) => {
    if (isNoName(error)) return []
    throw error
  })
  const [found] = rows
  if (found !== undefined) return { ...found, sequence: null } as Relation & { kind: string, readable: boolean }
  return problem('table', `table ${name} does not exist, or its schema is not visible to this role`, REFUSED,
    'Create it, name it as schema.table, or: grant usage on schema … to …')
}

/** @param relation its sequence is set where it is found */
export async function * checkTable (sql: Sql, relation: Relation & { kind: string, readable: boolean }, columns: Columns, role: string): Findings {
  const { name, kind, readable, oid } = relation
  yield kind === 'r' || kind === 'p'
    ? ok('table', `${name} is there${kind === 'p' ? ', in partitions' : ''}`)
    : problem('table', `${name} is not a table`, REFUSED, 'Name the table itself, not a view of it.')
  yield readable
    ? ok('privilege', `role ${role} may read ${name}`)
    : problem('privilege', `role ${role} may not read ${name}`, REFUSED, `grant select on ${name} to ${role};`)

  const attributes = await query(sql, `
    select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnum::int as number,
      format_type(case when t.typtype = 'd' then t.typbasetype else t.oid end, null) as base
    from pg_attribute a join pg_type t on t.oid = a.atttypid
    where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped`, [oid]) as Attribute[]
  yield * checkColumns(sql, attributes, columns)

  const id = attributes.find((each) => each.name === columns.id)
  const run = attributes.find((each) => each.name === columns.run)
  if (kind !== 'r' && kind !== 'p') return
  if (id !== undefined && INTEGERS.includes(id.type)) yield * checkSequence(sql, relation, id.name, role)
  if (id !== undefined && run !== undefined) yield * checkIndexes(sql, relation, id, run)
}

async function * checkColumns (sql: Sql, attributes: Attribute[], columns: Columns): Findings {
  const wanted = [...(['id', 'run', 'level', 'message', 'timestamp'] as const).map((purpose) => [purpose, columns[purpose]] as const),
    ...columns.extra.map((name) => ['extra', name] as const)]
  let right = true
  const wrong = (what: string, mend: string): Finding => {
    right = false
    return problem('columns', what, REFUSED, mend)
  }
  for (const [purpose, name] of wanted) {
    const attribute = attributes.find((each) => each.name === name)
    const another = `Set the option columns.${purpose} (here: --column ${purpose}=<name>)`
    if (attribute === undefined) {
      yield wrong(`there is no column "${name}" for ${purpose}`, `${another}; there are ${attributes.map((each) => each.name).join(', ')}.`)
    } else if (purpose === 'run' && !await comparable(sql, attribute.type)) {
      yield wrong(`column "${name}" is ${attribute.type}, which has no equality, so no run can be chosen`, `${another} to a column of another type.`)
    } else if (purpose === 'timestamp' && !TIMES.includes(attribute.base)) {
      yield wrong(`column "${name}" is ${attribute.type}, not a time`, `${another} to a column of type timestamptz.`)
    } else if (purpose === 'id' && !INTEGERS.includes(attribute.type)) {
      yield wrong(`column "${name}" is ${attribute.type}, so it gives no order`, `Add one that does, bigint generated always as identity: ${another}.`)
    }
  }
  if (right) yield ok('columns', `all are there: ${wanted.map(([, name]) => name).join(', ')}`)
}

/** What the plugin would refuse, in its two halves. */
class Refusal extends Error {
  readonly mend: string

  constructor (wrong: string, mend: string) {
    super(wrong)
    this.mend = mend
  }
}

async function * checkSequence (sql: Sql, relation: Relation, id: string, role: string): Findings {
  try {
    const { oid, warnings } = await inspectSequence(sql, { ...relation }, id, (wrong, mend) => new Refusal(wrong, mend))
    relation.sequence = oid
    if (warnings.length === 0) yield ok('sequence', 'it counts upwards by one, and role and plugin can read it')
    for (const each of warnings) {
      const [what, mend] = each.split(' Run: ')
      yield warning('sequence', what!, 'Rows may be missed, or clients not be told of a restart.', ...mend === undefined ? [] : [mend.replace(/…$/, `${role};`)])
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    yield problem('sequence', error.message, REFUSED, error.mend.replace(/^Run: (.*)$/, '$1;'))
    // Who holds it can be told all the same.
    const [row] = await query(sql, 'select pg_get_serial_sequence($1, $2)::regclass::int8::text as oid', [relation.name, id])
    relation.sequence = row!['oid'] === null ? null : Number(row!['oid'])
  }
}

async function * checkIndexes (sql: Sql, { name, oid }: Relation, id: Attribute, run: Attribute): Findings {
  const missing = await inspectIndexes(sql, { name, oid }, id, run)
  if (missing.length === 0) yield ok('index', 'there is one for reads by id, and one for replays of a run')
  for (const each of missing) {
    const columns = each.includes('replay of a run') ? [run, id] : [id]
    yield warning('index', each.replace(/\. Add one$/, ''), 'On a large table rows come late, and each read costs much.',
      `create index on ${name} (${columns.map(({ name }) => quoteIfNeeded(name)).join(', ')});`)
  }
}

function quoteIfNeeded (name: string): string {
  return /^[a-z_][a-z\d_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`
}
