import type { Sql } from 'postgres'
import { errors } from '../errors.ts'
import type { Connection } from './database.ts'
import { Reader, type ReaderOptions } from './reader.ts'

interface Turn { take: (reader: Reader) => void, refuse: (error: Error) => void }

/**
 * Several readers, and a queue for whoever finds none of them free. Each has one statement at a time: so the time-out
 * counts from when that is sent, and ends no other one's session. Those that nobody needs are closed.
 */
export class Pool {
  readonly #readers: Reader[]
  /** The last one is taken first, so that the others get to be closed. */
  readonly #free: Reader[]
  /** In the order in which they came. */
  readonly #waiting: Turn[] = []

  /** @param size most sessions at once */
  constructor (connection: Connection, size: number, options: Omit<ReaderOptions, 'closeIdle'>) {
    this.#readers = Array.from({ length: size }, () => new Reader(connection, { ...options, closeIdle: true }))
    this.#free = [...this.#readers]
  }

  /** @throws what PostgreSQL says, FST_PG_TAIL_TIMEOUT, or FST_PG_TAIL_CLOSED where it was closed before its turn came */
  async answer<T> (ask: (sql: Sql) => PromiseLike<T>): Promise<T> {
    const reader = this.#free.pop() ?? await new Promise<Reader>((resolve, reject) => { this.#waiting.push({ take: resolve, refuse: reject }) })
    try {
      return await reader.answer(ask)
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free.push(reader)
      else next.take(reader)
    }
  }

  async close (): Promise<void> {
    for (const { refuse } of this.#waiting.splice(0)) refuse(new errors.Closed())
    await Promise.all(this.#readers.map((reader) => reader.close()))
  }

  /** Lets go of links that may be dead. What was asked over them is asked again. */
  renew (): void {
    for (const reader of this.#readers) reader.renew()
  }
}
