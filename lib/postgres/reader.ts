import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Sql } from 'postgres'
import { Database, type Connection, type DatabaseOptions } from './database.ts'
import { MARK } from './query.ts'

/** A pooler in transaction mode has no memory for prepared statements: unknown, or there already. */
const NO_PREPARED = ['26000', '42P05']
/** The session is gone. The driver says so a second time to whoever asks first on the next one. */
const LOST = ['CONNECTION_CLOSED', 'ECONNRESET', 'EPIPE', '57P01', '57P02']
/** All of an instance that was renewed while somebody else had something under way on it. */
const THROWN_AWAY = ['CONNECTION_DESTROYED', 'CONNECTION_ENDED', 'FST_PG_TAIL_CLOSED']
const TRIES = 3

/** Milliseconds after which a session that nobody needs is closed, where that is wanted. */
const IDLE = 20_000
/** Milliseconds that `close()` takes for the last word to the server. */
const LAST_WORD = 2000

export interface ReaderOptions extends Omit<DatabaseOptions, 'onlost'> {
  /** Close the session once nobody has needed it for 20 s; the next question opens another. Default: it stays. */
  closeIdle?: boolean
}

/**
 * One session to read over, renewed when it is lost or stops answering. For reads, and for what may be
 * done twice: what got no answer is asked again.
 */
export class Reader {
  readonly #connection: Connection
  readonly #options: ReaderOptions
  /** The names of its sessions begin so, and no others. */
  readonly #name: string
  #instances = 0
  #database: Database
  #prepare = true
  #answers = false
  /** On sessions that were let go of, statements may still be running. */
  #abandoned = false
  #underWay = 0
  #idle: NodeJS.Timeout | undefined
  #closed = false

  constructor (connection: Connection, options: ReaderOptions) {
    this.#connection = connection
    this.#options = options
    this.#name = `${options.name} ${randomBytes(4).toString('hex')}`
    this.#database = this.#open()
  }

  /** Whether the server has answered last, and the session was not lost since. */
  get answers (): boolean {
    return this.#answers
  }

  /** @throws what PostgreSQL says, or FST_PG_TAIL_TIMEOUT */
  async answer<T> (ask: (sql: Sql) => PromiseLike<T>): Promise<T> {
    this.#underWay++
    clearTimeout(this.#idle)
    try {
      return await this.#insist(ask)
    } finally {
      if (--this.#underWay === 0 && this.#options.closeIdle && !this.#closed) this.#idle = setTimeout(() => this.#replace()?.close(), IDLE).unref()
    }
  }

  async close (): Promise<void> {
    this.#closed = true
    clearTimeout(this.#idle)
    const over = await this.#database.close()
    if (over && !this.#abandoned) return
    const last = this.#open()
    await Promise.race([this.#cancel(last).catch(() => {}), delay(LAST_WORD, undefined, { ref: false })])
    last.destroy()
  }

  /** Lets go of a link that may be dead. What was asked over it is asked again. */
  renew (): void {
    const idle = this.#answers && this.#underWay === 0
    this.#answers = false
    this.#abandoned ||= this.#underWay > 0
    this.#replace()?.destroy()
    // Where it was not in use, nobody would know for long whether the next one answers.
    if (idle && !this.#options.closeIdle && !this.#closed) this.answer((sql) => sql`select 1`).catch(() => {})
  }

  /**
   * Ends what the server is still at for nobody, on sessions before this one: a statement that waits for a lock does
   * not notice that its client is gone, and one of which a dead link has swallowed the second half waits for that, with a lock
   * on the table, where no cancel request reaches it. By SQL, and by name: behind a pooler nobody knows the process, and some versions
   * of PgBouncer die of a cancel request (pgbouncer#801, #822). And by what it says: a pooler's session may keep our name
   * for somebody who gives none.
   */
  async #cancel ({ sql }: Database): Promise<void> {
    this.#abandoned = false
    try {
      await sql.unsafe(`select case wait_event when 'ClientRead' then pg_terminate_backend(pid) else pg_cancel_backend(pid) end from pg_stat_activity
        where substring(application_name from '^${this.#name}[.]([0-9]+)')::int < ${this.#instances} and state = 'active'
          and query like '${MARK}%'`)
    } catch (error) {
      const { severity } = error as { severity?: string }
      // What the server will not do now, it will not do later.
      if (severity === 'ERROR') return
      this.#abandoned = true
      // Where it has said why it does nothing at all, it says so to whoever asks next.
      if (severity === undefined) throw error
    }
  }

  async #insist<T> (ask: (sql: Sql) => PromiseLike<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const database = this.#database
      try {
        if (this.#abandoned && !this.#closed) await database.answer(this.#cancel(database))
        const answer = await database.answer(ask(database.sql))
        this.#answers = true
        return answer
      } catch (error) {
        const code = codeOf(error)
        // It has answered also where we do not like what it says.
        this.#answers = (error as { severity?: string }).severity === 'ERROR' || code === 'FST_PG_TAIL_TABLE'
        // The next session may get an answer; it may be on the primary.
        if (code === 'FST_PG_TAIL_TIMEOUT' || code === 'FST_PG_TAIL_SERVER') this.#lose(database)
        // Nobody may ask again for long.
        if (code === 'FST_PG_TAIL_TIMEOUT' && this.#abandoned && !this.#closed) this.#cancel(this.#database).catch(() => {})
        if (this.#closed || tries === TRIES || !this.#mayHelp(code, database)) throw error
      }
    }
  }

  /** Whether it may help to ask again. */
  #mayHelp (code: string, database: Database): boolean {
    if (NO_PREPARED.includes(code)) {
      if (this.#prepare) {
        this.#prepare = false
        this.#lose(database)
      }
      return true
    }
    return LOST.includes(code) || (THROWN_AWAY.includes(code) && database !== this.#database)
  }

  #lose (database: Database): void {
    if (database === this.#database) this.renew()
  }

  /** What was there before; null once it is closed. */
  #replace (): Database | null {
    if (this.#closed) return null
    const before = this.#database
    this.#database = this.#open()
    return before
  }

  #open (): Database {
    const name = `${this.#name}.${++this.#instances}`
    const database: Database = new Database(this.#connection, { ...this.#options, name, onlost: () => this.#lose(database) })
    database.sql.options.prepare = this.#prepare
    return database
  }
}

/** What PostgreSQL or the driver said, also where an error of ours tells what it means. */
function codeOf (error: unknown): string {
  const { code = '', cause } = error as { code?: string, cause?: unknown }
  return cause instanceof Error ? codeOf(cause) : code
}
