import type { Delivery } from '../queue/feed.ts'
import type { SourceRow } from '../row.ts'
import type { Cursor } from './cursor.ts'
import type { Watermark } from './watermark.ts'

/** Most rows that wait at once; beyond that nothing more is read until some can go. */
const MAX_HELD = 4000
/** Most characters of messages that wait at once, but for those of the last page. */
const MAX_LENGTH = 64 * 1024 * 1024

/** For `order: 'id'`: rows wait here until nothing below them is in flight. */
export class Holdback {
  /** Ascending by id. */
  #rows: SourceRow[] = []
  #length = 0
  /** It stays, where a gap below turns out to be in flight. */
  #released: Cursor

  constructor (start: Cursor) {
    this.#released = start
  }

  /** What was let go, and before that the start. */
  get released (): Cursor {
    return this.#released
  }

  get full (): boolean {
    return this.#rows.length >= MAX_HELD || this.#length >= MAX_LENGTH
  }

  get size (): number {
    return this.#rows.length
  }

  add (row: SourceRow): void {
    this.#length += lengthOf(row)
    const last = this.#rows.at(-1)
    if (last === undefined || last.id < row.id) this.#rows.push(row)
    else this.#rows.splice(this.#rows.findIndex(({ id }) => id > row.id), 0, row)
  }

  /** Lets go of the rows that nothing in flight is below. */
  release ({ cursor, lowestInFlight: limit }: Watermark): Delivery[] {
    const end = limit === null ? -1 : this.#rows.findIndex(({ id }) => id >= limit)
    const rows = this.#rows.splice(0, end === -1 ? this.#rows.length : end)
    for (const row of rows) this.#length -= lengthOf(row)
    // Rows above may have gone out before: those that were inserted by hand, above the sequence.
    const before = this.#released
    const released = this.#released = before.union(limit === null ? cursor : cursor.upTo(limit - 1n))
    return rows.map((row) => ({ row, cursor: String(before.union(released.upTo(row.id))) }))
  }
}

function lengthOf ({ content }: SourceRow): number {
  return content?.message?.length ?? 0
}
