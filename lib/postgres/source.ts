import type { Sql } from 'postgres'
import { MAX_ID, type Range } from '../tail/cursor.ts'
import type { Filter, SourceRow } from '../row.ts'
import { writeArray } from './arrays.ts'
import { epochOf, lastValueOf } from './epoch.ts'
import { ON_STANDBY, onPrimary } from './primary.ts'
import { query, quote } from './query.ts'
import type { Table } from './table.ts'

/** Most rows of one read. */
export const PAGE_ROWS = 1000
/**
 * A page ends early once its messages have this many bytes: big rows come a few at a time. A slow client keeps
 * its last page alive until it has taken it, and the ring shall hold some pages, so that who is not slow stays in it.
 */
export const PAGE_BYTES = 256 * 1024
/** Bytes of a message above which only its beginning is read: a text may have 1 GiB, a string of V8 not. */
export const MAX_MESSAGE = 16 * 1024 * 1024
/** Characters, which have 4 bytes at most. */
export const MESSAGE_START = MAX_MESSAGE / 4
/**
 * To plan a read of a row takes PostgreSQL longer than to run it: 0.8 ms with a plan that is kept, 1.3 without. Where more runs are
 * watched, one that is made for them is faster: it searches them by their hash.
 */
const FEW_RUNS = 16
/** Rows after which plans are made anew: one from when the table was tiny would go through all of it. */
const PLAN_ROWS = 5000
/** How many rows the head looks back at, so that a large table costs no more. */
const LOOK_BACK = 100_000
/** Most gaps of a head that may be in flight, and most above the sequence: fewer than a watermark holds, for there will be more. */
export const HEAD_GAPS = 100
const FUTURE_GAPS = 16

export interface Page {
  /** Ascending by id. */
  rows: SourceRow[]
  /** The page is full: what was asked for is read up to its last row only. */
  more: boolean
  /** See SequenceState. */
  epoch: string
}

/** Where a table stands. */
export interface Head {
  high: bigint
  /** Ids up to this one were handed out; those above were set by hand. */
  lastValue: bigint
  /** Ids that were handed out and are missing, the newest of them. */
  gaps: Range[]
  /** Those are all. */
  complete: boolean
  /** Ids that are missing between `lastValue` and `high`, the first of them: where the sequence will get to. */
  future: Range[]
}

/** The parameters of `bounds()`. */
const BOUNDS = '$1::bigint[], $2::bigint[]'
/** The same, where PostgreSQL cannot see them as it plans: so a plan for their values looks no better to it than one that it may keep. */
const HIDDEN_BOUNDS = '(select $1::bigint[]), (select $2::bigint[])'

/** The only SELECTs of the runtime that read rows. */
export class Source {
  readonly table: Table
  readonly #name: string
  readonly #id: string
  readonly #run: string
  readonly #level: string
  /** Rows that were read since plans were made, or that may have come. */
  #rowsSincePlan = PLAN_ROWS
  /** The few statements that read a page, by what is asked. To write them for each read was 3 % of the node's time where reads are small. */
  readonly #texts = new Map<string, string>()
  /** The runs of the last read, and how they are sent: of a thousand, a fifth of the time that a read takes the node. */
  #watched: readonly string[] | null = null
  #watchedText: unknown = null

  constructor (table: Table) {
    this.table = table
    this.#name = table.name
    this.#id = `t.${quote(table.columns.id)}`
    this.#run = `t.${quote(table.columns.run)}`
    this.#level = `t.${quote(table.columns.level)}`
  }

  /**
   * The rows of the given ids that are visible at one moment.
   * @param watched text forms of the runs whose contents are wanted, of others only the ids are
   * read; null: the contents of all
   */
  async read (sql: Sql, ranges: readonly Range[], watched: readonly string[] | null): Promise<Page> {
    const parameters = bounds(ranges)
    const wanted = watched === null ? 'true' : `coalesce(${this.#run}::text = any($${parameters.push(this.#written(watched))}::text[]), false)`
    if (this.#rowsSincePlan >= PLAN_ROWS) {
      await sql.unsafe('discard plans')
      this.#rowsSincePlan = 0
    }
    const kept = watched === null || watched.length <= FEW_RUNS
    const page = await this.#page(sql, kept ? HIDDEN_BOUNDS : BOUNDS, 'true', wanted, parameters)
    this.#rowsSincePlan += page.rows.length
    return page
  }

  /** The same, of one stream's rows. */
  async replay (sql: Sql, ranges: readonly Range[], filter: Filter): Promise<Page> {
    const parameters = bounds(ranges)
    return this.#page(sql, BOUNDS, this.#where(filter, parameters), 'true', parameters)
  }

  /** Id of the stream's last row but `count - 1` among the given ids; null when it has none. */
  async nthLast (sql: Sql, ranges: readonly Range[], filter: Filter, count: number): Promise<bigint | null> {
    const parameters = bounds(ranges)
    const limit = `$${parameters.push(count)}::bigint`
    const { last } = await query(sql, `
      select min(row_id)::text as last, ${ON_STANDBY} from (
        select ${this.#id}::bigint as row_id from unnest(${BOUNDS}) as g(lo, hi)
          cross join lateral (
            select ${this.#id} from ${this.#name} t
            where ${this.#id} between g.lo and g.hi and ${this.#where(filter, parameters)}
            order by ${this.#id} desc limit ${limit}
          ) t
        order by row_id desc limit ${limit}
      ) last`, parameters).then(onPrimary)
    return last === null ? null : BigInt(last)
  }

  /**
   * The highest id above `floor`, and the ids that are missing between the two.
   * @param lastValue last id handed out, where the sequence does not say; null: nobody knows
   */
  async head (sql: Sql, floor: bigint, lastValue: bigint | null): Promise<Head> {
    const ids = `select ${this.#id}::bigint as row_id from ${this.#name} t where`
    const last = '(select last from sequence)'
    const ranges = (of: string) => `array(select lo::text from ${of} order by ${of}.lo) as ${of}_lo, array(select hi::text from ${of} order by ${of}.lo) as ${of}_hi`
    const row = await query(sql, `
      with sequence as materialized (
        -- Asked after the snapshot was taken: whatever is above was handed out by nobody. One more must be an id, too.
        select least(coalesce(${lastValueOf(this.table)}, $2::bigint), ${MAX_ID - 1n}) as last
      ), below as materialized (
        ${ids} ${this.#id} > $1::bigint and ${this.#id} <= ${last} order by ${this.#id} desc limit ${LOOK_BACK}
      ), above as materialized (
        ${ids} ${this.#id} > ${last} order by ${this.#id} limit ${LOOK_BACK}
      ), gaps as (
        select before + 1 as lo, row_id - 1 as hi from (
          select row_id, lag(row_id, 1, case when (select count(*) from below) < ${LOOK_BACK} then $1::bigint end) over (order by row_id) as before
          from (select row_id from below union all select ${last} + 1 where exists (select from above)) ends
        ) pairs
        where row_id > before + 1 order by row_id desc limit ${HEAD_GAPS + 1}
      ), future as (
        select before + 1 as lo, row_id - 1 as hi from (select row_id, lag(row_id, 1, ${last}) over (order by row_id) as before from above) pairs
        where row_id > before + 1 order by row_id limit ${FUTURE_GAPS}
      )
      select ${last}::text as last, ${ranges('gaps')}, ${ranges('future')}, ${ON_STANDBY},
        coalesce((${ids} ${this.#id} > $1::bigint order by ${this.#id} desc limit 1), least($1::bigint, ${last}))::text as high`,
    [inBigint(floor < MAX_ID ? floor : MAX_ID - 1n), inBigint(lastValue ?? MAX_ID)]).then(onPrimary)
    const read = (of: string): Range[] => row[`${of}_lo`].map((lo: string, i: number) => ({ lo: BigInt(lo), hi: BigInt(row[`${of}_hi`][i]) }))
    const gaps = read('gaps')
    return {
      high: BigInt(row['high']),
      lastValue: BigInt(row['last']),
      gaps: gaps.slice(-HEAD_GAPS),
      complete: gaps.length <= HEAD_GAPS,
      future: read('future')
    }
  }

  /** How many rows the run has. */
  async count (sql: Sql, run: string): Promise<number> {
    const parameters: unknown[] = []
    const { rows } = await query(sql,
      `select count(*) as rows, ${ON_STANDBY} from ${this.#name} t where ${this.#where({ run, levels: null }, parameters)}`, parameters).then(onPrimary)
    return Number(rows)
  }

  #written (runs: readonly string[]): unknown {
    if (runs !== this.#watched) {
      this.#watched = runs
      this.#watchedText = writeArray(runs)
    }
    return this.#watchedText
  }

  async #page (sql: Sql, ranges: string, where: string, wanted: string, parameters: unknown[]): Promise<Page> {
    const name = `$${parameters.push(this.#name)}::text`
    const key = [ranges, where, wanted].join()
    let text = this.#texts.get(key)
    if (text === undefined) {
      text = this.#pageText(ranges, where, wanted, name)
      this.#texts.set(key, text)
    }
    const all = await query(sql, text, parameters)
    const { epoch } = onPrimary(all)
    // Where there is none, one without an id.
    const rows = all[0]!['id_text'] === null ? [] : all
    return {
      rows: rows.map((row) => this.#row(row)),
      more: rows.length === PAGE_ROWS || (rows.at(-1)?.['last'] ?? null) !== null,
      epoch
    }
  }

  #pageText (ranges: string, where: string, wanted: string, name: string): string {
    const { message, timestamp, extra } = this.table.columns
    const long = `octet_length(t.${quote(message)}::text) > ${MAX_MESSAGE}`
    const contents = [
      `${this.#level}::text as level`,
      `case when ${long} then left(t.${quote(message)}::text, ${MESSAGE_START}) else t.${quote(message)}::text end as message`,
      `nullif(${long}, false) as cut`,
      // Beyond, a date is no timestamp for PostgreSQL, or a timestamp no time for JavaScript.
      `case when t.${quote(timestamp)} between '4000-01-01 BC' and '200000-01-01' then t.${quote(timestamp)}::timestamptz end as ts`,
      ...extra.map((name, i) => `t.${quote(name)} as x${i}`)
    ].map((column) => `case when ${wanted} then ${column.replace(/ as \w+$/, ' end$&')}`)
    // ORDER BY takes the name of an output column first, so none of them has a name of the table's.
    // octet_length() does not unpack a large message: only what the page carries is read in full.
    const size = ['coalesce(octet_length(message), 0)', ...extra.map((_name, i) => `coalesce(pg_column_size(x${i}), 0)`)].join(' + ')
    const only = (of: string) => `case when place > 1 then null else ${of} end as ${of}`
    // What says nothing is null, and what is the same in all rows is in the first alone: each value that is sent takes the driver
    // as long as a tenth of its row. Whether one is null is all that is asked of it: what a boolean is, a parser of the host's may say.
    return `
      select row_id::text as id_text, run, unread, level, message, cut, ts, ${extra.map((_name, i) => `x${i}, `).join('')}
        nullif(before + size >= ${PAGE_BYTES}, false) as last, ${only('epoch')}, ${only('standby')}
      from (select ${epochOf(name, this.table)} as epoch, ${ON_STANDBY}) server left join (
        select p.*, row_number() over w as place, coalesce(sum(size) over w, 0) as before
        from (
          select t.*, ${size} as size
          from (
            select ${this.#id}::bigint as row_id, ${this.#run}::text as run, nullif(not ${wanted}, false) as unread, ${contents.join(', ')}
            from unnest(${ranges}) as g(lo, hi) cross join lateral (
              select * from ${this.#name} t where ${this.#id} between g.lo and g.hi and ${where}
              order by ${this.#id} limit ${PAGE_ROWS}
            ) t
            order by row_id limit ${PAGE_ROWS}
          ) t
        ) p
        window w as (order by row_id rows between unbounded preceding and 1 preceding)
      ) q on before < ${PAGE_BYTES} order by place`
  }

  #row (row: Record<string, any>): SourceRow {
    const { extra } = this.table.columns
    return {
      id: BigInt(row.id_text),
      run: row.run,
      content: row.unread === null
        ? {
            level: row.level,
            message: row.message,
            cut: row.cut !== null,
            timestamp: isoTime(row.ts),
            extra: extra.length === 0 ? null : Object.fromEntries(extra.map((name, i) => [name, row[`x${i}`]]))
          }
        : null
    }
  }

  #where ({ run, levels }: Filter, parameters: unknown[]): string {
    const clauses = ['true']
    if (run !== null) {
      // By value for the index, and by text, since that is how live rows find their ring.
      const text = `$${parameters.push(run)}::text`
      clauses.push(`${this.#run} = ${text}::${this.table.runType}`, `${this.#run}::text = ${text}`)
    }
    if (levels !== null) clauses.push(`${this.#level}::text = any($${parameters.push(levels)}::text[])`)
    return clauses.join(' and ')
  }
}

function bounds (ranges: readonly Range[]): unknown[] {
  return [ranges.map(({ lo }) => inBigint(lo)), ranges.map(({ hi }) => inBigint(hi))]
}

function inBigint (id: bigint): string {
  return String(id > MAX_ID ? MAX_ID : id < -MAX_ID ? -MAX_ID : id)
}

/** `infinity` and years that ISO 8601 cannot write have no time. */
function isoTime (value: unknown): string | null {
  const time = value instanceof Date ? value : new Date(String(value))
  return Number.isNaN(time.getTime()) ? null : time.toISOString()
}
