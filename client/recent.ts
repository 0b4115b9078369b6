import { Cursor } from './cursor.ts'
import type { Row, Statement, Stopped } from './messages.ts'

const MAX_ROWS = 256
/** Characters of their messages. */
const MAX_TEXT = 1 << 20

interface Entry {
  base: Cursor
  rows: Row[]
  stopped: Stopped[]
  text: number
}

/** What came last to the tab that leads: enough for one that comes to go on from there. What came at once stays together, however much it is. */
export class Recent {
  #entries: Entry[] = []
  #cursor: Cursor
  #rows = 0
  #text = 0

  constructor (cursor: Cursor) {
    this.#cursor = cursor
  }

  push (cursor: Cursor, rows: Row[], stopped: Stopped[]): void {
    if (rows.length > 0 || stopped.length > 0 || this.#entries.length === 0) {
      const text = rows.reduce((sum, { message }) => sum + (message?.length ?? 0), 0)
      this.#entries.push({ base: this.#cursor, rows, stopped, text })
      this.#rows += rows.length
      this.#text += text
    }
    // A heartbeat makes the last entry reach further: nothing came in between.
    this.#cursor = cursor
    while (this.#entries.length > 1 && (this.#rows > MAX_ROWS || this.#text > MAX_TEXT)) {
      const { rows, text } = this.#entries.shift()!
      this.#rows -= rows.length
      this.#text -= text
    }
  }

  /** All that somebody lacks who has this; null where it lacks more than is known here. */
  since (theirs: Cursor): Statement | null {
    const base = this.#entries[0]?.base ?? this.#cursor
    if (!theirs.covers(base)) return null
    return {
      base: String(base),
      cursor: String(this.#cursor),
      rows: this.#entries.flatMap(({ rows }) => rows.filter(({ id }) => !theirs.has(BigInt(id)))),
      stopped: this.#entries.flatMap(({ stopped }) => stopped)
    }
  }
}
