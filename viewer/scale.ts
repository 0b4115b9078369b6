/** Pixels of content that a scroller gets at most. Browsers end between 10 million (phones) and 33 million. */
export const MAX_HEIGHT = 5_000_000
/** Pixels at either end in which both scroll alike. */
const EDGE = 100_000
/** Jumps above so many views are taken in proportion. */
const JUMP = 2

/**
 * Between a list of any height and a scroller that is not as high. A small scroll moves the list by as much, a large one, as with the
 * bar, in proportion; the ends are the ends. Where small scrolls have brought the two apart, the scroller is set right, which nobody sees.
 */
export class Scale {
  /** Pixels of the list above what is seen. `resize()` brings it within bounds. */
  top = 0
  /** Where the scroller is: its `scrollTop`. */
  scroll = 0
  /** The highest of each. */
  #maxTop = 0
  #maxScroll = 0
  #view = 0

  /** Pixels of the list below what is seen. */
  get below (): number {
    return this.#maxTop - this.top
  }

  /** Whether there is anything to scroll. */
  get scrolls (): boolean {
    return this.#maxTop > 0
  }

  /** Returns how high the content of the scroller has to be. */
  resize (height: number, view: number): number {
    const shown = Math.min(height, MAX_HEIGHT)
    this.#view = view
    this.#maxTop = Math.max(0, height - view)
    this.#maxScroll = Math.max(0, shown - view)
    this.#moveTo(this.top)
    return shown
  }

  /** Somebody has scrolled. */
  scrolled (scroll: number): void {
    const moved = scroll - this.scroll
    this.scroll = scroll
    if (scroll <= 0) this.#moveTo(0)
    // Browsers round: the end may be a part of a pixel before the end.
    else if (scroll >= this.#maxScroll - 1) this.#moveTo(this.#maxTop)
    else if (Math.abs(moved) < this.#view * JUMP) this.#moveTo(this.top + moved)
    else this.#moveTo(convert(scroll, this.#maxScroll, this.#maxTop))
  }

  /** Where the scroller should be: where it is, unless that is too far from where the list is. */
  get wanted (): number {
    const right = convert(this.top, this.#maxTop, this.#maxScroll)
    const free = this.top >= EDGE && this.below >= EDGE && this.#maxTop > this.#maxScroll
    return Math.abs(right - this.scroll) > (free ? EDGE / 2 : 1) ? right : this.scroll
  }

  #moveTo (top: number): void {
    this.top = Math.min(this.#maxTop, Math.max(0, top))
  }
}

/** A place in one range as a place in another: alike at both ends, in proportion in between. */
function convert (place: number, range: number, other: number): number {
  if (range === other || place <= EDGE) return place
  if (range - place <= EDGE) return other - (range - place)
  return EDGE + (place - EDGE) * (other - 2 * EDGE) / (range - 2 * EDGE)
}
