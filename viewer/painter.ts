/** Paints with the next frame. In a flood, reading goes before painting: that gets a quarter of the time. */
export class Painter {
  readonly #arrange: () => void
  #frame = 0
  /** When it was painted last, and how many milliseconds that took. */
  #painted = -Infinity
  #took = 0
  #later: ReturnType<typeof setTimeout> | undefined

  constructor (arrange: () => void) {
    this.#arrange = arrange
  }

  soon (): void {
    if (performance.now() - this.#painted < this.#took * 3) {
      this.#later ??= setTimeout(() => {
        this.#later = undefined
        this.soon()
      }, this.#took * 3)
      return
    }
    this.#frame ||= requestAnimationFrame(() => this.now())
  }

  /** With the next frame, flood or not. */
  next (): void {
    this.#took = 0
    this.soon()
  }

  now (): void {
    const from = performance.now()
    cancelAnimationFrame(this.#frame)
    this.#frame = 0
    this.#arrange()
    this.#painted = performance.now()
    // One long frame, as after a sleep, must not hold up the next for long.
    this.#took = Math.min(30, this.#painted - from)
  }
}
