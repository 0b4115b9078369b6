// All states that a machine can come to, one by one.

/** A machine of finitely many states. A state is so many words. */
export interface Model {
  readonly width: number
  readonly initial: Int32Array
  /** The state after the step that was told of last. */
  readonly next: Int32Array
  /** Steps that nobody needs in order to come to rest. */
  readonly news: ReadonlySet<string>
  /** Tells of each step that is possible: who takes it, and which it is. */
  steps (state: Int32Array, emit: (actor: string, step: string) => void): void
  /** Of states that differ in names only, makes one. */
  canonize (state: Int32Array): void
  /** What must never be, or null. */
  wrong (state: Int32Array): string | null
  /** Nothing is left to do. */
  settled (state: Int32Array): boolean
}

export interface Exploration {
  states: number
  steps: number
  /** The kinds of steps. */
  taken: Set<string>
  /** What must never be, where it was found; and a shortest way there. */
  wrong: string | null
  trace: string[]
}

/** All states, breadth first, up to the first that is wrong; then, whether each can settle where nothing new happens. */
export function explore (model: Model): Exploration {
  const { width, next } = model
  let words = new Int32Array(width << 12)
  let parents = new Int32Array(1 << 12)
  let table = new Int32Array(1 << 13)
  let edges = new Int32Array(1 << 16)
  /** Where the edges of each state end. */
  const ends: number[] = [0]
  const taken = new Set<string>()
  let states = 0
  let steps = 0

  const slotOf = (array: Int32Array, at: number): number => {
    let hash = 0
    for (let i = 0; i < width; i++) {
      hash = Math.imul(hash ^ array[at + i]!, 0x9e3779b1)
      hash ^= hash >>> 15
    }
    let slot = hash & table.length - 1
    for (; table[slot] !== 0; slot = slot + 1 & table.length - 1) {
      const other = (table[slot]! - 1) * width
      let i = 0
      while (i < width && words[other + i] === array[at + i]) i++
      if (i === width) break
    }
    return slot
  }
  const add = (parent: number): number => {
    let slot = slotOf(next, 0)
    if (table[slot] !== 0) return table[slot]! - 1
    if (states === parents.length) {
      words = longer(words)
      parents = longer(parents)
      table = new Int32Array(table.length * 2)
      for (let i = 0; i < states; i++) table[slotOf(words, i * width)] = i + 1
      slot = slotOf(next, 0)
    }
    words.set(next, states * width)
    parents[states] = parent
    table[slot] = ++states
    return states - 1
  }
  const at = (i: number): Int32Array => words.subarray(i * width, i * width + width)
  /** Found is one state for all that differ in names only: the names come back on the way there. */
  const traceTo = (end: number): string[] => {
    const path: number[] = []
    for (let i = end; i !== 0; i = parents[i]!) path.unshift(i)
    const lines: string[] = []
    let from = model.initial
    for (const i of path) {
      let to: Int32Array | null = null
      model.steps(from, (actor, step) => {
        const named = next.slice()
        model.canonize(next)
        if (to !== null || !at(i).every((word, j) => word === next[j])) return
        to = named
        lines.push(`${actor} ${step}`)
      })
      from = to!
    }
    return lines
  }
  const found = (wrong: string, i: number): Exploration => ({ states, steps, taken, wrong, trace: traceTo(i) })

  next.set(model.initial)
  add(0)
  for (let i = 0; i < states; i++) {
    const wrong = model.wrong(at(i))
    if (wrong !== null) return found(wrong, i)
    model.steps(at(i).slice(), (_actor, step) => {
      taken.add(step)
      model.canonize(next)
      if (steps === edges.length) edges = longer(edges)
      const to = add(i)
      edges[steps++] = model.news.has(step) ? i : to
    })
    ends.push(steps)
  }

  const settles = new Uint8Array(states)
  for (let i = 0; i < states; i++) settles[i] = model.settled(at(i)) ? 1 : 0
  for (let changed = true; changed;) {
    changed = false
    for (let i = states - 1; i >= 0; i--) {
      for (let edge = ends[i]!; settles[i] === 0 && edge < ends[i + 1]!; edge++) {
        if (settles[edges[edge]!] === 0) continue
        settles[i] = 1
        changed = true
      }
    }
  }
  const stuck = settles.indexOf(0)
  return stuck === -1 ? { states, steps, taken, wrong: null, trace: [] } : found('from here it never settles', stuck)
}

function longer (array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const copy = new Int32Array(array.length * 2)
  copy.set(array)
  return copy
}
