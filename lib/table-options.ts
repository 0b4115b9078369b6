import { integer, MAX_TIMER, milliseconds, object, oneOf, text, wrong } from './checks.ts'
import type { RunsOptions } from './postgres/run-ends.ts'
import type { Columns } from './postgres/table.ts'
import { withDefaults, type Texts } from './queue/texts.ts'
import { readPath, readRoute, readStream, readViewer, type ViewerOptions } from './route-options.ts'
import type { FastifyPgTailOptions, StreamRouteOptions } from './settings.ts'

/** All that there is to know of one table. */
export interface TableOptions extends Required<Pick<FastifyPgTailOptions, 'table' | 'channel' | 'payload' | 'install' | 'order' | 'prefix' | 'status' |
  'queueSize' | 'maxSubscribers' | 'heartbeat' | 'retry' | 'stallTimeout' | 'pollInterval'>> {
  /** As metrics, guards and probes have it: its name in `tables`; of a single one, what the option `table` says. */
  name: string
  columns: Columns
  runs: RunsOptions | null
  stream: StreamRouteOptions & { reauthorize: number }
  /** Null: no page. */
  viewer: ViewerOptions | null
  texts: Texts
}

const RESERVED = ['type', 'id', 'run_id', 'run', 'level', 'timestamp', 'message', 'truncated', 'cursor']

/**
 * Everything of one table, with what is said for all.
 * @param name default: what the option `table` says
 * @throws FST_PG_TAIL_OPTION
 */
export function readTable (given: FastifyPgTailOptions, name?: string): TableOptions {
  if (given.source !== undefined) for (const key of ['install', 'channel', 'payload', 'order'] as const) notWithSource(key, given[key])
  const columns = object('columns', given.columns ?? {}, ['id', 'run', 'level', 'message', 'timestamp', 'extra'])
  const texts = object<Partial<Texts>>('texts', given.texts ?? {}, ['connected', 'mode', 'stopped', 'unavailable', 'reset'])
  for (const [name, text] of Object.entries(texts)) {
    if (typeof text !== 'function') throw wrong(`texts.${name}`, text, 'give a function that returns the sentence')
  }
  const pollInterval = milliseconds('pollInterval', given.pollInterval ?? 1000)
  const table = text('table', given.table, 'name the log table as schema.name')
  return {
    name: name ?? table,
    table,
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
    viewer: readViewer(given.viewer ?? false),
    queueSize: integer('queueSize', given.queueSize ?? 1000, 1, 1_000_000),
    maxSubscribers: integer('maxSubscribers', given.maxSubscribers ?? 10_000, 1, 10_000_000),
    heartbeat: milliseconds('heartbeat', given.heartbeat ?? 15_000),
    retry: integer('retry', given.retry ?? 2000, 0, MAX_TIMER),
    stallTimeout: milliseconds('stallTimeout', given.stallTimeout ?? 60_000),
    pollInterval,
    texts: withDefaults(texts, pollInterval)
  }
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

/** @throws FST_PG_TAIL_OPTION where something of PostgreSQL's is said beside another source */
export function notWithSource (name: string, value: unknown): void {
  if (value !== undefined) throw wrong(name, 'given', 'leave it out: with source it is not PostgreSQL')
}
