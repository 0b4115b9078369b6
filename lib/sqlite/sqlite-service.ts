import { EventEmitter } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import { isRefusal } from '../errors.ts'
import type { Figures, TableFigures } from '../metrics.ts'
import type { Options } from '../options.ts'
import { LogQueue } from '../queue/log-queue.ts'
import type { TableOptions } from '../table-options.ts'
import type { ListenerEvents, ListenerState, Mode } from '../tail/channel.ts'
import type { Listener, ListenerStatus } from '../tail/notify-listener.ts'
import { SqliteFeed } from './sqlite-feed.ts'
import { SqliteTable } from './sqlite-table.ts'

const REASON = 'SQLite has no NOTIFY'

/** In the place of the listener: nothing can be heard, and that is said. */
class Silence extends EventEmitter<ListenerEvents> implements Listener {
  readonly mode: Mode = 'poll'
  readonly #canRead: (table?: string) => boolean
  #state: ListenerState = 'idle'

  constructor (canRead: (table?: string) => boolean) {
    super()
    this.#canRead = canRead
  }

  get state (): ListenerState {
    return this.#state
  }

  isReady (table?: string): boolean {
    return this.#state === 'polling' && this.#canRead(table)
  }

  status (): ListenerStatus {
    return {
      running: this.#state === 'polling',
      connection_healthy: false,
      state: this.#state,
      mode: this.mode,
      reconnect_attempts: 0,
      max_reconnect_attempts: 0,
      reconnects: 0,
      pg_queue_usage_percent: null,
      last_error: REASON
    }
  }

  become (state: 'polling' | 'closed', reason: string): void {
    if (state === this.#state || this.#state === 'closed') return
    this.#state = state
    this.emit('state', state, reason)
  }
}

/** The parts of one table in the file. */
class SqliteLog {
  readonly options: TableOptions
  readonly queue: LogQueue
  readonly feed: SqliteFeed
  readonly #listener: Silence

  constructor (file: string, options: TableOptions, listener: Silence, log: FastifyBaseLogger, onlatency: (milliseconds: number) => void) {
    const { table, columns, runs, pollInterval } = options
    this.options = options
    this.#listener = listener
    this.feed = new SqliteFeed({ open: () => SqliteTable.open(file, table, columns, runs), pollInterval, log })
    this.queue = new LogQueue({ ...options, log, feed: this.feed, mode: () => 'poll', onlatency })
    this.feed.connect(this.queue)
  }

  async status (): Promise<object> {
    const { queues, subscribers, latency_ms: latency } = this.queue.status()
    return {
      available: !this.queue.closed && this.feed.isOpen,
      timestamp: new Date().toISOString(),
      listener: this.#listener.status(),
      notification_queues: queues,
      table: this.options.table,
      channel: null,
      subscribers,
      watermark: this.feed.isAwake ? String(this.feed.cursor.high) : null,
      gaps: { open: 0, first: null, held_back: false, held_by: [] },
      doorbell: { state: this.feed.isAwake ? 'polling' : 'off', rings: 0, installed: null, missing: [] },
      tailer: this.feed.counters,
      latency_ms: latency
    }
  }

  get canRead (): boolean {
    return this.feed.isOpen && !this.feed.isFailing
  }

  figures (): TableFigures {
    const { current, replaying, subscribed, max, ...counters } = this.queue.status().subscribers
    return {
      table: this.options.name,
      ...this.feed.counters,
      ...counters,
      bells: 0,
      listening: false,
      gaps: 0,
      subscribers: current,
      replaying
    }
  }
}

/** As `Service`, for tables of an SQLite file: polled for. */
export class SqliteService {
  readonly listener: Silence
  readonly logs: ReadonlyMap<string, SqliteLog>
  onlatency: (table: string, milliseconds: number) => void = () => {}
  readonly #log: FastifyBaseLogger

  constructor (file: string, { tables }: Options, log: FastifyBaseLogger) {
    this.#log = log
    this.listener = new Silence((name) => name === undefined ? this.#all.some(({ canRead }) => canRead) : this.logs.get(name)?.canRead === true)
    this.logs = new Map(Object.entries(tables).map(([name, options]) => [name, new SqliteLog(
      file, options, this.listener, Object.keys(tables).length === 1 ? log : log.child({ log: name }), (latency) => this.onlatency(options.name, latency)
    )]))
  }

  get #all (): SqliteLog[] {
    return [...this.logs.values()]
  }

  /** @throws FST_PG_TAIL_TABLE where a table is not fit for it, FST_PG_TAIL_OPTION where this Node cannot read SQLite */
  async start (): Promise<void> {
    try {
      await Promise.all(this.#all.map(({ feed }) => feed.prepare()))
    } catch (error) {
      if (isRefusal(error) || (error as { code?: string }).code === 'FST_PG_TAIL_OPTION') {
        await this.close()
        throw error
      }
      this.#log.warn({ err: error }, 'the SQLite file cannot be opened: starting all the same, and trying again')
    }
    this.#log.info({ reason: REASON }, 'polling mode: rows are polled for')
    this.listener.become('polling', REASON)
  }

  async endStreams (): Promise<void> {
    await Promise.all(this.#all.map(({ queue }) => queue.close()))
  }

  async close (): Promise<void> {
    this.listener.become('closed', 'closed')
    for (const { queue, feed } of this.#all) {
      queue.close()
      feed.close()
    }
  }

  figures (): Figures {
    return { reconnects: 0, queueUsage: null, tables: this.#all.map((log) => log.figures()) }
  }
}
