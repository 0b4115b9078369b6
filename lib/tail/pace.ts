/** More bells than this in one window, and reading without bells is cheaper for everybody. */
const BUSY_BELLS = 20
const WINDOW = 100
/** Without a row for so long, it is quiet again. */
const QUIET_AFTER = 100
/** Between two reads. Of 1,000 rows/s for 1,000 clients a pause of 5 ms took 0.62 of a core, this takes 0.54, and rows are there as soon. */
const INTERVAL = 10
/**
 * Where many rows have come since the last pause: fewer and larger reads cost less. At 15,000 rows/s, on two cores with 16 writers,
 * a row took node and server 19 µs with a pause of 5 ms, 14.5 with 15, 13 with 30.
 */
const FULL_INTERVAL = 20
const MANY_ROWS = 50
/**
 * A pause is at least so many times as long as it took to hand on what came before: with thousands of clients that takes a while, in
 * which nothing else of the app has its turn. Longer ones would save processor time, for a write of more rows takes hardly longer, and
 * cost latency: 1,000 rows/s in 150 commits/s for 1,000 clients took 0.9 of a core with a read for each bell, 0.6 with this, and 0.35
 * with twice as long as it took; 99 % of the rows came as soon with this as with the first, and in twice that time with the last.
 */
const FACTOR = 0.5
const MAX_PAUSE = 50

/** How much comes, and how long it takes to hand it on: whether bells are worth ringing, and how long to pause without. All in milliseconds. */
export class Pace {
  #windowStart = 0
  #windowBells = 0
  #windowSpent = 0
  #lastRow = 0
  /** Since the last pause. */
  #rows = 0
  #spent = 0

  /** From now on writers ring: what was before says nothing of bells. */
  start (): void {
    this.#windowStart = performance.now()
    this.#windowBells = 0
    this.#windowSpent = 0
  }

  /** So many rows were read, and it took so long to hand them on. */
  note (rows: number, spent: number): void {
    this.#rows += rows
    this.#spent += spent
    this.#windowSpent += spent
  }

  /** A bell was heard. Returns whether it is one too many, or leaves less time for all else than pauses would. */
  bell (): boolean {
    const now = performance.now()
    const window = now - this.#windowStart
    // Asked of a window that is over, too: what was handed on may have taken longer than that.
    const spentMost = this.#windowSpent * (1 + FACTOR) > Math.max(window, WINDOW)
    if (window > WINDOW) this.start()
    const busy = ++this.#windowBells > BUSY_BELLS || spentMost
    if (busy) this.#lastRow = now
    return busy
  }

  /** How long to pause now, where no bell is waited for; null: it is quiet, so wait for one. */
  pause (): number | null {
    const now = performance.now()
    const rows = this.#rows
    const spent = this.#spent
    this.#rows = this.#spent = 0
    // Of when they came, not of when all had been handed on: else rows that seldom come would keep it awake where that takes long.
    if (rows > 0) this.#lastRow = now - spent
    else if (now - this.#lastRow >= QUIET_AFTER) return null
    return Math.max(rows > MANY_ROWS ? FULL_INTERVAL : INTERVAL, Math.min(FACTOR * spent, MAX_PAUSE))
  }
}
