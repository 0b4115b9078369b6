import type { FastifyBaseLogger } from 'fastify'
import type { TableFigures } from '../metrics.ts'
import { LogQueue } from '../queue/log-queue.ts'
import type { TableOptions } from '../table-options.ts'
import type { Silence } from './silence.ts'
import { SqliteFeed } from './sqlite-feed.ts'

export interface SqliteLogOptions {
  path: string
  options: TableOptions
  /** Milliseconds. */
  timeout: number
  listener: Silence
  log: FastifyBaseLogger
  /** See LogQueueOptions. */
  onlatency: (milliseconds: number) => void
}

/** The parts of one table in the file. */
export class SqliteLog {
  readonly options: TableOptions
  readonly queue: LogQueue
  readonly feed: SqliteFeed
  readonly #listener: Silence

  constructor ({ path, options, timeout, listener, log, onlatency }: SqliteLogOptions) {
    this.options = options
    this.#listener = listener
    this.feed = new SqliteFeed({ ...options, timeout, path, log })
    this.queue = new LogQueue({ ...options, log, feed: this.feed, mode: () => 'poll', onlatency })
    this.feed.connect(this.queue)
  }

  close (): void {
    this.queue.close()
    this.feed.close()
  }

  async status (): Promise<object> {
    const { queues, subscribers, latency_ms: latency } = this.queue.status()
    const { tailer, trouble } = this.feed
    return {
      available: !this.queue.closed && trouble === null,
      timestamp: new Date().toISOString(),
      listener: this.#listener.status(trouble),
      notification_queues: queues,
      table: this.options.table,
      channel: null,
      subscribers,
      watermark: tailer.isAwake ? String(tailer.cursor.high) : null,
      gaps: { open: 0, first: null, held_back: false, held_by: [] },
      doorbell: { state: tailer.isAwake ? 'polling' : 'off', rings: 0, installed: null, missing: [] },
      tailer: tailer.counters,
      latency_ms: latency
    }
  }

  figures (): TableFigures {
    const { current, replaying, subscribed, max, ...counters } = this.queue.status().subscribers
    return {
      table: this.options.name,
      ...this.feed.tailer.counters,
      ...counters,
      bells: 0,
      listening: false,
      gaps: 0,
      subscribers: current,
      replaying
    }
  }
}
