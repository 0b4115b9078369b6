/** Repeatable chance: the same seed, the same numbers. */
export class Random {
  #state: number

  constructor (seed: number) {
    this.#state = seed >>> 0
  }

  /** From 0 to 1 (mulberry32). */
  next (): number {
    this.#state = (this.#state + 0x6D2B79F5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  between (low: number, high: number): number {
    return low + this.next() * (high - low)
  }

  integer (low: number, high: number): number {
    return Math.floor(this.between(low, high + 1))
  }

  pick<T> (list: readonly T[]): T {
    return list[this.integer(0, list.length - 1)]!
  }

  /** One with chances of its own, so that what others draw does not matter to it. */
  fork (): Random {
    return new Random(Math.floor(this.next() * 2 ** 32))
  }
}
