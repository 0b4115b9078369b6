import type { FastifyRequest, LogLevel, RegisterOptions, RouteShorthandOptions } from 'fastify'
import type { Sql } from 'postgres'
import type { RunsOptions } from './postgres/run-ends.ts'
import type { Columns } from './postgres/table.ts'
import type { Texts } from './queue/texts.ts'
import type { Order } from './tail/head.ts'
import type { ReconnectOptions } from './tail/notify-listener.ts'

/**
 * Whether this request may watch: anything but true answers 403. `run` is null where all runs are asked for. `table` is its
 * name in `tables`; of a single one, what the option `table` says; null for the metrics, which are of all.
 */
export type Authorize = (request: FastifyRequest, what: { run: string | null, table: string | null }) => boolean | Promise<boolean>

/** A route: ordinary Fastify route options (`onRequest`, `preHandler`, `config`, `logLevel` …), and these. */
export interface RouteOptions extends RouteShorthandOptions {
  /** Path below the prefix. Default: `/stream`, `/status` or `/metrics`; of the viewer, the prefix itself. */
  path?: string
  /** Awaited before anything is sent; anything but true answers 403. */
  authorize?: Authorize
  /** Open to everybody who can reach the server, on purpose. Default: false. */
  public?: boolean
}

export interface StreamRouteOptions extends RouteOptions {
  /**
   * Milliseconds between further calls of `authorize` while a stream is open. A result other than true, an error, or no
   * answer before the next call is due ends the stream. Default: 0 (never).
   */
  reauthorize?: number
}

/** What is needed of a Registry of prom-client, whose types are there only where it is. */
export interface MetricsRegistry {
  registerMetric: (metric: any) => void
  getSingleMetric: (name: string) => any
}

export interface ViewerRouteOptions extends RouteOptions {
  /** Levels that the page offers before there are rows of them, at most 32; then the most common ones as well. Default: DEBUG, INFO, WARNING, ERROR. */
  levels?: string[]
}

/** What each of several tables may have of its own. */
export interface TableSettings {
  /** The log table, as in SQL: `schema.name`. Required, unless `tables` is given. */
  table?: string
  /** Names of its columns, where they differ from the defaults. */
  columns?: Partial<Columns>
  /** Channel that the trigger notifies, at most 63 bytes. Default: `log_updates`. */
  channel?: string
  /** What the trigger sends: nothing, or each row as JSON, for other programs that LISTEN. Default: `none`. */
  payload?: 'none' | 'row'
  /** true: install the trigger at start. `verify`: log what is missing, and how to fix it. false: log neither. Without a trigger the table is polled. Default: `verify`. */
  install?: boolean | 'verify'
  /** `arrival`: a row goes out once it is committed. `id`: it waits for all lower ids in flight. Default: `arrival`. */
  order?: Order
  /** The table of runs, which tells when a run has ended. Default: none, so only `stop()` ends a run. */
  runs?: Pick<RunsOptions, 'table' | 'finished'> & Partial<RunsOptions>
  /** Path before the routes. Default: `/logs`. */
  prefix?: string
  /** The stream's route. Without a guard it is served all the same, with a warning at start. */
  stream?: StreamRouteOptions
  /** The status route. Without a guard it answers 403. */
  status?: RouteOptions
  /** A page that shows the stream. true: at the prefix, for whoever may watch the stream. Default: false. */
  viewer?: boolean | ViewerRouteOptions
  /** Frames that each ring keeps, and at most as many KiB of text; 1 to 1,000,000. Default: 1000. */
  queueSize?: number
  /** Streams of the table at once on this node; one more gets 503. Default: 10000. */
  maxSubscribers?: number
  /** Sentences for clients, in another language. Default: English. */
  texts?: Partial<Texts>
}

export interface FastifyPgTailOptions extends TableSettings {
  /** URL of the database. Default: `DATABASE_URL` of the environment. */
  connectionString?: string | undefined
  /** Instead of `connectionString`: your own instance of the package `postgres`. Its settings are used for the plugin's own sessions; it is not closed. */
  sql?: Sql<any>
  /** A database that has no NOTIFY, instead of PostgreSQL: the path of an SQLite file, which is polled. Needs Node 22.13. */
  source?: { sqlite: string }
  /** URL for LISTEN, where the other one goes through a pooler. Default: the same. */
  listenConnectionString?: string
  /**
   * Several tables instead of one, by names you choose (letters, digits, `_` and `-`). Each inherits the options given here
   * unless it sets its own; its routes are at its name below the prefix. `stream`, `status` and `viewer` are merged, and guards stay in force.
   */
  tables?: Record<string, TableSettings>
  /**
   * Metrics for Prometheus, by prom-client: in your registry, or at `/metrics` below the prefix, which like the status is
   * closed until you say who may read it. Default: none.
   */
  metrics?: { registry: MetricsRegistry } | RouteOptions
  /** Milliseconds between two heartbeats to clients. Default: 15000. */
  heartbeat?: number
  /** Milliseconds after which a disconnected client should come back (`retry:` of Server-Sent Events); 0 is allowed. Default: 2000. */
  retry?: number
  /** Milliseconds after which a client that takes not a byte is disconnected, at the next heartbeat. Default: 60000. */
  stallTimeout?: number
  /** Milliseconds between two reads where no bells are heard. Default: 1000. */
  pollInterval?: number
  /** Milliseconds without an answer from PostgreSQL after which a link counts as dead; six times that for a replay. Default: 10000. */
  timeout?: number
  /** Milliseconds between two heartbeats of the listener. Default: 30000. */
  listenerHeartbeat?: number
  /** The listener's back-off. */
  reconnect?: Partial<ReconnectOptions>
  /** Fastify's own, for the requests of the routes. */
  logLevel?: LogLevel
  /** Fastify's own, for the requests of the routes. */
  logSerializers?: NonNullable<RegisterOptions['logSerializers']>
}
