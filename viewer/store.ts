import type { Entry } from './entry.ts'

/** Rows that a tab keeps. */
export const MAX_ENTRIES = 200_000
/** Characters that they have together. */
export const MAX_SIZE = 100_000_000
/** To drop one at a time would move all the others each time. */
const SLACK = 2000

/** What is loaded, oldest first. An entry's number stays the same when older ones are dropped. */
export class Store {
  first = 0
  #entries: Entry[] = []
  #size = 0

  get end (): number {
    return this.first + this.#entries.length
  }

  get isFull (): boolean {
    return this.#entries.length >= MAX_ENTRIES || this.#size >= MAX_SIZE
  }

  at (number: number): Entry {
    return this.#entries[number - this.first]!
  }

  push (entry: Entry): void {
    this.#entries.push(entry)
    this.#size += entry.size
  }

  /** Drops the oldest, where there are too many. Returns whether it did. */
  trim (): boolean {
    if (this.#entries.length < MAX_ENTRIES + SLACK && this.#size < MAX_SIZE * 1.05) return false
    let drop = 0
    let size = this.#size
    while (drop < this.#entries.length - 1 && (this.#entries.length - drop > MAX_ENTRIES || size > MAX_SIZE)) size -= this.#entries[drop++]!.size
    this.#entries.splice(0, drop)
    this.#size = size
    this.first += drop
    return drop > 0
  }

  clear (): void {
    this.first = this.end
    this.#entries = []
    this.#size = 0
  }

  /** The number of the row with this id; -1 where it is not loaded. */
  find (id: string): number {
    const number = Number(id)
    // As the stream has it.
    const exact = Number.isSafeInteger(number) ? number : id
    const index = this.#entries.findLastIndex((entry) => entry.id === exact)
    return index === -1 ? -1 : index + this.first
  }

  /** Without the notes. */
  rows (): Entry[] {
    return this.#entries.filter(({ isNote }) => !isNote)
  }

  get lastRow (): Entry | undefined {
    return this.#entries.findLast(({ isNote }) => !isNote)
  }
}
