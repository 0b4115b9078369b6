import type { FastifyBaseLogger } from 'fastify'
import { backoff } from './backoff.ts'
import type { Figures } from './metrics.ts'
import { errors } from './errors.ts'
import type { Options } from './options.ts'
import { install, verify, type Installation } from './postgres/install.ts'
import { query } from './postgres/query.ts'
import { Reader } from './postgres/reader.ts'
import { LogQueue } from './queue/log-queue.ts'
import { Doorbell } from './tail/doorbell.ts'
import { NotifyListener } from './tail/notify-listener.ts'
import { TableFeed } from './tail/table-feed.ts'

/** Sessions that replay and answer single questions, at most. */
const POOL_SIZE = 4
/** A replay may take longer than a question. */
const PATIENCE = 6
/** Milliseconds that the start of the app waits for the database. */
const START_TIMEOUT = 5000
/** Milliseconds between two reads that no bell asked for. */
const SAFETY_INTERVAL = 30_000
/** The same, where the end of a run rings no bell. */
const RUNS_INTERVAL = 5_000

/** Between two tries to install the trigger: half a minute, then twice as long each time, up to an hour. */
const INSTALL_PAUSES = { initialDelay: 30_000, maxDelay: 3_600_000 }

/** The parts, and how they hang together. */
export class Service {
  readonly listener: NotifyListener
  readonly queue: LogQueue
  readonly feed: TableFeed
  /** See LogQueueOptions. */
  onlatency: (milliseconds: number) => void = () => {}
  readonly #options: Options
  readonly #log: FastifyBaseLogger
  readonly #doorbell: Doorbell
  readonly #reader: Reader
  readonly #pool: Reader
  #installation: Installation | null = null
  #installFailures = 0
  /** By `performance.now()`. */
  #installAfter = 0
  #said = ''

  constructor (options: Options, log: FastifyBaseLogger) {
    const { connection, timeout, pollInterval, reconnect } = options
    this.#options = options
    this.#log = log
    this.#reader = new Reader(connection, { max: 1, name: 'fastify-pg-tail reader', timeout })
    this.#pool = new Reader(connection, { max: POOL_SIZE, name: 'fastify-pg-tail replay', timeout: timeout * PATIENCE })
    this.listener = new NotifyListener({
      connection: options.listenConnection,
      channel: options.channel,
      heartbeat: options.listenerHeartbeat,
      timeout,
      reconnect,
      log,
      // Not over the pool: what it patiently waits for on a dead link would be in the way.
      notify: (channel) => this.#reader.answer((sql) => query(sql, 'select pg_notify($1, $2)', [channel, ''])),
      findObstacle: () => this.#findObstacle(),
      onsilence: () => this.#pool.renew(),
      canRead: () => this.feed.table !== null && !this.feed.isFailing && this.#reader.answers
    })
    this.feed = new TableFeed({ ...options, log, reader: this.#reader, pool: this.#pool, doorbell: () => this.#doorbell })
    this.queue = new LogQueue({ ...options, log, feed: this.feed, mode: () => this.listener.mode, onlatency: (latency) => this.onlatency(latency) })
    this.feed.connect(this.queue)
    this.#doorbell = new Doorbell({
      listener: this.listener,
      pollInterval,
      safetyInterval: () => this.#installation?.runsBell === false ? RUNS_INTERVAL : SAFETY_INTERVAL,
      log,
      wake: () => this.feed.tailer.wake()
    })
    let mode = this.listener.mode
    this.listener.on('state', () => {
      if (mode === this.listener.mode) return
      mode = this.listener.mode
      this.queue.changeMode(mode)
    })
  }

  /**
   * Looks the table up, and starts to listen. A server that cannot be reached does not stop the app.
   * @throws FST_PG_TAIL_TABLE, FST_PG_TAIL_SERVER where the table or the server is not fit for it
   */
  async start (): Promise<void> {
    try {
      // A black hole shall not hold the app up for longer than its hooks may take.
      const prepared = this.feed.prepare()
      await Promise.race([prepared, new Promise((_resolve, reject) => setTimeout(() => reject(new errors.Timeout(START_TIMEOUT)), START_TIMEOUT).unref())])
    } catch (error) {
      if (isRefusal(error)) {
        await this.close()
        throw error
      }
      this.#log.warn({ err: error }, 'PostgreSQL cannot be reached: starting all the same, and trying again')
    }
    this.listener.start()
  }

  async close (): Promise<void> {
    this.queue.close()
    this.feed.close()
    await this.listener.close()
    await Promise.all([this.#reader.close(), this.#pool.close()])
  }

  async status (): Promise<object> {
    const { tailer, table } = this.feed
    const { queues, subscribers, latency_ms: latency } = this.queue.status()
    const watermark = tailer.watermark
    const gaps = watermark?.cursor.gaps ?? []
    return {
      available: !this.queue.closed && table !== null,
      timestamp: new Date().toISOString(),
      listener: this.listener.status(),
      notification_queues: queues,
      table: table?.name ?? this.#options.table,
      channel: this.#options.channel,
      subscribers,
      watermark: watermark === null ? null : String(watermark.high),
      gaps: { open: gaps.length, first: gaps[0] === undefined ? null : String(gaps[0].lo), held_back: tailer.heldBack, held_by: gaps.length > 0 ? await this.#blockers() : [] },
      doorbell: { state: this.#doorbell.state, rings: this.#doorbell.bells, installed: this.#installation?.bell ?? null, missing: this.#installation?.missing ?? [] },
      tailer: tailer.counters,
      latency_ms: latency
    }
  }

  /** For metrics: without a question to the server. */
  figures (): Figures {
    const { tailer, table } = this.feed
    const { reconnects, mode, pg_queue_usage_percent: queueUsage } = this.listener.status()
    const { current, replaying, subscribed, max, ...counters } = this.queue.status().subscribers
    return {
      table: table?.name ?? this.#options.table,
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

  /** Why bells cannot ring; installs the trigger where that is wanted. */
  async #findObstacle (): Promise<string | null> {
    try {
      const table = await this.feed.prepare()
      this.#installation = await this.#install(table.name)
    } catch (error) {
      if (isRefusal(error)) {
        // The log has the reason. The status may be public: no names of columns, no SQL.
        const { code, message } = error as Error & { code: string }
        if (message !== this.#said) this.#log.warn({ err: error }, 'the table cannot be tailed any more')
        this.#said = message
        return `${code}; the log says more`
      }
      throw error
    }
    const { bell, missing, remedy } = this.#installation
    this.#say(missing, remedy)
    return bell === 'none' ? `no trigger rings: ${missing.join('; ')}` : null
  }

  async #install (table: string): Promise<Installation> {
    const { runs, channel, payload, install: wanted } = this.#options
    const target = { table, ...(runs === null ? {} : { runs: runs.table }), channel, payload }
    const found = await this.#reader.answer((sql) => verify(sql, target))
    if (wanted !== true || found.missing.length === 0 || performance.now() < this.#installAfter) return found
    try {
      const installed = await this.#pool.answer((sql) => install(sql, target))
      this.#installFailures = 0
      return installed
    } catch (error) {
      // While it waits for the table, all who write wait behind it: seldom.
      const pause = backoff(++this.#installFailures, INSTALL_PAUSES)
      this.#installAfter = performance.now() + pause
      this.#log.error({ err: error, retryInMs: pause }, 'the trigger could not be installed: polling, and trying again')
      return found
    }
  }

  /** Says what is missing, once. */
  #say (missing: string[], remedy: string[]): void {
    const said = missing.join('; ')
    if (said === this.#said || this.#options.install === false) return
    this.#said = said
    if (said !== '') this.#log.warn({ missing, remedy }, `the doorbell is not installed as it should be: ${said}. To mend it: ${remedy.join('; ')}`)
  }
}

function isRefusal (error: unknown): boolean {
  return ['FST_PG_TAIL_TABLE', 'FST_PG_TAIL_SERVER'].includes((error as { code?: string }).code ?? '')
}
