/** A row, as the stream has it, with the columns of `columns.extra`. */
export type Row<Extra extends object = {}> = StreamRow & Extra

export interface StreamRow {
  type: 'log'
  /** A number; a string from 2^53 on, where a number would not be exact. */
  id: number | string
  run_id: number | string | null
  level: string | null
  /** ISO 8601, UTC. */
  timestamp: string | null
  message: string | null
  /** The message was too long: this is its beginning. */
  truncated?: true
}

/** A run has ended, and all of its rows were here before. */
export interface Stopped {
  type: 'stopped'
  run_id: number | string | null
  status: string
  /** How many rows the run has in the table. */
  rows: number
  message: string
}

/** What the stream says, as JSON. */
export type Message =
  | Row
  | Stopped
  | { type: 'connected' | 'mode', mode: 'listen' | 'poll', message: string }
  | { type: 'reset', message: string }

/**
 * - `connecting`: the first answer is waited for
 * - `live`: rows arrive as they are committed
 * - `polling`: the server polls the table, or too many tabs watch something else: they take turns, and rows are late by that
 * - `reconnecting`: the connection was lost, or could not be had, or waits until somebody looks at the page (where browsers have no locks: plain HTTP); nothing is missed
 * - `ended`: the run has ended, and all of it is here
 * - `refused`: the server said no, and would again
 * - `closed`: by `close()`
 */
export type State = 'connecting' | 'live' | 'polling' | 'reconnecting' | 'ended' | 'refused' | 'closed'

/** What one leads with: all rows of `cursor` that `base` lacks are in `rows`. */
export interface Statement {
  base: string
  cursor: string
  rows: Row[]
  stopped: Stopped[]
}

/** What tabs that watch the same say to each other. */
export type Word = { from: string } & (
  /** Rows, from whoever leads. `to`: for one tab that has asked. */
  | ({ type: 'rows', life: string, to?: string } & Statement)
  | { type: 'reset', was: string, life: string, message: string }
  | { type: 'state', state: State, message: string }
  /** From one that follows: this is what I have. */
  | { type: 'hello', cursor: string, life: string | null }
  /** Is anybody there, and where? */
  | { type: 'ping' }
)
