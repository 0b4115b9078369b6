import { errors } from '../errors.ts'
import type { RunsOptions } from '../postgres/run-ends.ts'
import type { Columns } from '../postgres/table.ts'
import type { SqliteFile } from './sqlite-file.ts'

/** What the file says of the table that is tailed. */
export interface SqliteTable {
  /** As it is written there. */
  name: string
  columns: Columns
  runs: RunsOptions | null
  /** The column of runs has integers. */
  integerRuns: boolean
  /** An index has the rows of a run in the order of their ids. */
  indexed: boolean
  /** The file keeps what the highest ids of some tables were. */
  counted: boolean
  /** What works, but not well. Sentences for the log. */
  warnings: string[]
}

interface Column { type: string, pk: bigint }

/**
 * Looks the table up and refuses what could lose rows.
 * @throws FST_PG_TAIL_TABLE with the fix in the message
 */
export function inspectTable (file: SqliteFile, table: string, columns: Columns, runs: RunsOptions | null): SqliteTable {
  const { extra, ...own } = columns
  const wanted = [...Object.entries(own), ...extra.map((column): [string, string] => ['extra', column])]
  const { name, found, sql } = find(file, table, 'table', wanted.map(([purpose, column]) => [`columns.${purpose}`, column]))
  const indexes = file.all('select * from pragma_index_list(?)', name)
  const id = found.get(columns.id)!
  // An index of its own the key has where it is not the rowid, as in a table WITHOUT ROWID.
  if (id.type.toUpperCase() !== 'INTEGER' || id.pk !== 1n || indexes.some(({ origin }) => origin === 'pk')) {
    throw new errors.Table(name, `its column "${columns.id}" is not the INTEGER PRIMARY KEY, so it gives no order`, 'Make it integer primary key autoincrement')
  }
  const runType = found.get(columns.run)!.type
  // Without a type 7 and '7' are two values: by value only one of them would be found.
  const typed = !/^(any)?$|blob/i.test(runType)
  const indexed = typed && indexes.some((index) => {
    const [first, second] = file.all('select name from pragma_index_info(?) order by seqno', index['name'])
    return index['partial'] === 0n && first!['name'] === columns.run && (second === undefined || second['name'] === columns.id)
  })
  const warnings: string[] = []
  if (!/\bAUTOINCREMENT\b/i.test(sql)) {
    warnings.push(`Table ${name} is not AUTOINCREMENT: where its newest rows are deleted the log starts again, and rows that get their ids before the next poll are missed`)
  }
  if (!typed) warnings.push(`Column "${columns.run}" of table ${name} has no type, so no index serves it: replay of a run scans the table. Declare it as integer or text`)
  else if (!indexed) warnings.push(`Table ${name} has no index on ("${columns.run}", "${columns.id}"): replay of a run scans the table. Add one`)
  return {
    name,
    columns,
    runs: runs === null ? null : { ...runs, table: find(file, runs.table, 'runs.table', [['runs.id', runs.id], ['runs.status', runs.status]]).name },
    // So SQLite itself sees to it.
    integerRuns: /INT/i.test(runType),
    indexed,
    counted: file.get("select 1 from sqlite_schema where name = 'sqlite_sequence'") !== undefined,
    warnings
  }
}

/**
 * @param option where the name is from
 * @param wanted columns that it must have, each with the option where its name is from
 */
function find (file: SqliteFile, table: string, option: string, wanted: Array<[option: string, name: string]>): { name: string, found: Map<string, Column>, sql: string } {
  const entry = file.get("select name, sql from sqlite_schema where type in ('table', 'view') and name = ? collate nocase", table)
  if (entry === undefined) throw new errors.Table(table, 'it does not exist', `Set the option ${option} to a table of the file`)
  const { name, sql } = entry as { name: string, sql: string }
  const found = new Map(file.all('select name, type, pk from pragma_table_info(?)', name).map(({ name, type, pk }) => [name as string, { type, pk } as Column]))
  for (const [option, column] of wanted) {
    if (!found.has(column)) throw new errors.Table(name, `it has no column "${column}"`, `Set the option ${option}; its columns are ${[...found.keys()].join(', ')}`)
  }
  return { name, found, sql }
}
