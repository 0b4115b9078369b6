import type { Sql } from 'postgres'
import { Database, type Connection, type DatabaseOptions } from './database.ts'

/** A pooler in transaction mode has no memory for prepared statements: unknown, or there already. */
const NO_PREPARED = ['26000', '42P05']
/** The session is gone. The driver says so a second time to whoever asks first on the next one. */
const LOST = ['CONNECTION_CLOSED', 'ECONNRESET', 'EPIPE', '57P01', '57P02']
/** All of an instance that was renewed while somebody else had something under way on it. */
const THROWN_AWAY = ['CONNECTION_DESTROYED', 'CONNECTION_ENDED', 'FST_PG_TAIL_CLOSED']
const TRIES = 3

/**
 * Sessions to read over, renewed when they stop answering. For reads, and for what may be done twice:
 * what got no answer is asked again.
 */
export class Reader {
  readonly #connection: Connection
  readonly #options: DatabaseOptions
  #database: Database
  #prepare = true
  #closed = false

  constructor (connection: Connection, options: DatabaseOptions) {
    this.#connection = connection
    this.#options = options
    this.#database = new Database(connection, options)
  }

  /** @throws what PostgreSQL says, or FST_PG_TAIL_TIMEOUT */
  async answer<T> (ask: (sql: Sql) => PromiseLike<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const database = this.#database
      try {
        return await database.answer(ask(database.sql))
      } catch (error) {
        const code = codeOf(error)
        if (code === 'FST_PG_TAIL_TIMEOUT') this.#renew(database)
        if (this.#closed || tries === TRIES || !this.#mayHelp(code, database)) throw error
      }
    }
  }

  close (): Promise<void> {
    this.#closed = true
    return this.#database.close()
  }

  /** Whether it may help to ask again. */
  #mayHelp (code: string, database: Database): boolean {
    if (NO_PREPARED.includes(code)) {
      if (this.#prepare) {
        this.#prepare = false
        this.#renew(database)
      }
      return true
    }
    return LOST.includes(code) || (THROWN_AWAY.includes(code) && database !== this.#database)
  }

  /** Lets go of links that may be dead. What was asked over them is asked again. */
  renew (): void {
    this.#renew(this.#database)
  }

  #renew (database: Database): void {
    if (database !== this.#database || this.#closed) return
    this.#database = new Database(this.#connection, this.#options)
    this.#database.sql.options.prepare = this.#prepare
    database.destroy()
  }
}

/** What PostgreSQL or the driver said, also where an error of ours tells what it means. */
function codeOf (error: unknown): string {
  const { code = '', cause } = error as { code?: string, cause?: unknown }
  return cause instanceof Error ? codeOf(cause) : code
}
