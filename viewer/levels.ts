/** Levels that get a button, where neither the options nor the place name more. */
const MAX_OFFERED = 16
/** What the stream takes: so many names, and so many characters with the commas between. */
const MAX_NAMES = 32
const MAX_CHARACTERS = 1024
/** Levels of which rows are counted at a time: anybody can write any. */
const MAX_COUNTED = 64

/** Whether the stream takes it as the name of a level. A row may have another. */
export function isLevel (name: string): boolean {
  return /^[^,\0]{1,64}$/.test(name)
}

/** Whether the stream takes all of them at once. */
export function fit (names: readonly string[]): boolean {
  return names.length <= MAX_NAMES && names.join().length <= MAX_CHARACTERS
}

/** Which levels have a button: those of the options, those of the place, and the most common ones of the rows. */
export class Levels {
  /** In the order of the buttons. */
  readonly names: string[] = []
  readonly #given: readonly string[]
  #chosen: readonly string[] | null = null
  readonly #rows = new Map<string, number>()

  constructor (given: readonly string[]) {
    for (const name of new Set(given)) if (isLevel(name) && fit([...this.names, name])) this.names.push(name)
    this.#given = [...this.names]
  }

  /** A row has this one. Returns whether there is another button for it. */
  see (name: string): boolean {
    if (!isLevel(name)) return false
    this.#count(name)
    return this.#offer(name)
  }

  /** The place has these. Null: all. */
  choose (chosen: readonly string[] | null): void {
    this.#chosen = chosen
    for (const name of chosen ?? []) this.#offer(name)
  }

  /** Those of the place with that one on or off. Null: all; also in the place of none, which would show nothing for ever. */
  toggle (name: string): string[] | null {
    const on = this.#chosen ?? this.names
    const wanted = on.includes(name) ? on.filter((other) => other !== name) : [...on, name]
    const sorted = this.names.filter((name) => wanted.includes(name))
    return sorted.length === 0 || sorted.length === this.names.length ? null : sorted
  }

  /** Misra and Gries: what is common is still there when the many that are seldom have pushed each other out. */
  #count (name: string): void {
    const rows = this.#rows
    const count = rows.get(name) ?? 0
    if (count > 0 || rows.size < MAX_COUNTED) {
      rows.set(name, count + 1)
      return
    }
    for (const [other, count] of rows) {
      if (count === 1) rows.delete(other)
      else rows.set(other, count - 1)
    }
  }

  #offer (name: string): boolean {
    const { names } = this
    if (names.includes(name)) return false
    if ((names.length < MAX_OFFERED || this.#isChosen(name)) && fit([...names, name])) {
      names.push(name)
      return true
    }
    // In the place of one that is far less common, so that a few odd rows do not keep a level out for ever.
    const least = names.reduce((least, other) => this.#weight(other) < this.#weight(least) ? other : least)
    if (this.#weight(least) * 2 >= this.#weight(name) || !fit(names.map((other) => other === least ? name : other))) return false
    names[names.indexOf(least)] = name
    return true
  }

  #isChosen (name: string): boolean {
    return this.#chosen?.includes(name) ?? false
  }

  #weight (name: string): number {
    return this.#given.includes(name) || this.#isChosen(name) ? Infinity : this.#rows.get(name) ?? 0
  }
}
