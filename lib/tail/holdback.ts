import type { SourceRow } from '../row.ts'

/** Most rows that wait at once; beyond that nothing more is read until some can go. */
const MAX_HELD = 4000

/** For `order: 'id'`: rows wait here until nothing below them is in flight. */
export class Holdback {
  /** Ascending by id. */
  #rows: SourceRow[] = []

  get full (): boolean {
    return this.#rows.length >= MAX_HELD
  }

  get size (): number {
    return this.#rows.length
  }

  add (row: SourceRow): void {
    const last = this.#rows.at(-1)
    if (last === undefined || last.id < row.id) this.#rows.push(row)
    else this.#rows.splice(this.#rows.findIndex(({ id }) => id > row.id), 0, row)
  }

  /** The rows below `limit`, or all of them where it is null. */
  release (limit: bigint | null): SourceRow[] {
    if (limit === null) return this.#rows.splice(0)
    const end = this.#rows.findIndex(({ id }) => id >= limit)
    return this.#rows.splice(0, end === -1 ? this.#rows.length : end)
  }
}
