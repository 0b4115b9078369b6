import type { FastifyRequest, LogLevel, RegisterOptions, RouteShorthandOptions } from 'fastify'
import postgres, { type Sql } from 'postgres'
import { integer, MAX_TIMER, milliseconds, object, oneOf, text, unknown, wrong } from './checks.ts'
import type { RunsOptions } from './postgres/run-ends.ts'
import type { Columns } from './postgres/table.ts'
import type { Texts } from './queue/log-queue.ts'
import type { Order } from './tail/head.ts'
import type { ReconnectOptions } from './tail/notify-listener.ts'

/** Whether this request may watch. `run` is null where all runs are asked for. */
export type Authorize = (request: FastifyRequest, what: { run: string | null }) => boolean | Promise<boolean>

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

export interface FastifyPgTailOptions {
  /** URL of the database. Default: `DATABASE_URL` of the environment. */
  connectionString?: string
  /** The host's own `postgres` instance: its settings are used, for sessions of the plugin's own. It is not closed. */
  sql?: Sql<any>
  /** A database that has no NOTIFY, instead of PostgreSQL: the path of an SQLite file, which is polled. Needs Node 22.13. */
  source?: { sqlite: string }
  /** URL for LISTEN, where the other one goes through a pooler. Default: the same. */
  listenConnectionString?: string
  /** The log table, as SQL would write it: `schema.name`. */
  table?: string
  /**
   * Several of them instead, by names of yours. Each has what is said here, unless it says otherwise, and its routes at
   * its name below the prefix.
   */
  tables?: Record<string, TableSettings>
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
  /**
   * Metrics for Prometheus, made with prom-client: in the host's registry, or at `/metrics` below the prefix, which is
   * closed until somebody says who may read it, like the status. Default: none.
   */
  metrics?: { registry: MetricsRegistry } | RouteOptions
  /** A page that shows the stream. true: at the prefix, for whoever may watch the stream. Default: false. */
  viewer?: boolean | ViewerRouteOptions
  /** Frames that each ring keeps, and that many KiB at most. Default: 1000. */
  queueSize?: number
  /** Streams at once; one more is answered 503. Default: 10000. */
  maxSubscribers?: number
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
  /** Sentences for clients, for another language. */
  texts?: Partial<Texts>
  /** Fastify's own, for the requests of the routes. */
  logLevel?: LogLevel
  /** Fastify's own, for the requests of the routes. */
  logSerializers?: NonNullable<RegisterOptions['logSerializers']>
}

/** What each of several tables may have of its own. */
export type TableSettings = Pick<FastifyPgTailOptions, (typeof OWN)[number]>

/** All that there is to know of one table. */
export interface TableOptions extends Required<Omit<FastifyPgTailOptions, 'tables' | 'connectionString' | 'listenConnectionString' | 'sql' | 'source' | 'columns' | 'runs' | 'stream' | 'viewer' | 'metrics' | 'reconnect' | 'texts' | 'logLevel' | 'logSerializers'>> {
  connection: string | Sql
  listenConnection: string | Sql
  /** Path of an SQLite file; then there are no connections. */
  sqlite: string | null
  columns: Columns
  runs: RunsOptions | null
  stream: StreamRouteOptions & { reauthorize: number }
  /** Without a registry of the host's, with a route. */
  metrics: { registry: MetricsRegistry | null, route: RouteOptions | null } | null
  /** Null: no page. */
  viewer: (ViewerRouteOptions & { levels: string[] }) | null
  reconnect: ReconnectOptions
  texts: Texts
}

/** What they share, and each of them; a single one is called `default`. */
export interface Options extends TableOptions {
  tables: Record<string, TableOptions>
}

const OWN = ['table', 'columns', 'channel', 'payload', 'install', 'order', 'runs', 'prefix', 'stream', 'status', 'viewer', 'queueSize', 'maxSubscribers', 'texts'] as const
const KNOWN = ['connectionString', 'sql', 'source', 'listenConnectionString', 'table', 'tables', 'columns', 'channel', 'payload', 'install', 'order', 'runs',
  'prefix', 'stream', 'status', 'viewer', 'metrics', 'queueSize', 'maxSubscribers', 'heartbeat', 'retry', 'stallTimeout', 'pollInterval', 'timeout',
  'listenerHeartbeat', 'reconnect', 'texts', 'logLevel', 'logSerializers']
const RESERVED = ['type', 'id', 'run_id', 'run', 'level', 'timestamp', 'message', 'truncated', 'cursor']

/**
 * Checks the options and fills in what is missing. The caller's object is left alone.
 * @throws FST_PG_TAIL_OPTION with the name, what came, and what would be right
 */
export function readOptions (given: FastifyPgTailOptions, env: NodeJS.ProcessEnv = process.env): Options {
  if (typeof given !== 'object' || given === null) throw wrong('options', given, 'pass an object with at least { table }')
  for (const [name, value] of Object.entries(given)) if (!KNOWN.includes(name)) throw unknown(name, value, KNOWN)
  const { tables, ...common } = given
  if (tables === undefined) {
    const only = readTable(given, env)
    return { ...only, tables: { default: only } }
  }
  if (given.table !== undefined) throw wrong('table', given.table, 'give table, or tables, not both')
  const prefix = readPath('prefix', given.prefix ?? '/logs')
  const all = new Map<string, TableOptions>()
  for (const [name, own] of Object.entries(object('tables', tables))) {
    if (!/^[\w-]+$/.test(name)) throw wrong('tables', name, 'give each a name of letters, digits, _ and -, for its routes')
    object(`tables.${name}`, own, OWN)
    const options = within(`tables.${name}`, () => readTable({ ...common, ...own, prefix: own.prefix ?? `${prefix}/${name}` }, env))
    for (const [other, { prefix }] of all) {
      if (prefix === options.prefix) throw wrong(`tables.${name}.prefix`, prefix, `give another one: tables.${other} has its routes there`)
    }
    all.set(name, options)
  }
  const [first] = all.values()
  if (first === undefined) throw wrong('tables', tables, 'name at least one, such as { scrapes: { table: "public.scraper_log" } }')
  return { ...first, prefix, tables: Object.fromEntries(all) }
}

function readTable (given: FastifyPgTailOptions, env: NodeJS.ProcessEnv): TableOptions {
  const sqlite = readSource(given)
  const connection = sqlite === null ? readConnection(given, env) : ''
  const columns = object('columns', given.columns ?? {}, ['id', 'run', 'level', 'message', 'timestamp', 'extra'])
  const reconnect = object('reconnect', given.reconnect ?? {}, ['initialDelay', 'maxDelay', 'maxAttempts'])
  const initialDelay = milliseconds('reconnect.initialDelay', reconnect.initialDelay ?? 2000)
  const texts = object('texts', given.texts ?? {}, ['connected', 'mode', 'stopped', 'reset'])
  for (const [name, text] of Object.entries(texts)) {
    if (typeof text !== 'function') throw wrong(`texts.${name}`, text, 'give a function that returns the sentence')
  }
  const pollInterval = milliseconds('pollInterval', given.pollInterval ?? 1000)
  return {
    sqlite,
    connection,
    listenConnection: given.listenConnectionString === undefined ? connection : url('listenConnectionString', given.listenConnectionString),
    table: text('table', given.table, 'name the log table as schema.name'),
    columns: {
      id: text('columns.id', columns.id ?? 'id'),
      run: text('columns.run', columns.run ?? 'run_id'),
      level: text('columns.level', columns.level ?? 'level'),
      message: text('columns.message', columns.message ?? 'message'),
      timestamp: text('columns.timestamp', columns.timestamp ?? 'created_at'),
      extra: readExtra(columns.extra ?? [])
    },
    channel: readChannel(given.channel ?? 'log_updates'),
    payload: oneOf('payload', given.payload ?? 'none', ['none', 'row']),
    install: oneOf('install', given.install ?? 'verify', [true, 'verify', false]),
    order: oneOf('order', given.order ?? 'arrival', ['arrival', 'id']),
    runs: readRuns(given.runs),
    prefix: readPath('prefix', given.prefix ?? '/logs'),
    stream: readStream(given.stream ?? {}),
    status: readRoute('status', given.status ?? {}, '/status'),
    metrics: readMetrics(given.metrics),
    viewer: readViewer(given.viewer ?? false),
    queueSize: integer('queueSize', given.queueSize ?? 1000, 1, 1_000_000),
    maxSubscribers: integer('maxSubscribers', given.maxSubscribers ?? 10_000, 1, 10_000_000),
    heartbeat: milliseconds('heartbeat', given.heartbeat ?? 15_000),
    retry: integer('retry', given.retry ?? 2000, 0, MAX_TIMER),
    stallTimeout: milliseconds('stallTimeout', given.stallTimeout ?? 60_000),
    pollInterval,
    timeout: milliseconds('timeout', given.timeout ?? 10_000),
    listenerHeartbeat: milliseconds('listenerHeartbeat', given.listenerHeartbeat ?? 30_000),
    reconnect: {
      initialDelay,
      maxDelay: integer('reconnect.maxDelay', reconnect.maxDelay ?? Math.max(60_000, initialDelay), initialDelay, MAX_TIMER),
      maxAttempts: integer('reconnect.maxAttempts', reconnect.maxAttempts ?? 10, 1, 1_000_000)
    },
    texts: orDefault({
      connected: (mode) => mode === 'listen' ? 'Connected to log stream (PostgreSQL LISTEN/NOTIFY)' : `Connected to log stream (polling every ${pollInterval} ms)`,
      mode: (mode) => mode === 'listen' ? 'Rows arrive by PostgreSQL LISTEN/NOTIFY again' : `LISTEN/NOTIFY is not available at the moment: polling every ${pollInterval} ms`,
      stopped: (status) => status === 'stopped' ? 'Run was stopped' : `Run ${status}`,
      reset: () => 'The log was started afresh: what was shown before is gone'
    }, texts)
  }
}

/** Says where a wrong option was found. */
function within<T> (name: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    (error as Error).message += ` (in ${name})`
    throw error
  }
}

/** The given sentences; where one of them throws, or is no text, the default: no stream shall suffer for it. */
function orDefault (defaults: Texts, given: Partial<Texts>): Texts {
  const all: Record<string, (arg: any) => string> = { ...defaults }
  for (const [name, make] of Object.entries(given) as Array<[keyof Texts, (arg: any) => string]>) {
    all[name] = (arg) => {
      try {
        const sentence = make(arg)
        if (typeof sentence === 'string') return sentence
      } catch {}
      return (defaults[name] as (arg: any) => string)(arg)
    }
  }
  return all as unknown as Texts
}

function url (name: string, value: unknown): string {
  const right = 'give a URL such as postgres://user:password@host:5432/database'
  if (typeof value !== 'string' || !/^postgres(?:ql)?:\/\//.test(value)) throw wrong(name, value, right)
  // What is between two of them the driver would take for a host, which errors name.
  if (/^[^/]*\/\/[^/?]*@[^/?]*@/.test(value)) throw wrong(name, value, `${right}; an @ in the password as %40`)
  try {
    // As the driver reads it; it opens no connection yet.
    postgres(value)
  } catch {
    throw wrong(name, value, `${right}; special characters in it as %25 and the like`)
  }
  return value
}

function readConnection ({ sql, connectionString }: FastifyPgTailOptions, env: NodeJS.ProcessEnv): string | Sql {
  if (sql !== undefined) {
    if (connectionString !== undefined) throw wrong('sql', sql, 'give sql or connectionString, not both')
    if (typeof sql !== 'function' || typeof sql.listen !== 'function') throw wrong('sql', sql, 'give an instance of the package postgres')
    return sql
  }
  if (connectionString === undefined && !env.DATABASE_URL) {
    throw wrong('connectionString', connectionString, 'give a URL such as postgres://user:password@host:5432/database, or set DATABASE_URL')
  }
  return url('connectionString', connectionString ?? env.DATABASE_URL)
}

function readSource ({ source, ...others }: FastifyPgTailOptions): string | null {
  if (source === undefined) return null
  object('source', source, ['sqlite'])
  for (const name of ['connectionString', 'sql', 'listenConnectionString', 'install'] as const) {
    if (others[name] !== undefined) throw wrong(name, 'given', 'leave it out: with source it is not PostgreSQL')
  }
  return text('source.sqlite', source.sqlite, 'give the path of an SQLite file')
}

function readExtra (extra: unknown): string[] {
  if (!Array.isArray(extra)) throw wrong('columns.extra', extra, 'give an array of column names')
  for (const name of extra) {
    text('columns.extra', name, 'give an array of column names')
    if (RESERVED.includes(name)) throw wrong('columns.extra', name, `a message has that field already; reserved are ${RESERVED.join(', ')}`)
  }
  return [...extra]
}

function readChannel (channel: unknown): string {
  if (Buffer.byteLength(text('channel', channel)) > 63) throw wrong('channel', channel, 'PostgreSQL takes at most 63 bytes')
  return channel as string
}

function readRuns (runs: FastifyPgTailOptions['runs']): RunsOptions | null {
  if (runs === undefined) return null
  object('runs', runs, ['table', 'id', 'status', 'finished'])
  if (!Array.isArray(runs.finished) || runs.finished.length === 0 || runs.finished.some((status) => typeof status !== 'string')) {
    throw wrong('runs.finished', runs.finished, "give the statuses of a run that has ended, such as ['finished', 'failed']")
  }
  return {
    table: text('runs.table', runs.table, 'name the table of runs as schema.name'),
    id: text('runs.id', runs.id ?? 'id'),
    status: text('runs.status', runs.status ?? 'status'),
    finished: [...runs.finished]
  }
}

function readPath (name: string, path: unknown): string {
  if (path === '') return ''
  if (typeof path !== 'string' || !path.startsWith('/') || path === '/') throw wrong(name, path, 'give a path such as /logs')
  return path.replace(/\/$/, '')
}

function readStream (given: StreamRouteOptions): TableOptions['stream'] {
  const { reauthorize = 0, ...route } = object('stream', given)
  integer('stream.reauthorize', reauthorize, 0, MAX_TIMER)
  if (reauthorize > 0 && route.authorize === undefined) throw wrong('stream.reauthorize', reauthorize, 'set stream.authorize, which is to be asked')
  return { ...readRoute('stream', route, '/stream'), reauthorize }
}

function readMetrics (given: FastifyPgTailOptions['metrics']): TableOptions['metrics'] {
  if (given === undefined) return null
  const { registry, ...route } = object('metrics', given) as { registry?: MetricsRegistry }
  if (registry === undefined) return { registry: null, route: readRoute('metrics', route, '/metrics') }
  if (typeof registry?.registerMetric !== 'function') throw wrong('metrics.registry', registry, 'give a Registry of prom-client')
  const [other] = Object.keys(route)
  if (other !== undefined) throw wrong(`metrics.${other}`, 'given', 'leave it out: a registry of your own is served by you')
  return { registry, route: null }
}

function readViewer (given: boolean | ViewerRouteOptions): TableOptions['viewer'] {
  if (given === false) return null
  const { levels = ['DEBUG', 'INFO', 'WARNING', 'ERROR'], ...route } = given === true ? {} : object<ViewerRouteOptions>('viewer', given)
  if (!Array.isArray(levels) || levels.length > 32 || levels.some((level) => typeof level !== 'string' || !/^[^,\0]{1,64}$/.test(level))) {
    throw wrong('viewer.levels', levels, "give names of levels, such as ['info', 'error']")
  }
  return { ...readRoute('viewer', route, ''), levels: [...levels] }
}

/** Ordinary options of Fastify are handed through, so what is not ours may be theirs. */
function readRoute (name: string, route: RouteOptions, path: string): RouteOptions {
  const { authorize, public: open, ...others } = object(name, route)
  if ('reauthorize' in others) throw wrong(`${name}.reauthorize`, others.reauthorize, 'only streams stay open: leave it out')
  if (authorize !== undefined && typeof authorize !== 'function') throw wrong(`${name}.authorize`, authorize, 'give a function that returns true or false')
  if (open !== undefined && typeof open !== 'boolean') throw wrong(`${name}.public`, open, 'give true or false')
  return { ...route, path: readPath(`${name}.path`, route.path ?? path) }
}
