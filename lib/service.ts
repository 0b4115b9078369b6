import type { FastifyBaseLogger } from 'fastify'
import { errors, isRefusal } from './errors.ts'
import type { InTurn } from './installer.ts'
import type { Figures } from './metrics.ts'
import type { Options } from './options.ts'
import { query } from './postgres/query.ts'
import { Reader } from './postgres/reader.ts'
import type { Table } from './postgres/table.ts'
import { TableLog } from './table-log.ts'
import type { TableOptions } from './table-options.ts'
import { NotifyListener } from './tail/notify-listener.ts'

/** Milliseconds that the start of the app waits for the database. */
const START_TIMEOUT = 5000

/** What all tables share: the session that LISTENs, and what proves that bells come through. */
export class Service {
  readonly listener: NotifyListener
  /** By name. */
  readonly logs: ReadonlyMap<string, TableLog>
  /** See LogQueueOptions; with the table's name in the options. */
  onlatency: (table: string, milliseconds: number) => void = () => {}
  readonly #log: FastifyBaseLogger
  /** Rings for the proof. Not one of a table's: what those wait for would be in the way. */
  readonly #prover: Reader

  constructor ({ connection, listenConnection, timeout, listenerHeartbeat, reconnect, tables }: Options, log: FastifyBaseLogger) {
    this.#log = log
    const prover = this.#prover = new Reader(connection, { name: 'fastify-pg-tail proof', timeout, closeIdle: true })
    const listener = this.listener = new NotifyListener({
      connection: listenConnection,
      heartbeat: listenerHeartbeat,
      timeout,
      reconnect,
      log,
      notify: (channel) => prover.answer((sql) => query(sql, 'select pg_notify($1, $2)', [channel, ''])),
      onsilence: () => { for (const each of [prover, ...this.#all]) each.renew() },
      canRead: (name) => this.#all.some(({ options, canRead }) => (name === undefined || name === options.name) && canRead)
    })
    const all = Object.values(tables)
    let installs: Promise<unknown> = Promise.resolve()
    const inTurn: InTurn = (task) => {
      const turn = installs.then(task)
      installs = turn.catch(() => {})
      return turn
    }
    this.logs = new Map(Object.entries(tables).map(([name, options]) => [name, new TableLog({
      options,
      connection,
      timeout,
      listener,
      admit: (table) => this.#admit(options, table),
      // The first of those that have these runs.
      ringsRuns: all.find(({ runs }) => runs?.table === options.runs?.table) === options,
      inTurn,
      log: all.length === 1 ? log : log.child({ log: name }),
      onlatency: (latency) => this.onlatency(options.name, latency)
    })]))
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
      if (this.listener.state !== 'closed') this.#log.warn({ err: error }, 'PostgreSQL cannot be reached: starting all the same, and trying again')
    }
    this.listener.start()
  }

  /**
   * One table may be here by two names, but it has one trigger, with one channel and one payload. Whenever one is looked up, for the
   * server may have been away at the start.
   * @throws FST_PG_TAIL_TABLE
   */
  #admit (options: TableOptions, table: Table): void {
    for (const { options: other, feed: { table: known } } of this.#all) {
      if (other === options || known === null) continue
      const both = this.#all.filter((log) => [other, options].includes(log.options)).map((log) => `tables.${log.options.name}`).join(' and ')
      if (known.oid === table.oid && (other.channel !== options.channel || other.payload !== options.payload)) {
        throw new errors.Table(table.name, `${both} are both this one, with another channel or payload`, 'Give both the same: its trigger has but one')
      }
      // By the name it is known who rings for its runs.
      if (table.runs !== null && known.runs === table.runs && other.runs!.table !== options.runs!.table) {
        throw new errors.Table(options.runs!.table, `${both} name this table of runs in two ways`, `Write ${other.runs!.table} in both`)
      }
    }
  }

  /** Ends all streams. */
  async endStreams (): Promise<void> {
    await Promise.all(this.#all.map(({ queue }) => queue.close()))
  }

  async close (): Promise<void> {
    for (const log of this.#all) log.close()
    await this.listener.close()
    await Promise.all([this.#prover.close(), ...this.#all.map((log) => log.disconnect())])
  }

  /** For metrics: without a question to the server. */
  figures (): Figures {
    const { reconnects, pg_queue_usage_percent: queueUsage } = this.listener.status()
    return { reconnects, queueUsage, tables: this.#all.map((log) => log.figures()) }
  }
}
