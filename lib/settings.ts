import type { FastifyRequest, LogLevel, RegisterOptions, RouteShorthandOptions } from 'fastify'
import type { Sql } from 'postgres'
import type { Columns } from './postgres/table.ts'
import type { Texts } from './queue/log-queue.ts'
import type { Order } from './tail/head.ts'
import type { ReconnectOptions } from './tail/notify-listener.ts'

/**
 * Whether this request may watch. `run` is null where all runs are asked for. `table` is its name in `tables`; of a
 * single one, what the option `table` says; null for the metrics, which are of all.
 */
export type Authorize = (request: FastifyRequest, what: { run: string | null, table: string | null }) => boolean | Promise<boolean>

/** A route of ours: ordinary Fastify route options, and these. */
export interface RouteOptions extends RouteShorthandOptions {
  /** Path below the prefix. Default: `/stream` or `/status`. */
  path?: string
  /** Asked before anything is sent; false answers 403. */
  authorize?: Authorize
  /** Open to everybody who can reach the server, on purpose. Default: false. */
  public?: boolean
}

export interface StreamRouteOptions extends RouteOptions {
  /**
   * Milliseconds after which `authorize` is asked again about a stream that is open, and so on. Whoever may not
   * any more, or is not answered for within as long again, is shown out. Default: 0, never.
   */
  reauthorize?: number
}

/** What is needed of a Registry of prom-client, whose types are there only where it is. */
export interface MetricsRegistry {
  registerMetric: (metric: any) => void
  getSingleMetric: (name: string) => any
}

export interface ViewerRouteOptions extends RouteOptions {
  /** Names of levels that the page offers at once; others once there is a row of them. Default: DEBUG, INFO, WARNING, ERROR. */
  levels?: string[]
}

/** What each of several tables may have of its own. */
export interface TableSettings {
  /** The log table, as SQL would write it: `schema.name`. */
  table?: string
  /** Its columns. Default: id, run_id, level, message, created_at; `extra` ones are handed through. */
  columns?: Partial<Columns>
  /** Channel on which the trigger rings. Default: `log_updates`. */
  channel?: string
  /** What the trigger that `install` makes sends: nothing, or each row as JSON for other programs that LISTEN. Default: `none`. */
  payload?: 'none' | 'row'
  /** true: install the trigger at start. `verify`: say what is missing, and poll. false: say nothing. Default: `verify`. */
  install?: boolean | 'verify'
  /** `arrival`: a row goes out once it is committed. `id`: it waits for all lower ids in flight. Default: `arrival`. */
  order?: Order
  /** The table of runs, by which the end of a run is known. Default: none. */
  runs?: { table: string, id?: string, status?: string, finished: string[] }
  /** Path before the routes. Default: `/logs`. */
  prefix?: string
  stream?: StreamRouteOptions
  status?: RouteOptions
  /** A page that shows the stream. true: at the prefix, for whoever may watch the stream. Default: false. */
  viewer?: boolean | ViewerRouteOptions
  /** Frames that each ring keeps, and that many KiB at most. Default: 1000. */
  queueSize?: number
  /** Streams at once; one more is answered 503. Default: 10000. */
  maxSubscribers?: number
  /** Sentences for clients, for another language. */
  texts?: Partial<Texts>
}

export interface FastifyPgTailOptions extends TableSettings {
  /** URL of the database. Default: `DATABASE_URL` of the environment. */
  connectionString?: string
  /** The host's own `postgres` instance: its settings are used, for sessions of the plugin's own. It is not closed. */
  sql?: Sql<any>
  /** A database that has no NOTIFY, instead of PostgreSQL: the path of an SQLite file, which is polled. Needs Node 22.13. */
  source?: { sqlite: string }
  /** URL for LISTEN, where the other one goes through a pooler. Default: the same. */
  listenConnectionString?: string
  /**
   * Several tables instead of one, by names of yours. Each has what is said here, unless it says otherwise, and its
   * routes at its name below the prefix. Of `stream`, `status` and `viewer` it may say a part: guards stay.
   */
  tables?: Record<string, TableSettings>
  /**
   * Metrics for Prometheus, made with prom-client: in the host's registry, or at `/metrics` below the prefix, which is
   * closed until somebody says who may read it, like the status. Default: none.
   */
  metrics?: { registry: MetricsRegistry } | RouteOptions
  /** Milliseconds between two heartbeats to clients. Default: 15000. */
  heartbeat?: number
  /** Milliseconds after which a client should come back. Default: 2000. */
  retry?: number
  /** Milliseconds after which a client that takes nothing is cut off. Default: 60000. */
  stallTimeout?: number
  /** Milliseconds between two reads where no bells are heard. Default: 1000. */
  pollInterval?: number
  /** Milliseconds without an answer after which a link to PostgreSQL is dead. Default: 10000. */
  timeout?: number
  /** Milliseconds between two heartbeats of the listener. Default: 30000. */
  listenerHeartbeat?: number
  /** How the listener comes back. Default: 2000 to 60000 ms, 10 tries until an error is logged. */
  reconnect?: Partial<ReconnectOptions>
  /** Fastify's own, for the requests of the routes. */
  logLevel?: LogLevel
  /** Fastify's own, for the requests of the routes. */
  logSerializers?: NonNullable<RegisterOptions['logSerializers']>
}
