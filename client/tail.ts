import type { Row, State, Stopped } from './messages.ts'
import { Watcher } from './watcher.ts'

export type { Row, State, Stopped } from './messages.ts'

/** `Extra` is the type of the columns of `columns.extra`. */
export interface TailOptions<Extra extends object = {}> {
  /** Only rows of this run. Default: all runs. */
  run?: string | number | bigint | null
  /** Only rows of these levels. Default: all levels. An empty list also means all: to show none, close the tail. */
  level?: string | readonly string[] | null
  /** Resume after this cursor; `'0'`: from the start of the table. Goes before `tail`. */
  after?: string
  /** The last so many rows first, at most 100,000. Without it, and without `after`: what comes from now on. */
  tail?: number
  /**
   * Rows in the order of the stream, each once: those of a read together, so that a page paints once. `cursor` is the handle's by then.
   * The tabs may share the objects: leave them as they are.
   */
  onrows?: (rows: Array<Row<Extra>>, cursor: string) => void
  /** The state has changed, or its reason. `message` is a sentence for people: the server's, where it said one. */
  onstate?: (state: State, message: string) => void
  /** The table was started afresh. Forget all rows: those of the new table follow. */
  onreset?: (message: string) => void
  /**
   * A run has ended. Where only that run is watched, the state is `ended` after it; or without it, where the end came while there was no connection.
   * So a stream of all runs that takes turns, or was cut off, may miss some.
   */
  onstopped?: (stopped: Stopped) => void
  /** Closes it, as `close()` does. */
  signal?: AbortSignal
  /** For the requests. Tabs with headers share no connection: they may not have the same rights. */
  headers?: Record<string, string>
  /** For the requests: `include` sends cookies across origins. Default: `same-origin`. */
  credentials?: RequestCredentials
  /**
   * false: always a connection of its own. Default: true. A tab that shares is authorized once, by a request of its own; from then on it
   * receives what the leading tab receives, and `stream.reauthorize` checks the leading tab's session.
   */
  share?: boolean
  /** Milliseconds without a byte after which a connection is given up for another: more than the server's `heartbeat`. Default: 45000. */
  timeout?: number
}

/** What `tail()` gives. */
export interface Tail {
  readonly state: State
  /** Exactly what was handed to `onrows`: give it as `after` to resume. Null until the starting point is known. */
  readonly cursor: string | null
  /** For good. No callback is called any more, but `onstate` with `closed`. */
  close (): void
}

/**
 * Follows a log: `GET /logs/stream` of fastify-pg-tail.
 *
 * ```js
 * import { tail } from 'fastify-pg-tail/client'
 *
 * const log = tail('/logs/stream', {
 *   run: 7,
 *   tail: 100,
 *   onrows: (rows) => { for (const row of rows) console.log(row.level, row.message) },
 *   onstate: (state, message) => console.info(state, message),
 *   onreset: () => console.clear()
 * })
 * ```
 *
 * It reconnects until it is closed, the run has ended, or the server refuses, and goes on from the last row: none is missed, none comes twice.
 * Tabs of an origin that watch the same share one connection, and hold four at most, whatever they watch, also over HTTP/2. Beyond that
 * they take turns of seconds. Without Web Locks (plain HTTP) each has its own, while somebody looks at it.
 *
 * Callbacks, because a row is to be handled once and in order: events would let listeners come late, and whoever iterates could
 * fall behind without a bound.
 *
 * @param url of the stream; relative ones as in a link
 */
export function tail<Extra extends object = {}> (url: string | URL, options: TailOptions<Extra> = {}): Tail {
  const stream = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href)
  const { run, level, after, tail, headers = {}, credentials = 'same-origin', share = true, timeout = 45_000, signal } = options
  const levels = typeof level === 'string' ? level.split(',') : level ?? []
  if (run !== undefined && run !== null) stream.searchParams.set('run_id', String(run))
  // In one order, so that tabs that watch the same know it.
  if (levels.length > 0) stream.searchParams.set('level', [...new Set(levels)].sort().join())
  stream.searchParams.sort()
  stream.hash = ''
  const nothing = () => {}
  const { onstate = nothing, onreset = nothing, onstopped = nothing } = options
  // The columns are named by the server's options, which no type knows.
  const onrows = (options.onrows ?? nothing) as (rows: Row[], cursor: string) => void
  const shared = share && Object.keys(headers).length === 0
  const watcher = new Watcher({ stream, after, tail, headers, credentials, timeout, shared, onrows, onstate, onreset, onstopped })
  if (signal?.aborted) watcher.close()
  else signal?.addEventListener('abort', () => watcher.close(), { once: true })
  return watcher
}
