import type { Store } from './store.ts'

/** Milliseconds that it may take at a time. */
const SLICE = 8

/** Finds a text in what is loaded, bit by bit: new rows as they come. */
export class Find {
  needle: RegExp | null = null
  /** The number of the one that was gone to. */
  current = -1
  readonly #store: Store
  readonly #onchange: () => void
  #matches: number[] = []
  #next = 0
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor (store: Store, onchange: () => void) {
    this.#store = store
    this.#onchange = onchange
  }

  get count (): number {
    return this.#matches.length
  }

  /** Which of them that is, from 1 on; 0: none was gone to. */
  get place (): number {
    return this.#matches.indexOf(this.current) + 1
  }

  set (text: string): void {
    this.needle = text === '' ? null : new RegExp(text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'), 'i')
    this.restart()
  }

  restart (): void {
    this.#matches = []
    this.current = -1
    this.#next = this.#store.first
    this.more()
    this.#onchange()
  }

  /** There are new rows, or old ones have gone. */
  more (): void {
    if (this.needle === null || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#look()
    })
  }

  /** The match after that number, or before it; around the end if need be. -1: none. */
  go (from: number, step: 1 | -1): number {
    const matches = this.#matches
    if (matches.length === 0) return -1
    const found = step === 1 ? matches.find((number) => number > from) : matches.findLast((number) => number < from)
    this.current = found ?? (step === 1 ? matches[0]! : matches.at(-1)!)
    return this.current
  }

  #look (): void {
    const { needle } = this
    if (needle === null) return
    const { first, end } = this.#store
    const until = performance.now() + SLICE
    if (this.#matches[0]! < first) this.#matches = this.#matches.filter((number) => number >= first)
    this.#next = Math.max(this.#next, first)
    while (this.#next < end && performance.now() < until) {
      for (let i = 0; i < 100 && this.#next < end; i++, this.#next++) {
        if (this.#store.at(this.#next).matches(needle)) this.#matches.push(this.#next)
      }
    }
    if (this.#next < end) this.more()
    this.#onchange()
  }
}
