/** Milliseconds that one may keep a slot while others wait: whoever is looked at longer, and much longer where those who wait are not. */
const TURN = { hidden: 1000, visible: 3000, beforeHidden: 30_000 }
/** For whoever gets nothing from the server. */
const LONGEST = 10_000
/** So long after a part of an event the rest is still waited for. */
const ARRIVING = 2000

/** The right to hold a connection open, for a while. All times are those of `performance.now()`. */
export class Slot {
  readonly release: () => void
  readonly #since: number
  #advanced = Infinity
  #part = -Infinity

  constructor (release: () => void, now = performance.now()) {
    this.release = release
    this.#since = now
  }

  /** The connection has brought something new, or all that there was: the turn begins, since with less it would be for nothing. */
  advance (now = performance.now()): void {
    if (this.#advanced === Infinity) this.#advanced = now
  }

  /** A part of an event has come. */
  receive (now = performance.now()): void {
    this.#part = now
  }

  /**
   * Whether it is somebody else's turn.
   * @param hidden whether this tab is
   * @param theirs whether the one that waits is
   */
  isOver (hidden: boolean, theirs: boolean, now = performance.now()): boolean {
    const turn = hidden ? TURN.hidden : theirs ? TURN.beforeHidden : TURN.visible
    if (this.#advanced !== Infinity) return now - this.#advanced >= turn
    return now - this.#since >= LONGEST && now - this.#part >= ARRIVING
  }
}
