import type { Sql } from 'postgres'
import { Database, type Connection, type DatabaseOptions } from './database.ts'

/** A pooler in transaction mode has no memory for prepared statements: unknown, or there already. */
const NO_PREPARED = ['26000', '42P05']

/**
 * Sessions to read over, renewed when they stop answering. For reads only: what got no answer may
 * be asked again.
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
    const database = this.#database
    try {
      return await database.answer(ask(database.sql))
    } catch (error) {
      const { code } = error as { code?: string }
      if (code === 'FST_PG_TAIL_TIMEOUT') this.#renew(database)
      else if (NO_PREPARED.includes(code ?? '') && this.#prepare) {
        this.#prepare = false
        this.#renew(database)
        return this.answer(ask)
      }
      throw error
    }
  }

  close (): Promise<void> {
    this.#closed = true
    return this.#database.close()
  }

  #renew (database: Database): void {
    if (database !== this.#database || this.#closed) return
    this.#database = new Database(this.#connection, this.#options)
    this.#database.sql.options.prepare = this.#prepare
    database.destroy()
  }
}
