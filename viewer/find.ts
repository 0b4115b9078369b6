import type { Store } from './store.ts'

/** Milliseconds that it may take at a time. */
const SLICE = 8
/** Characters between two looks at the clock. */
const GLANCE = 100_000

/** A text as it is, or between two slashes a regular expression. Null: that is none. */
export function needleOf (text: string): RegExp | null {
  const pattern = /^\/(.+)\/$/s.exec(text)?.[1]
  try {
    return new RegExp(pattern ?? text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'), 'i')
  } catch {
    return null
  }
}

/** Finds a text in what is loaded, bit by bit: new rows as they come. */
export class Find {
  needle: RegExp | null = null
  /** What was asked for is no regular expression. */
  isWrong = false
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
    return this.current === -1 ? 0 : this.#matches.indexOf(this.current) + 1
  }

  set (text: string): void {
    this.needle = text === '' ? null : needleOf(text)
    this.isWrong = text !== '' && this.needle === null
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
    this.#forgetDropped()
    const matches = this.#matches
    const found = step === 1 ? matches.find((number) => number > from) : matches.findLast((number) => number < from)
    this.current = found ?? matches.at(step === 1 ? 0 : -1) ?? -1
    return this.current
  }

  #look (): void {
    const { needle } = this
    if (needle === null) return
    this.#forgetDropped()
    const { first, end } = this.#store
    const until = performance.now() + SLICE
    this.#next = Math.max(this.#next, first)
    for (let read = 0; this.#next < end; this.#next++) {
      if (read > GLANCE) {
        if (performance.now() > until) break
        read = 0
      }
      const entry = this.#store.at(this.#next)
      if (entry.matches(needle)) this.#matches.push(this.#next)
      read += entry.size
    }
    if (this.#next < end) this.more()
    this.#onchange()
  }

  #forgetDropped (): void {
    const { first } = this.#store
    if (this.#matches[0]! < first) this.#matches = this.#matches.filter((number) => number >= first)
  }
}
