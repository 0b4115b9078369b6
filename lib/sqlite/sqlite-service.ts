import type { FastifyBaseLogger } from 'fastify'
import { isRefusal } from '../errors.ts'
import type { Figures } from '../metrics.ts'
import type { Options } from '../options.ts'
import { Silence } from './silence.ts'
import { SqliteLog } from './sqlite-log.ts'

const REASON = 'SQLite has no NOTIFY'

/** As `Service`, for tables of an SQLite file: polled for. */
export class SqliteService {
  readonly listener: Silence
  /** By name. */
  readonly logs: ReadonlyMap<string, SqliteLog>
  /** See LogQueueOptions; with the table's name in the options. */
  onlatency: (table: string, milliseconds: number) => void = () => {}
  readonly #log: FastifyBaseLogger

  constructor (path: string, { tables, timeout }: Options, log: FastifyBaseLogger) {
    this.#log = log
    const listener = this.listener = new Silence((name) => this.#all.filter(({ options }) => name === undefined || name === options.name).map(({ feed }) => feed.trouble))
    this.logs = new Map(Object.entries(tables).map(([name, options]) => [name, new SqliteLog({
      path,
      options,
      timeout,
      listener,
      log: Object.keys(tables).length === 1 ? log : log.child({ log: name }),
      onlatency: (latency) => this.onlatency(options.name, latency)
    })]))
  }

  get #all (): SqliteLog[] {
    return [...this.logs.values()]
  }

  /** @throws FST_PG_TAIL_TABLE where a table is not fit for it, FST_PG_TAIL_OPTION where this Node cannot read SQLite */
  async start (): Promise<void> {
    try {
      for (const { feed } of this.#all) feed.open()
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
    for (const log of this.#all) log.close()
  }

  figures (): Figures {
    return { reconnects: 0, queueUsage: null, tables: this.#all.map((log) => log.figures()) }
  }
}
