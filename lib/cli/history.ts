const BARS = '▁▂▃▄▅▆▇█'
/** Milliseconds. */
const MINUTE = 60_000

interface Sample { at: number, value: number | null }

/** What a number was in the last minute. */
export class History {
  #samples: Sample[] = []

  add (at: number, value: number | null): void {
    this.#samples = [...this.#samples.filter((sample) => sample.at > at - MINUTE), { at, value }].slice(-MINUTE / 1000)
  }

  /** A bar for each look, as high as the highest; a blank where nothing was known. */
  spark (): string {
    const highest = Math.max(...this.#samples.map(({ value }) => value ?? 0), 0)
    return this.#samples.map(({ value }) => value === null
      ? ' '
      : BARS[highest === 0 ? 0 : Math.round(value / highest * (BARS.length - 1))]).join('')
  }
}

/** A number that only grows, as one a second: now, and in the last minute. */
export class Series {
  readonly #rate = new Rate()
  readonly #history = new History()

  add (at: number, count: number | null): number | null {
    const rate = this.#rate.next(at, count)
    this.#history.add(at, rate)
    return rate
  }

  spark (): string {
    return this.#history.spark()
  }
}

/** Turns a number that only grows into one a second. */
export class Rate {
  #last: { at: number, count: number } | null = null

  /** Null at first, and where it began again from the start. */
  next (at: number, count: number | null): number | null {
    const last = this.#last
    this.#last = count === null ? null : { at, count }
    if (last === null || count === null || count < last.count || at <= last.at) return null
    return Math.round((count - last.count) / (at - last.at) * 10_000) / 10
  }
}
