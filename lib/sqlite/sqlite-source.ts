import { TextDecoder } from 'node:util'
import { quote } from '../postgres/query.ts'
import { MAX_MESSAGE, MESSAGE_START, PAGE_BYTES, PAGE_ROWS } from '../postgres/page-reader.ts'
import type { RunEnd } from '../queue/feed.ts'
import { exact, type Filter, type SourceRow } from '../row.ts'
import { MAX_ID, type Cursor, type Range } from '../tail/cursor.ts'
import type { Row, SqliteFile } from './sqlite-file.ts'
import type { SqliteTable } from './sqlite-table.ts'

/** Most rows that one question looks at where it has to search: all else in the process waits meanwhile. */
export const STEP_ROWS = 5000
const EVERYTHING: Filter = { run: null, levels: null }
const INTEGER = /^(?:0|-?[1-9]\d*)$/

export interface Page {
  /** Ascending by id. */
  rows: SourceRow[]
  /** So far was read what was asked for. */
  upTo: bigint
}

/** The only SELECTs that read rows of an SQLite file. It has one writer at a time, so ids appear in their order. */
export class SqliteSource {
  readonly file: SqliteFile
  readonly table: SqliteTable
  readonly #name: string
  readonly #id: string
  readonly #run: string
  readonly #level: string
  readonly #decoder: TextDecoder

  constructor (file: SqliteFile, table: SqliteTable) {
    this.file = file
    this.table = table
    this.#name = quote(table.name)
    this.#id = column(table.columns.id)
    this.#run = column(table.columns.run)
    this.#level = column(table.columns.level)
    this.#decoder = new TextDecoder(file.get('pragma encoding')!['encoding'], { ignoreBOM: true })
  }

  /** The highest id that was given out, as far as the file knows; 0 for none. */
  last (): bigint {
    const { name, counted } = this.table
    const count = counted ? ', coalesce((select cast(seq as integer) from sqlite_sequence where name = ?), 0)' : ''
    return this.file.get(`select max(0, coalesce((select max(${this.#id}) from ${this.#name} t), 0)${count}) as last`, ...counted ? [name] : [])!['last']
  }

  /** The first page after a cursor, null for none, and `last()` of the same moment. */
  readAfter (cursor: Cursor | null): { last: bigint, page: Page } {
    return this.file.atOnce(() => ({
      last: this.last(),
      page: cursor === null || cursor.high === MAX_ID ? { rows: [], upTo: MAX_ID } : this.read({ lo: cursor.high + 1n, hi: MAX_ID }, EVERYTHING)
    }))
  }

  /** The first page of one stream's rows. */
  read ({ lo, hi }: Range, filter: Filter): Page {
    const { message, timestamp, extra } = this.table.columns
    const searches = filter.levels !== null || (filter.run !== null && !this.table.indexed)
    const end = searches ? this.#step(lo, hi, filter.run, 'asc') ?? hi : hi
    const text = column(message)
    const [where, parameters] = this.#where(filter)
    const rows: SourceRow[] = []
    let size = 0
    // node:sqlite cuts a text at its first NUL, but not a blob.
    for (const row of this.file.iterate(`
      select ${this.#id} as id, cast(${this.#run} as text) as run, cast(${this.#level} as text) as level,
        cast(case when octet_length(${text}) > ${MAX_MESSAGE} then substr(cast(${text} as text), 1, ${MESSAGE_START}) else ${text} end as blob) as message,
        octet_length(${text}) > ${MAX_MESSAGE} as cut, ${column(timestamp)} as timestamp${extra.map((name, i) => `, ${column(name)} as x${i}`).join('')}
      from ${this.#name} t where ${this.#id} between ? and ? and ${where} order by ${this.#id} limit ${PAGE_ROWS}`, lo, end, ...parameters)) {
      rows.push(this.#row(row))
      size += sizeOf(row['message']) + extra.reduce((sum, _name, i) => sum + sizeOf(row[`x${i}`]), 0)
      if (rows.length === PAGE_ROWS || size >= PAGE_BYTES) return { rows, upTo: row['id'] }
    }
    return { rows, upTo: end }
  }

  /** One stream's newest rows up to `hi`, `count` at most: the first id and the number of those from `lo` on, for so far it looks back. */
  lookBack (hi: bigint, filter: Filter, count: number): { first: bigint | null, found: number, lo: bigint } {
    const lo = this.#step(1n, hi, filter.run, 'desc') ?? 1n
    const [where, parameters] = this.#where(filter)
    const { first, found } = this.file.get(`
      select min(id) as first, count(*) as found from (
        select ${this.#id} as id from ${this.#name} t where ${this.#id} between ? and ? and ${where} order by ${this.#id} desc limit ?
      )`, lo, hi, ...parameters, Math.min(count, STEP_ROWS)) as { first: bigint | null, found: bigint }
    return { first, found: Number(found), lo }
  }

  /** Which of the runs have ended, by the table of runs. */
  findEnds (runs: readonly string[]): RunEnd[] {
    if (this.table.runs === null || runs.length === 0) return []
    const { table, id, status, finished } = this.table.runs
    const asked = new Set(runs)
    // By value, for the index: where the column has no type, 7 is not '7'. Then by text, for by value 07 finds 7.
    const values = runs.flatMap((run) => INTEGER.test(run) ? [JSON.stringify(run), run] : [JSON.stringify(run)])
    return this.file.all(`
      select cast(${column(id)} as text) as run, cast(${column(status)} as text) as status from ${quote(table)} t
      where ${column(id)} in (select value from json_each(?)) and cast(${column(status)} as text) collate binary in (select value from json_each(?))`,
    `[${values.join()}]`, JSON.stringify(finished)).filter(({ run }) => asked.has(run)).map(({ run, status }) => ({ run, status, message: null }))
  }

  /** The last id of a step from one end of a range; null where the other end comes before. */
  #step (lo: bigint, hi: bigint, run: string | null, order: 'asc' | 'desc'): bigint | null {
    // Of a run that has no index the rows of others count, too.
    const [where, parameters] = this.#where({ run: this.table.indexed ? run : null, levels: null })
    return this.file.get(`
      select ${this.#id} as id from ${this.#name} t where ${this.#id} between ? and ? and ${where} order by ${this.#id} ${order} limit 1 offset ${STEP_ROWS - 1}`,
    lo, hi, ...parameters)?.['id'] ?? null
  }

  /** By text, since that is how live rows find their ring, whatever the column's type and order; a run by value, too, for the index. */
  #where ({ run, levels }: Filter): [clause: string, parameters: unknown[]] {
    const clauses = ['true']
    const parameters: unknown[] = []
    if (run !== null) {
      clauses.push(`cast(${this.#run} as text) = ? collate binary`)
      parameters.push(run)
      if (this.table.indexed) {
        clauses.push(`${this.#run} = ?`)
        parameters.push(run)
      }
    }
    if (levels !== null) {
      clauses.push(`cast(${this.#level} as text) collate binary in (select value from json_each(?))`)
      parameters.push(JSON.stringify(levels))
    }
    return [clauses.join(' and '), parameters]
  }

  #row (row: Row): SourceRow {
    const { extra } = this.table.columns
    return {
      id: row['id'],
      run: row['run'],
      content: {
        level: row['level'],
        message: row['message'] === null ? null : this.#decoder.decode(row['message']),
        cut: row['cut'] === 1n,
        timestamp: timeOf(row['timestamp']),
        extra: extra.length === 0 ? null : Object.fromEntries(extra.map((name, i) => [name, plain(row[`x${i}`])]))
      }
    }
  }
}

/** With the table's name, for without it a name that is no column may be taken for one of the result, or for a text. */
function column (name: string): string {
  return `t.${quote(name)}`
}

function sizeOf (value: unknown): number {
  return typeof value === 'string' || value instanceof Uint8Array ? value.length : 0
}

/** SQLite has no type for times: ISO 8601 as text, in UTC where it says no zone; or seconds or milliseconds since 1970. */
function timeOf (value: unknown): string | null {
  if (value === null || value === undefined) return null
  const time = typeof value === 'string' && !/^-?\d+(?:\.\d+)?$/.test(value)
    ? new Date(/[zZ]$|[+-]\d\d:?\d\d$/.test(value) ? value : `${value.replace(' ', 'T')}${value.length > 10 ? 'Z' : ''}`)
    : new Date(Number(value) * (Math.abs(Number(value)) < 1e11 ? 1000 : 1))
  return Number.isNaN(time.getTime()) ? null : time.toISOString()
}

function plain (value: unknown): unknown {
  if (typeof value === 'bigint') return exact(value)
  return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value
}
