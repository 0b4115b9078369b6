import type { SourceRow } from '../row.ts'

/** Most rows that wait at once; beyond that nothing more is read until some can go. */
const MAX_HELD = 4000
/** Most characters of messages that wait at once, but for those of the last page. */
const MAX_LENGTH = 64 * 1024 * 1024

/** For `order: 'id'`: rows wait here until nothing below them is in flight. */
export class Holdback {
  /** Ascending by id. */
  #rows: SourceRow[] = []
  #length = 0

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

  /** The rows below `limit`, or all of them where it is null. */
  release (limit: bigint | null): SourceRow[] {
    const end = limit === null ? -1 : this.#rows.findIndex(({ id }) => id >= limit)
    const released = this.#rows.splice(0, end === -1 ? this.#rows.length : end)
    for (const row of released) this.#length -= lengthOf(row)
    return released
  }
}

function lengthOf ({ content }: SourceRow): number {
  return content?.message?.length ?? 0
}
