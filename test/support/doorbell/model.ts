// Writers and sleepers as a machine of finitely many states. Transactions, bells, starts and losses are without number, for
// of what was only that is kept which somebody can still notice.
//
// Writers (PostgreSQL, sql/install.sql). `lock`: INSERT takes the table's RowExclusiveLock. `look`: the trigger
//   tries the sleepers' lock and, a step later, lets go of it. `show`: the row is visible, and the NOTIFY with all who
//   LISTEN. `end`: the locks go after that (CommitTransaction; a prepared transaction does the same, later). What is
//   rolled back to a savepoint leaves everything as it was.
// The session of a node (lib/postgres/locks.ts, lib/tail/notify-listener.ts). `ops`: statements under way, in their order.
//   `held`: how often the server has the lock for it. The node hears of that a step later.
// A node (lib/tail/doorbell.ts, lib/tail/tailer.ts). Methods have the names that they have there; a step goes from one
//   await to the next. FAILED is `arming` without #armingTurn; NOTED has #writers; NARROWING is in #awaitWriters, too.
//
// Where it does not look closely, it allows more than can happen:
// * Rows steer nothing, so of a read there is one bit: a row is visible that it does not bring. It sees what was there
//   when it was asked for; later it could only see more. More pages, and what is asked after a read, make it longer.
// * pg_locks is not read at one moment: who held a lock all the time is seen, of those who came or went any may be.
// * Of HolderSet it takes what test/holders.test.ts shows: it loses nobody who is there. Who has ended may stay for a
//   while (stand-ins make that), and as it only counts whether it is empty, one bit does for all of those.
// * Any bell may be one of several, and any may be the one that is too many.
// * Asleep there is no timer, neither the safety read's nor that of gaps in flight; only a failed read sets one.
// * `others`: more nodes. A writer may notice that one of them sleeps, and nobody notices anything else of them.
// And less: at most three statements are under way on a session; who wants one more waits.

import type { Model } from './explore.ts'
import { NodeMachine, settled, view, wrong, type Setup, type Step } from './node.ts'
import { ended, MUTE, NOTED_AT, OFF, swapped, unpack, UP, VOID, type Node } from './word.ts'

/** Of a writer, next to how far it is: it has the sleepers' lock for a moment; it will ring. */
const TRIES = 4
const RINGS = 8

/** Steps that nobody needs in order to come to rest. */
const NEWS: ReadonlySet<string> = new Set(['locks the table, writes a row', 'writes another row', 'hears a bell too many', 'stops', 'loses its session',
  'misses the trigger', 'cannot read', 'cannot look', 'cannot try'])

const NODES = ['A', 'B']

/** What is found out once of a node, by its word. `steps`: by what it sees of the writers. */
type Known = { node: Readonly<Node>, wrong: string | null, settled: boolean, steps: Array<Step[] | undefined>, shown: number[] }

/** Is told who can take a step, and which. The state after it is in `next`. */
type Emit = (actor: string, step: string) => void

export class DoorbellModel implements Model {
  /** A word for each node, and one for the writers. */
  readonly width: number
  readonly initial: Int32Array
  readonly next: Int32Array
  readonly news = NEWS
  readonly #setup: Setup
  /** What a writer does in a transaction. */
  readonly #program: string[]
  #state!: Int32Array
  #emit!: Emit
  readonly #machine: NodeMachine
  readonly #nodes: Known[] = []
  readonly #known = new Map<number, Known>()

  constructor (setup: Setup) {
    this.#setup = setup
    this.#machine = new NodeMachine(setup)
    const { nodes, mistake } = setup
    if (mistake === 'trigger looks first') this.#program = ['look', 'lock', 'show', 'end']
    else if (mistake === 'shows rows last') this.#program = ['lock', 'look', 'end', 'show']
    else this.#program = ['lock', 'look', 'show', 'end']
    this.width = nodes + 1
    this.initial = new Int32Array(this.width)
    this.next = new Int32Array(this.width)
    this.initial.fill(this.#machine.initial, 0, nodes)
  }

  steps (state: Int32Array, emit: Emit): void {
    this.#state = state
    this.#emit = emit
    for (let i = 0; i < this.#setup.nodes; i++) this.#nodes[i] = this.#know(state[i]!)
    for (let i = 0; i < this.#setup.writers; i++) this.#writerSteps(i)
    const inFlight = this.#inFlight
    const tries = this.#somebodyTries
    const seen = inFlight * 2 + (tries ? 1 : 0)
    for (let i = 0; i < this.#setup.nodes; i++) {
      for (const { step, word } of this.#nodes[i]!.steps[seen] ??= this.#machine.steps(this.#nodes[i]!.node, inFlight, tries)) {
        for (let n = 0; n < this.width; n++) this.next[n] = state[n]!
        this.next[i] = word
        emit(NODES[i]!, step)
      }
    }
  }

  // Writers. Of each there are four bits: how far it is, TRIES, RINGS.

  #writerSteps (i: number): void {
    const { statements, others } = this.#setup
    const writer = this.#writer(i)
    const at = writer & 3
    const then = at + 1 & 3
    const rings = writer & RINGS
    switch (this.#program[at]) {
      case 'lock':
        this.#writes(i, then | rings, 'locks the table, writes a row')
        break
      case 'look':
        if (writer & TRIES) return this.#writes(i, then | rings, 'lets go of the lock it tried')
        if (this.#nodes.some(({ node }) => node.held > 0)) this.#writes(i, then | RINGS, 'looks: somebody sleeps')
        else if (this.#somebodyTries) this.#writes(i, then | RINGS, 'looks: so does another one')
        else {
          this.#writes(i, writer | TRIES, 'looks: nobody sleeps')
          if (others) this.#writes(i, then | RINGS, 'looks: somebody sleeps elsewhere')
        }
        break
      case 'show':
        if (statements) this.#writes(i, 1 | rings, 'writes another row')
        this.#writes(i, then, rings ? 'commits and rings' : 'commits', (word) => this.#shown(this.#know(word), rings))
        break
      case 'end':
        this.#writes(i, then | rings, 'lets go of its locks', ended)
    }
    if (at === 1 || at === 2) this.#writes(i, 0, 'rolls back', ended)
  }

  /** `change`: what it does to a node. */
  #writes (i: number, writer: number, step: string, change: (word: number, i: number) => number = (word) => word): void {
    for (let n = 0; n < this.#setup.nodes; n++) this.next[n] = change(this.#state[n]!, i)
    this.next[this.width - 1] = this.#state[this.width - 1]! & ~(15 << 4 * i) | writer << 4 * i
    this.#emit(`W${i + 1}`, step)
  }

  #shown ({ node, shown }: Known, rings: number): number {
    const kind = rings ? 1 : 0
    shown[kind] ??= this.#machine.pack({
      ...node,
      stale: node.doorbell !== OFF && node.read !== VOID ? 1 : node.stale,
      bell: rings && (node.session === UP || node.session === MUTE) ? 1 : node.bell
    })
    return shown[kind]
  }

  #writer (i: number): number {
    return this.#state[this.width - 1]! >> 4 * i & 15
  }

  get #somebodyTries (): boolean {
    return (this.#state[this.width - 1]! & (TRIES | TRIES << 4 | TRIES << 8)) !== 0
  }

  /** Who is in pg_locks, a bit for each. */
  get #inFlight (): number {
    let writers = 0
    for (let i = 0; i < this.#setup.writers; i++) {
      const at = this.#writer(i) & 3
      if (at > this.#program.indexOf('lock') && at <= this.#program.indexOf('end')) writers |= 1 << i
    }
    return writers
  }

  /** What must never be, or null. */
  wrong (state: Int32Array): string | null {
    for (let i = 0; i < this.#setup.nodes; i++) {
      const { wrong } = this.#know(state[i]!)
      if (wrong !== null) return wrong
    }
    return null
  }

  /** Nobody writes, and whoever is not off sleeps and has read everything. */
  settled (state: Int32Array): boolean {
    if (state[this.width - 1] !== 0) return false
    for (let i = 0; i < this.#setup.nodes; i++) if (!this.#know(state[i]!).settled) return false
    return true
  }

  #know (word: number): Known {
    let known = this.#known.get(word)
    if (known === undefined) {
      const node = unpack(word)
      this.#known.set(word, known = { node, wrong: wrong(node), settled: settled(node), steps: [], shown: [] })
    }
    return known
  }

  /** Whether a writer has the sleepers' lock. */
  tried (state: Int32Array): boolean {
    this.#state = state
    return this.#somebodyTries
  }

  /** What can be seen of the first node from outside. */
  view (state: Int32Array): ReturnType<typeof view> {
    return view(this.#know(state[0]!).node)
  }

  /** Nodes are alike, and so are writers: of states that differ in names only, one. */
  canonize (state: Int32Array): void {
    const [a, b] = state
    const own = ~(7 << NOTED_AT)
    if (this.#setup.nodes === 2 && (a! & own) > (b! & own)) {
      state[0] = b!
      state[1] = a!
    }
    for (let end = this.#setup.writers - 1; end > 0; end--) {
      for (let i = 0; i < end; i++) this.#order(state, i)
    }
  }

  /** Puts writer i and the next one in their order. */
  #order (state: Int32Array, i: number): void {
    const last = this.width - 1
    let x = state[last]! >> 4 * i & 15
    let y = state[last]! >> 4 * i + 4 & 15
    for (let n = 0; n < last; n++) {
      x = x << 1 | state[n]! >> NOTED_AT + i & 1
      y = y << 1 | state[n]! >> NOTED_AT + i + 1 & 1
    }
    if (x <= y) return
    state[last] = swapped(state[last]!, 4 * i, 4)
    for (let n = 0; n < last; n++) state[n] = swapped(state[n]!, NOTED_AT + i, 1)
  }
}
