import postgres, { type Sql } from 'postgres'
import { integer, MAX_TIMER, milliseconds, object, text, unknown, wrong } from './checks.ts'
import { readMetrics, readPath, type MetricsOptions } from './route-options.ts'
import { HOOKS } from './routes/guard.ts'
import type { FastifyPgTailOptions, RouteOptions, TableSettings } from './settings.ts'
import { notWithSource, readTable, type TableOptions } from './table-options.ts'
import type { ReconnectOptions } from './tail/notify-listener.ts'

export type { FastifyPgTailOptions } from './settings.ts'

/** What the tables share, and each of them; a single one is called `default`. */
export interface Options extends Required<Pick<FastifyPgTailOptions, 'prefix' | 'timeout' | 'listenerHeartbeat'>> {
  /** Path of an SQLite file; then there are no connections. */
  sqlite: string | null
  connection: string | Sql
  listenConnection: string | Sql
  reconnect: ReconnectOptions
  /** Null: none. */
  metrics: MetricsOptions | null
  tables: Record<string, TableOptions>
}

/** All options, and whether each of several tables may have its own. */
const NAMES: { [name in keyof FastifyPgTailOptions]-?: name extends keyof TableSettings ? true : false } = {
  connectionString: false,
  sql: false,
  source: false,
  listenConnectionString: false,
  table: true,
  tables: false,
  columns: true,
  channel: true,
  payload: true,
  install: true,
  order: true,
  runs: true,
  prefix: true,
  stream: true,
  status: true,
  viewer: true,
  metrics: false,
  queueSize: true,
  maxSubscribers: true,
  heartbeat: false,
  retry: false,
  stallTimeout: false,
  pollInterval: false,
  timeout: false,
  listenerHeartbeat: false,
  reconnect: false,
  texts: true,
  logLevel: false,
  logSerializers: false
}
const KNOWN = Object.keys(NAMES)
const OWN = Object.entries(NAMES).flatMap(([name, own]) => own ? [name] : [])

/**
 * Checks the options and fills in what is missing. The caller's object is left alone.
 * @throws FST_PG_TAIL_OPTION with the name, what came, and what would be right
 */
export function readOptions (given: FastifyPgTailOptions, env: NodeJS.ProcessEnv = process.env): Options {
  if (typeof given !== 'object' || given === null) throw wrong('options', given, 'pass an object with at least { table }')
  for (const [name, value] of Object.entries(given)) if (!KNOWN.includes(name)) throw unknown(name, value, KNOWN)
  const shared = readShared(given, env)
  const tables = given.tables === undefined ? { default: readTable(given) } : readTables(given, given.tables, shared.prefix)
  const { prefix, metrics } = shared
  for (const [name, { prefix: own, viewer }] of Object.entries(tables)) {
    if (viewer !== null && metrics?.route && own + viewer.path === prefix + metrics.route.path) {
      throw wrong('metrics.path', metrics.route.path, `give another one: the viewer of ${name} is there`)
    }
  }
  return { ...shared, tables }
}

function readShared (given: FastifyPgTailOptions, env: NodeJS.ProcessEnv): Omit<Options, 'tables'> {
  const sqlite = readSource(given)
  const connection = sqlite === null ? readConnection(given, env) : ''
  const reconnect = object('reconnect', given.reconnect ?? {}, ['initialDelay', 'maxDelay', 'maxAttempts'])
  const initialDelay = milliseconds('reconnect.initialDelay', reconnect.initialDelay ?? 2000)
  return {
    sqlite,
    connection,
    listenConnection: given.listenConnectionString === undefined ? connection : url('listenConnectionString', given.listenConnectionString),
    prefix: readPath('prefix', given.prefix ?? '/logs'),
    metrics: readMetrics(given.metrics),
    timeout: milliseconds('timeout', given.timeout ?? 10_000),
    listenerHeartbeat: milliseconds('listenerHeartbeat', given.listenerHeartbeat ?? 30_000),
    reconnect: {
      initialDelay,
      maxDelay: integer('reconnect.maxDelay', reconnect.maxDelay ?? Math.max(60_000, initialDelay), initialDelay, MAX_TIMER),
      maxAttempts: integer('reconnect.maxAttempts', reconnect.maxAttempts ?? 10, 1, 1_000_000)
    }
  }
}

/** @param prefix before the names of those that have none of their own */
function readTables (given: FastifyPgTailOptions, tables: Record<string, TableSettings>, prefix: string): Record<string, TableOptions> {
  if (given.table !== undefined) throw wrong('table', given.table, 'give table, or tables, not both')
  const all = new Map<string, TableOptions>()
  for (const [name, own] of Object.entries(object('tables', tables))) {
    if (!/^[\w-]+$/.test(name)) throw wrong('tables', name, 'give each a name of letters, digits, _ and -, for its routes')
    object(`tables.${name}`, own, OWN)
    const options = within(`tables.${name}`, () => readTable({ ...inherit(given, own), prefix: own.prefix ?? `${prefix}/${name}` }, name))
    for (const [other, its] of all) {
      if (its.prefix === options.prefix) throw wrong(`tables.${name}.prefix`, options.prefix, `give another one: tables.${other} has its routes there`)
      if (its.table !== options.table) continue
      for (const what of ['channel', 'payload'] as const) {
        if (its[what] !== options[what]) throw wrong(`tables.${name}.${what}`, options[what], `give the same as tables.${other}: the trigger of ${options.table} has but one`)
      }
    }
    all.set(name, options)
  }
  if (all.size === 0) throw wrong('tables', tables, 'name at least one, such as { scrapes: { table: "public.scraper_log" } }')
  return Object.fromEntries(all)
}

/** What is said for all, and over it what one table says. Of a route it may say a part: what guards it for all stays. */
function inherit (common: FastifyPgTailOptions, own: TableSettings): FastifyPgTailOptions {
  const { stream, status, viewer } = own
  return {
    ...common,
    ...said(own),
    ...stream !== undefined && { stream: over('stream', common.stream, stream) },
    ...status !== undefined && { status: over('status', common.status, status) },
    ...typeof common.viewer === 'object' && viewer !== undefined && viewer !== false && { viewer: over('viewer', common.viewer, viewer === true ? {} : viewer) }
  }
}

function over<T extends object> (name: string, common: T | undefined, own: T): T {
  const both: Record<string, unknown> = { ...object(name, common ?? {}), ...said(object(name, own)) }
  // Hooks of its own come after those for all, which may be the guard.
  for (const hook of HOOKS) {
    const hooks = [common, own].flatMap((route) => (route as RouteOptions | undefined)?.[hook] ?? [])
    if (hooks.length > 0) both[hook] = hooks
  }
  return both as T
}

/** Without what is undefined, which is as good as not said. */
function said<T extends object> (options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>
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
  for (const name of ['connectionString', 'sql', 'listenConnectionString'] as const) notWithSource(name, others[name])
  return text('source.sqlite', source.sqlite, 'give the path of an SQLite file')
}
