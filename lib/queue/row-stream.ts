import type { LogRow } from '../row.ts'
import type { Notice } from './frame.ts'
import type { Batch } from './ring.ts'
import type { Sink } from './sink.ts'
import type { Subscriber } from './subscriber.ts'

/** What `logQueue.subscribe()` gives. */
export interface RowIterator<Row extends LogRow = LogRow> extends AsyncIterableIterator<Row> {
  /** Resolves once the starting point is known: whatever is committed after it will come. Or once it has ended. Never rejects. */
  readonly ready: Promise<void>
}

/** A subscriber's rows as an async iterator: one batch ahead of whoever iterates, no more. */
export class RowStream implements Sink, RowIterator {
  /** Set by whoever subscribes. */
  subscriber: Subscriber | null = null
  #rows: LogRow[] = []
  #next = 0
  #ended = false
  #waiting: Array<(result: IteratorResult<LogRow>) => void> = []
  #begin: () => void = () => {}
  readonly ready = new Promise<void>((resolve) => { this.#begin = resolve })

  write (batch: Batch): boolean {
    if (batch.frames.length === 0) return true
    const rows = batch.frames.map(({ row }) => row)
    // A replay that was under way may bring one more.
    this.#rows = this.#next === this.#rows.length ? rows : [...this.#rows.slice(this.#next), ...rows]
    this.#next = 0
    while (this.#waiting.length > 0 && this.#next < this.#rows.length) {
      this.#waiting.shift()!({ done: false, value: this.#rows[this.#next++]! })
    }
    return this.#next === this.#rows.length
  }

  /** Whoever iterates holds up nobody but itself. */
  progress (): null {
    return null
  }

  /** The table was started afresh: from there on everything comes. */
  notice ({ type }: Notice): boolean {
    if (type === 'reset') this.#begin()
    return true
  }

  /** The first one with a cursor says where it starts. */
  heartbeat (cursor: string | null): boolean {
    if (cursor !== null) this.#begin()
    return true
  }

  end (): void {
    this.#ended = true
    this.#begin()
    for (const resolve of this.#waiting.splice(0)) resolve({ done: true, value: undefined })
  }

  destroy (): void {
    this.end()
  }

  async next (): Promise<IteratorResult<LogRow>> {
    if (this.#next < this.#rows.length) {
      const value = this.#rows[this.#next++]!
      if (this.#next === this.#rows.length) this.subscriber!.ready()
      return { done: false, value }
    }
    if (this.#ended) return { done: true, value: undefined }
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  async return (): Promise<IteratorResult<LogRow>> {
    this.subscriber!.close()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator] (): this {
    return this
  }
}
