import type { FastifyBaseLogger } from 'fastify'
import { Installer, type InTurn } from './installer.ts'
import type { TableFigures } from './metrics.ts'
import type { Connection } from './postgres/database.ts'
import { Pool } from './postgres/pool.ts'
import { Reader } from './postgres/reader.ts'
import type { Table } from './postgres/table.ts'
import { LogQueue } from './queue/log-queue.ts'
import type { TableOptions } from './table-options.ts'
import type { Channel } from './tail/channel.ts'
import { Doorbell } from './tail/doorbell.ts'
import type { NotifyListener } from './tail/notify-listener.ts'
import { TableFeed } from './tail/table-feed.ts'
import { within } from './within.ts'

/** Sessions that replay and answer single questions. */
const REPLAYS = { size: 4, kept: 0 }
/** Sessions that look for ends of runs, and at the triggers with each heartbeat. */
const LOOKUPS = { size: 2, kept: 1 }
/** A replay may take longer than a question. */
const PATIENCE = 6
/** Milliseconds between two reads that no bell asked for. */
const SAFETY_INTERVAL = 30_000
/** The same, where the end of a run rings no bell. */
const RUNS_INTERVAL = 5_000
/** Milliseconds that the status waits for who holds gaps open. */
const MAX_LOOKUP = 2000

export interface TableLogOptions {
  options: TableOptions
  connection: Connection
  /** Milliseconds. */
  timeout: number
  listener: NotifyListener
  /** See TableFeedOptions. */
  admit: (table: Table) => void
  /** See InstallerOptions. */
  ringsRuns: boolean
  inTurn: InTurn
  log: FastifyBaseLogger
  /** See LogQueueOptions. */
  onlatency: (milliseconds: number) => void
}

/** The parts that one table has, and how they hang together. */
export class TableLog {
  readonly options: TableOptions
  readonly queue: LogQueue
  readonly feed: TableFeed
  /** One session: what follows in it follows in time. */
  readonly #reader: Reader
  /** Of its own: where this table is locked, replays of others shall not wait. */
  readonly #pool: Pool
  readonly #lookups: Pool
  readonly #listener: NotifyListener
  readonly #channel: Channel
  readonly #doorbell: Doorbell
  readonly #installer: Installer

  constructor ({ options, connection, timeout, listener, admit, ringsRuns, inTurn, log, onlatency }: TableLogOptions) {
    this.options = options
    this.#listener = listener
    const reader = this.#reader = new Reader(connection, { name: 'fastify-pg-tail reader', timeout })
    const pool = this.#pool = new Pool(connection, REPLAYS, { name: 'fastify-pg-tail replay', timeout: timeout * PATIENCE })
    const lookups = this.#lookups = new Pool(connection, LOOKUPS, { name: 'fastify-pg-tail lookup', timeout })
    this.feed = new TableFeed({ ...options, admit, log, reader, pool, lookups, doorbell: () => this.#doorbell })
    this.#installer = new Installer({ options, ringsRuns, inTurn, lookups, pool, log, prepare: () => this.#prepare(), forget: () => this.feed.forget() })
    this.#channel = listener.hear({ name: options.channel, findObstacle: () => this.#installer.findObstacle(), log })
    this.queue = new LogQueue({ ...options, log, feed: this.feed, mode: () => this.#channel.mode, onlatency })
    this.feed.connect(this.queue)
    this.#doorbell = new Doorbell({
      listener: this.#channel,
      pollInterval: options.pollInterval,
      safetyInterval: () => this.#installer.runsBell ? SAFETY_INTERVAL : RUNS_INTERVAL,
      log,
      wake: () => this.feed.tailer.wake()
    })
    let { mode } = this.#channel
    this.#channel.on('state', () => {
      if (mode === this.#channel.mode) return
      mode = this.#channel.mode
      this.queue.tellMode()
    })
  }

  /** Whether it can be read, for all we know. */
  get canRead (): boolean {
    return this.feed.table !== null && !this.feed.isFailing && this.#reader.answers
  }

  /** Lets go of sessions that may be dead. */
  renew (): void {
    this.#reader.renew()
    this.#pool.renew()
    this.#lookups.renew()
  }

  /** Its sessions stay for whoever is still at something. */
  close (): void {
    this.queue.close()
    this.feed.close()
  }

  async disconnect (): Promise<void> {
    await Promise.all([this.#reader, this.#pool, this.#lookups].map((each) => each.close()))
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
      table: table?.name ?? this.options.table,
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
  figures (): TableFigures {
    const { tailer } = this.feed
    const { current, replaying, subscribed, max, ...counters } = this.queue.status().subscribers
    return {
      table: this.options.name,
      ...tailer.counters,
      ...counters,
      bells: this.#doorbell.bells,
      listening: this.#channel.mode === 'listen',
      gaps: tailer.watermark?.gaps.length ?? 0,
      subscribers: current,
      replaying
    }
  }

  /** Who holds gaps open. Without an answer in time the rest of the status still counts. */
  async #blockers (): Promise<object[]> {
    try {
      return await within<object[]>(MAX_LOOKUP, [], (isWanted) => this.feed.blockers(isWanted))
    } catch {
      return []
    }
  }

  async #prepare (): Promise<Table> {
    // While nobody watches, nobody else would notice that it answers again.
    if (!this.#reader.answers) await this.#reader.answer((sql) => sql`select 1`)
    return this.feed.prepare()
  }
}
