import type { FastifyBaseLogger } from 'fastify'
import { Installer } from './installer.ts'
import type { Figures } from './metrics.ts'
import type { TableOptions } from './options.ts'
import { Reader } from './postgres/reader.ts'
import { LogQueue } from './queue/log-queue.ts'
import type { Channel } from './tail/channel.ts'
import { Doorbell } from './tail/doorbell.ts'
import type { NotifyListener } from './tail/notify-listener.ts'
import { TableFeed } from './tail/table-feed.ts'

/** Milliseconds between two reads that no bell asked for. */
const SAFETY_INTERVAL = 30_000
/** The same, where the end of a run rings no bell. */
const RUNS_INTERVAL = 5_000

export interface TableLogOptions {
  options: TableOptions
  listener: NotifyListener
  /** Sessions that all tables share. */
  pool: Reader
  log: FastifyBaseLogger
  onlatency: (table: string, milliseconds: number) => void
}

/** The parts that one table has, and how they hang together. */
export class TableLog {
  readonly options: TableOptions
  readonly queue: LogQueue
  readonly feed: TableFeed
  /** One session: what follows in it follows in time. */
  readonly reader: Reader
  readonly #listener: NotifyListener
  readonly #channel: Channel
  readonly #doorbell: Doorbell
  readonly #installer: Installer

  constructor ({ options, listener, pool, log, onlatency }: TableLogOptions) {
    const { connection, timeout, pollInterval } = options
    this.options = options
    this.#listener = listener
    this.reader = new Reader(connection, { max: 1, name: 'fastify-pg-tail reader', timeout })
    this.feed = new TableFeed({ ...options, log, reader: this.reader, pool, doorbell: () => this.#doorbell })
    this.#installer = new Installer({ options, reader: this.reader, pool, log, prepare: () => this.feed.prepare() })
    this.#channel = listener.hear(options.channel, () => this.#installer.findObstacle())
    this.queue = new LogQueue({ ...options, log, feed: this.feed, mode: () => this.#channel.mode, onlatency: (latency) => onlatency(this.name, latency) })
    this.feed.connect(this.queue)
    this.#doorbell = new Doorbell({
      listener: this.#channel,
      pollInterval,
      safetyInterval: () => this.#installer.installation?.runsBell === false ? RUNS_INTERVAL : SAFETY_INTERVAL,
      log,
      wake: () => this.feed.tailer.wake()
    })
    let { mode } = this.#channel
    this.#channel.on('state', () => {
      if (mode === this.#channel.mode) return
      mode = this.#channel.mode
      this.queue.changeMode(mode)
    })
  }

  get name (): string {
    return this.feed.table?.name ?? this.options.table
  }

  /** Whether it can be read, for all we know. */
  get canRead (): boolean {
    return this.feed.table !== null && !this.feed.isFailing && this.reader.answers
  }

  close (): void {
    this.queue.close()
    this.feed.close()
  }

  async status (): Promise<object> {
    const { tailer, table } = this.feed
    const { queues, subscribers, latency_ms: latency } = this.queue.status()
    const watermark = tailer.watermark
    const { installation } = this.#installer
    const gaps = watermark?.cursor.gaps ?? []
    return {
      available: !this.queue.closed && table !== null,
      timestamp: new Date().toISOString(),
      listener: this.#listener.status(this.#channel),
      notification_queues: queues,
      table: this.name,
      channel: this.options.channel,
      subscribers,
      watermark: watermark === null ? null : String(watermark.high),
      gaps: { open: gaps.length, first: gaps[0] === undefined ? null : String(gaps[0].lo), held_back: tailer.heldBack, held_by: gaps.length > 0 ? await this.#blockers() : [] },
      doorbell: { state: this.#doorbell.state, rings: this.#doorbell.bells, installed: installation?.bell ?? null, missing: installation?.missing ?? [] },
      tailer: tailer.counters,
      latency_ms: latency
    }
  }

  /** For metrics: without a question to the server. */
  figures (): Figures {
    const { tailer } = this.feed
    const { reconnects, mode, pg_queue_usage_percent: queueUsage } = this.#listener.status(this.#channel)
    const { current, replaying, subscribed, max, ...counters } = this.queue.status().subscribers
    return {
      table: this.name,
      ...tailer.counters,
      ...counters,
      bells: this.#doorbell.bells,
      reconnects,
      listening: mode === 'listen',
      queueUsage,
      gaps: tailer.watermark?.gaps.length ?? 0,
      subscribers: current,
      replaying
    }
  }

  /** Who holds gaps open. Without an answer the rest of the status still counts. */
  async #blockers (): Promise<object[]> {
    try {
      return await this.feed.blockers()
    } catch {
      return []
    }
  }
}
