/** A row of the log table, as subscribers in the same process get it, with the columns of `columns.extra`. */
export type LogRow<Extra extends object = {}> = LoggedRow & Extra

export interface LoggedRow {
  /** A number; a string from 2^53 on, where a number would not be exact. */
  id: number | string
  /** A number where the column holds integers, as exact as `id`; else a string. */
  run: number | string | null
  /** As written in the table. */
  level: string | null
  /** As written in the table; of one above 16 MiB the beginning. */
  message: string | null
  /** ISO 8601, UTC; null where that cannot express it. */
  timestamp: string | null
  /** The message was longer than 16 MiB: only its first 4 Mi characters are here. */
  truncated?: true
  /** Resume after this row: what `after` and `Last-Event-ID` take. */
  cursor: string
}

/** A row as it was read, before it has a cursor. */
export interface SourceRow {
  readonly id: bigint
  /** The run in text form, by which rings are found. */
  readonly run: string | null
  /** Null where nobody watches the run: only its id was read. */
  readonly content: RowContent | null
}

export interface RowContent {
  readonly level: string | null
  readonly message: string | null
  /** The message is only the beginning of what is in the table. */
  readonly cut: boolean
  readonly timestamp: string | null
  readonly extra: Record<string, unknown> | null
}

/** What a stream is about. */
export interface Filter {
  /** Text form of the run; null: all runs. */
  readonly run: string | null
  /** Names of levels; null: all levels. */
  readonly levels: readonly string[] | null
}

/** A bigint as JSON may carry it. */
export function exact (value: bigint): number | string {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : String(value)
}

/** The same of all that is in a value: a replacer of JSON.stringify(). */
export function exactly (_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? exact(value) : value
}
