import type { FastifyBaseLogger } from 'fastify'
import { errors, isRefusal } from './errors.ts'
import type { Figures } from './metrics.ts'
import type { Options } from './options.ts'
import { query } from './postgres/query.ts'
import { Reader } from './postgres/reader.ts'
import { TableLog } from './table-log.ts'
import { NotifyListener } from './tail/notify-listener.ts'

/** Sessions that replay and answer single questions, at most. */
const POOL_SIZE = 4
/** A replay may take longer than a question. */
const PATIENCE = 6
/** Milliseconds that the start of the app waits for the database. */
const START_TIMEOUT = 5000

/** What all tables share: the session that LISTENs, and those for replays. */
export class Service {
  readonly listener: NotifyListener
  /** By name. */
  readonly logs: ReadonlyMap<string, TableLog>
  /** See LogQueueOptions. */
  onlatency: (table: string, milliseconds: number) => void = () => {}
  readonly #log: FastifyBaseLogger
  readonly #pool: Reader

  constructor ({ connection, listenConnection, timeout, listenerHeartbeat, reconnect, tables }: Options, log: FastifyBaseLogger) {
    this.#log = log
    const pool = this.#pool = new Reader(connection, { max: POOL_SIZE, name: 'fastify-pg-tail replay', timeout: timeout * PATIENCE })
    const listener = this.listener = new NotifyListener({
      connection: listenConnection,
      heartbeat: listenerHeartbeat,
      timeout,
      reconnect,
      log,
      // Not over the pool: what it patiently waits for on a dead link would be in the way.
      notify: (channel) => first.reader.answer((sql) => query(sql, 'select pg_notify($1, $2)', [channel, ''])),
      onsilence: () => pool.renew(),
      canRead: () => this.#all.every(({ canRead }) => canRead)
    })
    this.logs = new Map(Object.entries(tables).map(([name, options]) => [name, new TableLog({
      options,
      listener,
      pool,
      log: Object.keys(tables).length === 1 ? log : log.child({ log: name }),
      onlatency: (table, latency) => this.onlatency(table, latency)
    })]))
    const [first] = this.#all as [TableLog]
  }

  get #all (): TableLog[] {
    return [...this.logs.values()]
  }

  /**
   * Looks the tables up, and starts to listen. A server that cannot be reached does not stop the app.
   * @throws FST_PG_TAIL_TABLE, FST_PG_TAIL_SERVER where a table or the server is not fit for it
   */
  async start (): Promise<void> {
    try {
      // A black hole shall not hold the app up for longer than its hooks may take.
      const prepared = Promise.all(this.#all.map(({ feed }) => feed.prepare()))
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

  /** Ends all streams. */
  async endStreams (): Promise<void> {
    await Promise.all(this.#all.map(({ queue }) => queue.close()))
  }

  async close (): Promise<void> {
    for (const log of this.#all) log.close()
    await this.listener.close()
    await Promise.all([this.#pool, ...this.#all.map(({ reader }) => reader)].map((reader) => reader.close()))
  }

  /** For metrics: without a question to the server. */
  figures (): Figures[] {
    return this.#all.map((log) => log.figures())
  }
}
