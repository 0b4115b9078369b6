import { errors } from '../errors.ts'
import type { Columns } from '../postgres/table.ts'
import type { RunsOptions } from '../postgres/run-ends.ts'
import { quote } from '../postgres/query.ts'
import type { RunEnd } from '../queue/feed.ts'
import { exact, type Filter, type SourceRow } from '../row.ts'
import { MAX_ID, type Range } from '../tail/cursor.ts'

/** What we need of `node:sqlite`, which Node 20 does not have. */
interface Statement {
  all: (...parameters: unknown[]) => Array<Record<string, any>>
  get: (...parameters: unknown[]) => Record<string, any> | undefined
  setReadBigInts: (on: boolean) => void
}
interface Database {
  prepare: (sql: string) => Statement
  close: () => void
}

/** Most rows of one read. */
export const PAGE_ROWS = 1000
/** Characters of a message above which only its beginning is read. */
const MAX_MESSAGE = 16 * 1024 * 1024
const MESSAGE_START = MAX_MESSAGE / 4

/** How far a table is: another life of it where `schema` differs, or ids run backwards. */
export interface Mark {
  /** Changes with each commit of somebody else's. */
  version: number
  /** The highest id that was ever given out; of a table without AUTOINCREMENT, the highest there is. */
  last: bigint
}

/** The only SELECTs that read an SQLite file. Each sees what is committed at its moment, and SQLite has one writer at a time: so ids appear in their order. */
export class SqliteTable {
  readonly integerRuns: boolean
  readonly warnings: string[] = []
  readonly #database: Database
  readonly #statements = new Map<string, Statement>()
  readonly #name: string
  readonly #columns: Columns
  readonly #runs: RunsOptions | null
  readonly #counts: boolean

  /**
   * @param file its path; it is opened for reading only
   * @throws FST_PG_TAIL_TABLE where the table is not fit for it, FST_PG_TAIL_OPTION where this Node has no `node:sqlite`
   */
  static async open (file: string, table: string, columns: Columns, runs: RunsOptions | null): Promise<SqliteTable> {
    // Not by a literal: the types of Node 20 do not know it.
    const name: string = 'node:sqlite'
    const { DatabaseSync } = await import(name).catch(() => {
      throw new errors.Option('source.sqlite', 'given', `this is Node ${process.versions.node}; SQLite is read with node:sqlite, which comes with Node 22.13 and later`)
    })
    return new SqliteTable(new DatabaseSync(file, { readOnly: true }), table, columns, runs)
  }

  private constructor (database: Database, table: string, columns: Columns, runs: RunsOptions | null) {
    this.#database = database
    this.#name = quote(table)
    this.#columns = columns
    this.#runs = runs
    const found = this.#inspect(table, 'table', Object.entries(columns).flatMap(([purpose, name]) => purpose === 'extra' ? [] : [[`columns.${purpose}`, name as string]]))
    for (const extra of columns.extra) if (!found.has(extra)) throw new errors.Table(table, `it has no column "${extra}"`, `Set the option columns.extra; its columns are ${[...found.keys()].join(', ')}`)
    const id = found.get(columns.id)!
    if (id.type.toUpperCase() !== 'INTEGER' || id.pk !== 1 || [...found.values()].some(({ pk }) => pk > 1)) {
      throw new errors.Table(table, `its column "${columns.id}" is not the INTEGER PRIMARY KEY, so it gives no order`, 'Make it integer primary key autoincrement')
    }
    if (runs !== null) this.#inspect(runs.table, 'runs.table', [['runs.id', runs.id], ['runs.status', runs.status]])
    this.integerRuns = /INT/i.test(found.get(columns.run)!.type)
    const { sql } = this.#get('select sql from sqlite_schema where name = ?', table)!
    this.#counts = /\bAUTOINCREMENT\b/i.test(sql)
    if (!this.#counts) this.warnings.push(`Table ${table} is not AUTOINCREMENT: a row that gets the id of a newest row that was deleted starts the log again`)
    const indexes = this.#all('select x.name from pragma_index_list(?) l, pragma_index_info(l.name) x where x.seqno = 0', table)
    if (!indexes.some(({ name }) => name === columns.run)) this.warnings.push(`Table ${table} has no index on ("${columns.run}", "${columns.id}"): replay of a run scans the table. Add one`)
  }

  mark (): Mark {
    const { version } = this.#get('select data_version as version from pragma_data_version')!
    const last = this.#counts
      ? this.#get('select seq as last from sqlite_sequence where name = ?', this.#name.slice(1, -1).replaceAll('""', '"'))?.['last']
      : this.#get(`select max(${this.#id}) as last from ${this.#name}`)!['last']
    return { version: Number(version), last: BigInt(last ?? 0) }
  }

  /** The rows of the given ids, of one stream. */
  read (ranges: readonly Range[], { run, levels }: Filter): { rows: SourceRow[], more: boolean } {
    const { level, message, timestamp, extra } = this.#columns
    const text = `cast(${quote(message)} as text)`
    const rows: SourceRow[] = []
    for (const { lo, hi } of ranges) {
      const [where, parameters] = this.#where({ run, levels })
      const found = this.#all(`
        select ${this.#id} as id, cast(${quote(this.#columns.run)} as text) as run, cast(${quote(level)} as text) as level,
          substr(${text}, 1, case when length(${text}) > ${MAX_MESSAGE} then ${MESSAGE_START} else ${MAX_MESSAGE} end) as message,
          length(${text}) > ${MAX_MESSAGE} as cut, ${quote(timestamp)} as timestamp${extra.map((name, i) => `, ${quote(name)} as x${i}`).join('')}
        from ${this.#name} where ${this.#id} between ? and ? and ${where} order by ${this.#id} limit ${PAGE_ROWS - rows.length}`, inRange(lo), inRange(hi), ...parameters)
      for (const row of found) {
        rows.push({
          id: BigInt(row['id']),
          run: row['run'],
          content: {
            level: row['level'],
            message: row['message'],
            cut: row['cut'] === 1n,
            timestamp: timeOf(row['timestamp']),
            extra: extra.length === 0 ? null : Object.fromEntries(extra.map((name, i) => [name, plain(row[`x${i}`])]))
          }
        })
      }
      if (rows.length === PAGE_ROWS) return { rows, more: true }
    }
    return { rows, more: false }
  }

  /** Id of the stream's last row but `count - 1` among the given ids; null when it has none. */
  nthLast (ranges: readonly Range[], filter: Filter, count: number): bigint | null {
    let last: bigint | null = null
    let left = count
    for (const { lo, hi } of [...ranges].reverse()) {
      const [where, parameters] = this.#where(filter)
      const row = this.#get(`select min(id) as last, count(*) as found from (select ${this.#id} as id from ${this.#name}
        where ${this.#id} between ? and ? and ${where} order by ${this.#id} desc limit ?)`, inRange(lo), inRange(hi), ...parameters, left)!
      last = row['last'] ?? last
      left -= Number(row['found'])
      if (left === 0) break
    }
    return last
  }

  count (run: string): number {
    const [where, parameters] = this.#where({ run, levels: null })
    return Number(this.#get(`select count(*) as rows from ${this.#name} where ${where}`, ...parameters)!['rows'])
  }

  /** Which of the runs have ended, by the table of runs. */
  findEnds (runs: readonly string[]): RunEnd[] {
    if (this.#runs === null || runs.length === 0) return []
    const { table, id, status, finished } = this.#runs
    return this.#all(`select cast(${quote(id)} as text) as run, ${quote(status)} as status from ${quote(table)}
      where cast(${quote(id)} as text) in (select value from json_each(?)) and ${quote(status)} in (select value from json_each(?))`,
    JSON.stringify(runs), JSON.stringify(finished)).map(({ run, status }) => ({ run, status, message: null }))
  }

  close (): void {
    this.#database.close()
  }

  get #id (): string {
    return quote(this.#columns.id)
  }

  #where ({ run, levels }: Filter): [clause: string, parameters: unknown[]] {
    const clauses = ['true']
    const parameters: unknown[] = []
    if (run !== null) {
      clauses.push(`${quote(this.#columns.run)} = ?`)
      parameters.push(this.integerRuns ? BigInt(run) : run)
    }
    if (levels !== null) {
      clauses.push(`${quote(this.#columns.level)} in (select value from json_each(?))`)
      parameters.push(JSON.stringify(levels))
    }
    return [clauses.join(' and '), parameters]
  }

  /** @throws FST_PG_TAIL_TABLE */
  #inspect (table: string, option: string, wanted: string[][]): Map<string, { type: string, pk: number }> {
    const columns = new Map(this.#all('select name, type, pk from pragma_table_info(?)', table).map(({ name, type, pk }) => [name as string, { type: type as string, pk: Number(pk) }]))
    if (columns.size === 0) throw new errors.Table(table, 'it does not exist', `Set the option ${option} to a table of the file`)
    for (const [option, name] of wanted) {
      if (!columns.has(name!)) throw new errors.Table(table, `it has no column "${name}"`, `Set the option ${option}; its columns are ${[...columns.keys()].join(', ')}`)
    }
    return columns
  }

  #all (sql: string, ...parameters: unknown[]): Array<Record<string, any>> {
    return this.#prepare(sql).all(...parameters)
  }

  #get (sql: string, ...parameters: unknown[]): Record<string, any> | undefined {
    return this.#prepare(sql).get(...parameters)
  }

  #prepare (sql: string): Statement {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.#database.prepare(sql)
      statement.setReadBigInts(true)
      this.#statements.set(sql, statement)
    }
    return statement
  }
}

/** SQLite takes no more than 64 bits. */
function inRange (id: bigint): bigint {
  return id > MAX_ID ? MAX_ID : id < -MAX_ID ? -MAX_ID : id
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
