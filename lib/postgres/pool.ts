import type { Sql } from 'postgres'
import { errors } from '../errors.ts'
import type { Connection } from './database.ts'
import { Reader, type ReaderOptions } from './reader.ts'

interface Turn { take: (reader: Reader) => void, refuse: (error: Error) => void }

/**
 * Several readers, and a queue for whoever finds none of them free. Each has one statement at a time: so the time-out
 * counts from when that is sent, and ends no other one's session.
 */
export class Pool {
  readonly #readers: Reader[]
  readonly #free: Set<Reader>
  /** In the order in which they came. */
  readonly #waiting: Turn[] = []

  /**
   * @param size most sessions at once
   * @param kept how many of them stay open
   */
  constructor (connection: Connection, { size, kept }: { size: number, kept: number }, options: Omit<ReaderOptions, 'closeIdle'>) {
    this.#readers = Array.from({ length: size }, (_, i) => new Reader(connection, { ...options, closeIdle: i < size - kept }))
    this.#free = new Set(this.#readers)
  }

  /**
   * @param isWanted asked when its turn has come: whoever is gone by then shall keep nobody waiting
   * @throws what PostgreSQL says, FST_PG_TAIL_TIMEOUT, or FST_PG_TAIL_CLOSED where it was closed, or nobody wanted it any more, before its turn came
   */
  async answer<T> (ask: (sql: Sql) => PromiseLike<T>, isWanted = () => true): Promise<T> {
    const reader = this.#take() ?? await new Promise<Reader>((resolve, reject) => { this.#waiting.push({ take: resolve, refuse: reject }) })
    try {
      if (!isWanted()) throw new errors.Closed()
      return await reader.answer(ask)
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free.add(reader)
      else next.take(reader)
    }
  }

  /** The last one that is free: it is kept, or else the others get to be closed. */
  #take (): Reader | undefined {
    const reader = this.#readers.findLast((each) => this.#free.has(each))
    if (reader !== undefined) this.#free.delete(reader)
    return reader
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
