import type { Sql } from 'postgres'
import { MAX_ID, type Range } from '../tail/cursor.ts'
import { FUTURE_GAPS } from '../tail/watermark.ts'
import type { Filter } from '../row.ts'
import { isUnwritable } from '../errors.ts'
import { writeArray } from './arrays.ts'
import { lastValueOf } from './epoch.ts'
import { PageReader, type Page } from './page-reader.ts'
import { ON_STANDBY, onPrimary } from './primary.ts'
import { exactText, query, quote } from './query.ts'
import type { Table } from './table.ts'

/**
 * To plan a read of a row takes PostgreSQL longer than to run it: 0.8 ms with a plan that is kept, 1.3 without. Where more runs are
 * watched, one that is made for them is faster: it searches them by their hash.
 */
const FEW_RUNS = 16
/** Rows after which plans are made anew: one from when the table was tiny would go through all of it. */
const PLAN_ROWS = 5000
/** How many rows the head looks back at, so that a large table costs no more. */
const LOOK_BACK = 100_000
/** Most gaps of a head that may be in flight: fewer than a watermark holds, for there will be more. */
export const HEAD_GAPS = 100

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
  readonly #runText: string
  readonly #levelText: string
  readonly #pages: PageReader
  /** Rows that were read since plans were made, or that may have come. */
  #rowsSincePlan = PLAN_ROWS
  /** The runs of the last read, and how they are sent: of a thousand, a fifth of the time that a read takes the node. */
  #watched: readonly string[] | null = null
  #watchedText: unknown = null
  /** Of these one cannot be written in the encoding of the database: whoever asks for it must not stop the log for all others. */
  #unwritable: readonly string[] | null = null

  constructor (table: Table) {
    this.table = table
    this.#name = table.name
    this.#id = `t.${quote(table.columns.id)}`
    this.#run = `t.${quote(table.columns.run)}`
    this.#runText = exactText(this.#run)
    this.#levelText = exactText(`t.${quote(table.columns.level)}`)
    this.#pages = new PageReader(table)
  }

  /**
   * The rows of the given ids that are visible at one moment.
   * @param watched text forms of the runs whose contents are wanted, of others only the ids are
   * read; null: the contents of all
   */
  async read (sql: Sql, ranges: readonly Range[], watched: readonly string[] | null): Promise<Page> {
    const parameters = bounds(ranges)
    if (watched === this.#unwritable) watched = null
    const wanted = watched === null ? 'true' : `coalesce(${this.#runText} = any($${parameters.push(this.#written(watched))}::text[]), false)`
    if (this.#rowsSincePlan >= PLAN_ROWS) {
      await sql.unsafe('discard plans')
      this.#rowsSincePlan = 0
    }
    const kept = watched === null || watched.length <= FEW_RUNS
    try {
      const page = await this.#pages.read(sql, kept ? HIDDEN_BOUNDS : BOUNDS, 'true', wanted, parameters, true)
      this.#rowsSincePlan += page.rows.length
      return page
    } catch (error) {
      if (watched === null || !isUnwritable(error)) throw error
      this.#unwritable = watched
      return this.read(sql, ranges, null)
    }
  }

  /** The same, of one stream's rows. */
  async replay (sql: Sql, ranges: readonly Range[], filter: Filter): Promise<Page> {
    const parameters = bounds(ranges)
    return this.#pages.read(sql, BOUNDS, this.#where(filter, parameters), 'true', parameters, false)
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

  #where ({ run, levels }: Filter, parameters: unknown[]): string {
    const clauses = ['true']
    if (run !== null) {
      // By value for the index, and by text, since that is how live rows find their ring.
      const text = `$${parameters.push(run)}::text`
      clauses.push(`${this.#run} = ${text}::${this.table.runType}`, `${this.#runText} = ${text}`)
    }
    if (levels !== null) clauses.push(`${this.#levelText} = any($${parameters.push(levels)}::text[])`)
    return clauses.join(' and ')
  }
}

function bounds (ranges: readonly Range[]): unknown[] {
  return [ranges.map(({ lo }) => inBigint(lo)), ranges.map(({ hi }) => inBigint(hi))]
}

function inBigint (id: bigint): string {
  return String(id > MAX_ID ? MAX_ID : id < -MAX_ID ? -MAX_ID : id)
}
