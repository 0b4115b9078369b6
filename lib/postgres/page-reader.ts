import type { Sql } from 'postgres'
import type { SourceRow } from '../row.ts'
import { epochOf } from './epoch.ts'
import { ON_STANDBY, onPrimary } from './primary.ts'
import { query, quote } from './query.ts'
import type { Table } from './table.ts'

/** Most rows of one read. */
export const PAGE_ROWS = 1000
/**
 * A page ends early once its messages and extra columns have this many bytes: big rows come a few at a time. A slow client keeps
 * its last page alive until it has taken it, and the ring shall hold some pages, so that who is not slow stays in it.
 */
export const PAGE_BYTES = 256 * 1024
/** Bytes of a message above which only its beginning is read: a text may have 1 GiB, a string of V8 not. */
export const MAX_MESSAGE = 16 * 1024 * 1024
/** Characters, which have 4 bytes at most. */
export const MESSAGE_START = MAX_MESSAGE / 4

export interface Page {
  /** Ascending by id. */
  rows: SourceRow[]
  /** The page is full: what was asked for is read up to its last row only. */
  more: boolean
  /** See SequenceState. Empty where it was not asked for. */
  epoch: string
}

/** The statement that reads a page of rows, and what it answers. */
export class PageReader {
  readonly #table: Table
  /** The few statements there are, by what is asked. To write them for each read was 3 % of the node's time where reads are small. */
  readonly #texts = new Map<string, string>()

  constructor (table: Table) {
    this.#table = table
  }

  /**
   * The rows that are visible at one moment.
   * @param ranges of ids, as SQL: $1 and $2
   * @param where which rows, as SQL
   * @param wanted of which of them the contents are, as SQL
   * @param parameters of these three; it is added to
   * @param judged whether anybody wants to know the epoch: to ask for it takes a sixth of a small page
   */
  async read (sql: Sql, ranges: string, where: string, wanted: string, parameters: unknown[], judged: boolean): Promise<Page> {
    const epoch = judged ? epochOf(`$${parameters.push(this.#table.name)}::text`, this.#table) : "''"
    const key = [ranges, where, wanted, judged].join()
    let text = this.#texts.get(key)
    if (text === undefined) {
      text = this.#pageText(ranges, where, wanted, epoch)
      this.#texts.set(key, text)
    }
    const all = await query(sql, text, parameters)
    const first = onPrimary(all)
    // Where there is none, one without an id.
    const rows = all[0]!['id_text'] === null ? [] : all
    return {
      rows: rows.map((row) => this.#row(row)),
      more: rows.length === PAGE_ROWS || (rows.at(-1)?.['last'] ?? null) !== null,
      epoch: first['epoch']
    }
  }

  #pageText (ranges: string, where: string, wanted: string, epoch: string): string {
    const { extra, ...columns } = this.#table.columns
    const of = (name: string) => `t.${quote(name)}`
    const id = of(columns.id)
    const run = of(columns.run)
    const message = `${of(columns.message)}::text`
    const time = of(columns.timestamp)
    const long = `octet_length(${message}) > ${MAX_MESSAGE}`
    const contents = [
      `${of(columns.level)}::text as level`,
      `case when ${long} then left(${message}, ${MESSAGE_START}) else ${message} end as message`,
      `nullif(${long}, false) as cut`,
      // Beyond, a date is no timestamp for PostgreSQL, or a timestamp no time for JavaScript.
      `case when ${time} between '4000-01-01 BC' and '200000-01-01' then ${time}::timestamptz end as ts`,
      ...extra.map((name, i) => `${of(name)} as x${i}`)
    ].map((column) => `case when ${wanted} then ${column.replace(/ as \w+$/, ' end$&')}`)
    // ORDER BY takes the name of an output column first, so none of them has a name of the table's.
    // octet_length() does not unpack a large text: only what the page carries is read in full. Of what is no text, only the size on disk is known before.
    const size = ['octet_length(message)', ...extra.map((name, i) => this.#table.texts.includes(name) ? `octet_length(x${i}::text)` : `pg_column_size(x${i})`)]
      .map((bytes) => `coalesce(${bytes}, 0)`).join(' + ')
    const only = (of: string) => `case when place > 1 then null else ${of} end as ${of}`
    // What says nothing is null, and what is the same in all rows is in the first alone: each value that is sent takes the driver
    // as long as a tenth of its row. Whether one is null is all that is asked of it: what a boolean is, a parser of the host's may say.
    return `
      select row_id::text as id_text, run, unread, level, message, cut, ts, ${extra.map((_name, i) => `x${i}, `).join('')}
        nullif(before + size >= ${PAGE_BYTES}, false) as last, ${only('epoch')}, ${only('standby')}
      from (select ${epoch} as epoch, ${ON_STANDBY}) server left join (
        select p.*, row_number() over w as place, coalesce(sum(size) over w, 0) as before
        from (
          select t.*, ${size} as size
          from (
            select ${id}::bigint as row_id, ${run}::text as run, nullif(not ${wanted}, false) as unread, ${contents.join(', ')}
            from unnest(${ranges}) as g(lo, hi) cross join lateral (
              select * from ${this.#table.name} t where ${id} between g.lo and g.hi and ${where}
              order by ${id} limit ${PAGE_ROWS}
            ) t
            order by row_id limit ${PAGE_ROWS}
          ) t
        ) p
        window w as (order by row_id rows between unbounded preceding and 1 preceding)
      ) q on before < ${PAGE_BYTES} order by place`
  }

  #row (row: Record<string, any>): SourceRow {
    const { extra } = this.#table.columns
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
}

/** `infinity` and years that ISO 8601 cannot write have no time. */
function isoTime (value: unknown): string | null {
  const time = value instanceof Date ? value : new Date(String(value))
  return Number.isNaN(time.getTime()) ? null : time.toISOString()
}
