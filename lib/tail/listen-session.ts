import { randomUUID } from 'node:crypto'
import type { Sql } from 'postgres'
import { Database, listenSession, type Connection } from '../postgres/database.ts'

export interface ListenSessionOptions {
  connection: Connection
  /** Milliseconds without an answer after which the link is dead. */
  timeout: number
  /** Sends a notification over another session than this one. */
  notify: (channel: string) => Promise<unknown>
  onbell: (channel: string) => void
  onlost: (cause: Error) => void
}

/** One session that LISTENs, from its opening to its end. */
export class ListenSession {
  readonly #options: ListenSessionOptions
  readonly #database: Database
  readonly #probeChannel = `fastify_pg_tail_${randomUUID().replaceAll('-', '')}`
  #onProbe: () => void = () => {}

  constructor (options: ListenSessionOptions) {
    const { connection, timeout, onlost } = options
    this.#options = options
    this.#database = new Database(connection, { name: 'fastify-pg-tail listener', timeout, onlost })
  }

  /** The session itself, for locks that must live and die with it. */
  get sql (): Sql {
    return listenSession(this.#database.sql)!
  }

  /** @throws what PostgreSQL says, FST_PG_TAIL_TIMEOUT, or that nothing comes through */
  async open (channels: Iterable<string>): Promise<void> {
    const database = this.#database
    for (const channel of channels) await database.answer(database.sql.listen(channel, () => this.#options.onbell(channel)))
    await database.answer(database.sql.listen(this.#probeChannel, () => this.#onProbe()))
    await this.prove()
    // So that the server soon sees a vanished process, and nobody rings for it any more.
    await database.answer(this.sql`select set_config('tcp_keepalives_idle', '15', false),
      set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false)`)
  }

  /**
   * Rings on a channel that is ours alone and waits for it. A pooler in transaction mode accepts
   * LISTEN and swallows what it brings; so it rings over another session, not over this one, which
   * such a pooler could answer.
   * @throws as open()
   */
  async prove (): Promise<void> {
    const heard = new Promise<void>((resolve) => { this.#onProbe = resolve })
    await this.#database.answer(this.#options.notify(this.#probeChannel))
    try {
      await this.#database.answer(heard)
    } catch {
      // From a link that is dead nothing comes either: that is told by its time-out.
      await this.#database.answer(this.sql`select 1`)
      throw new Error('LISTEN was accepted but no notification comes through, as with a pooler in transaction mode: ' +
        'set listenConnectionString to the server itself')
    }
  }

  /** How full the server's queue of notifications is, in percent. */
  async queueUsage (): Promise<number> {
    const [row] = await this.#database.answer(this.sql`select pg_notification_queue_usage() * 100 as percent`)
    return Math.round(row!.percent * 100) / 100
  }

  async close (): Promise<void> {
    await this.#database.close()
  }

  /** Closes at once; what is under way fails. */
  destroy (): void {
    this.#database.destroy()
  }
}
