import type { Delivery } from '../queue/feed.ts'
import { exactly, type SourceRow } from '../row.ts'
import type { Cursor } from './cursor.ts'
import type { Watermark } from './watermark.ts'

/** Most rows that wait at once; beyond that nothing more is read until some can go. */
const MAX_HELD = 4000
/** Most characters of messages and extra columns that wait at once, but for those of the last page. */
const MAX_LENGTH = 64 * 1024 * 1024

/** For `order: 'id'`: rows wait here until nothing below them is in flight. */
export class Holdback {
  /** Ascending by id. */
  #rows: SourceRow[] = []
  /** Of each of them. */
  #lengths: number[] = []
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
    const length = lengthOf(row)
    this.#length += length
    const last = this.#rows.at(-1)
    if (last === undefined || last.id < row.id) {
      this.#rows.push(row)
      this.#lengths.push(length)
      return
    }
    const index = this.#rows.findIndex(({ id }) => id > row.id)
    this.#rows.splice(index, 0, row)
    this.#lengths.splice(index, 0, length)
  }

  /** Lets go of the rows that nothing in flight is below. */
  release ({ cursor, lowestInFlight: limit }: Watermark): Delivery[] {
    const end = limit === null ? -1 : this.#rows.findIndex(({ id }) => id >= limit)
    const rows = this.#rows.splice(0, end === -1 ? this.#rows.length : end)
    for (const length of this.#lengths.splice(0, rows.length)) this.#length -= length
    // Rows above may have gone out before: those that were inserted by hand, above the sequence.
    const before = this.#released
    const released = this.#released = before.union(limit === null ? cursor : cursor.upTo(limit - 1n))
    return rows.map((row) => ({ row, cursor: String(before.union(released.upTo(row.id))) }))
  }
}

function lengthOf ({ content }: SourceRow): number {
  const length = content?.message?.length ?? 0
  if (content === null || content.extra === null) return length
  return Object.values(content.extra).reduce((sum: number, value) => sum + lengthOfExtra(value), length)
}

/** Of what is no JSON, nothing is sent. */
function lengthOfExtra (value: unknown): number {
  if (typeof value === 'string' || value instanceof Uint8Array) return value.length
  if (typeof value !== 'object' || value === null) return 0
  try {
    return JSON.stringify(value, exactly).length
  } catch {
    return 0
  }
}
