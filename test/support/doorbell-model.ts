// Writers and sleepers as a machine of finitely many states, and a search through all of them. Transactions, bells, starts
// and losses are without number, for of what was only that is kept which somebody can still notice.
//
// Writers (PostgreSQL, sql/install.sql). `lock`: INSERT takes the table's RowExclusiveLock. `look`: the WHEN condition
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

// #state. Up to HOT it needs no lock.
const OFF = 0
const POLLING = 1
const HOT = 2
const ARMED = 3
const FAILED = 4
const TRYING = 5
const PAUSING = 6
const LOOKING = 7
const NOTED = 8
const NARROWING = 9
/** For a mistake: has the lock, and reads before it looks. */
const READS_FIRST = 10

/** Sessions. MUTE: the listener misses the trigger. GONE: dead, and nobody has noticed. DEAF: did not LISTEN yet. */
const NONE = 0
const UP = 1
const MUTE = 2
const GONE = 3
const DEAF = 4

/** Reads. VOID: of a life before the last stop(). */
const IDLE = 0
const READING = 1
const VOID = 2

/** Statements. TAKEN: a TRY that has locked. OLD: for a turn that is over. */
const TRY = 1
const TAKEN = 2
const OLD_TRY = 3
const OLD_TAKEN = 4
const UNLOCK = 5
const LISTEN = 6
const MAX_OPS = 3

/** Of a writer, next to how far it is: it has the sleepers' lock for a moment; it will ring. */
const TRIES = 4
const RINGS = 8

/** In `noted`, next to a bit for each writer: somebody who has ended. */
const ENDED = 8

/** Ways to get it wrong. */
export type Mistake = 'looks, then locks' | 'does not look' | 'reads, then looks' | 'no last read' | 'clears again late' |
  'trigger looks first' | 'LISTENs late' | 'sleeps without the lock' | 'keeps what comes late' | 'takes an old look' | 'shows rows last'

export interface Setup {
  nodes: number
  writers: number
  others?: boolean
  /** Transactions of several statements. */
  statements?: boolean
  /** Too many bells. */
  hot?: boolean
  /** Nodes stop, and start again. */
  stops?: boolean
  /** Sessions die, and triggers are missed. */
  losses?: boolean
  /** Reads, looks and tries fail. */
  failures?: boolean
  /** A timer fires once. Else whoever is awake always has one. */
  timers?: boolean
  /** Most statements under way on a session. */
  ops?: number
  mistake?: Mistake
}

/** Steps that nobody needs in order to come to rest. */
const NEWS = new Set(['locks the table, writes a row', 'writes another row', 'hears a bell too many', 'stops', 'loses its session',
  'misses the trigger', 'cannot read', 'cannot look', 'cannot try'])

/** With bits, in the order in which they are packed. */
const FIELDS = { doorbell: 4, session: 3, held: 2, ops: 9, timer: 1, read: 2, again: 1, stale: 1, bell: 1, locked: 1, noted: 4, old: 1 }
/**
 * `stale`: a row is visible that the read under way does not bring, or else the last one did not. `bell`: sent, not heard.
 * `locked`: #lockedOn. `noted`: #writers, or what the look under way brings. `old`: for a mistake, a look of an earlier turn.
 */
type Node = Record<keyof typeof FIELDS, number>
const NAMES = Object.keys(FIELDS) as Array<keyof Node>
const NOTED_AT = 25
const NODES = ['A', 'B']

type Step = { step: string, word: number }
/** What is found out once of a node, by its word. `steps`: by what it sees of the writers. */
type Known = { node: Readonly<Node>, wrong: string | null, settled: boolean, steps: Array<Step[] | undefined>, shown: number[] }

/** Is told who can take a step, and which. The state after it is in `next`. */
type Emit = (actor: string, step: string) => void

export class DoorbellModel {
  /** A word for each node, and one for the writers. */
  readonly width: number
  readonly initial: Int32Array
  readonly next: Int32Array
  readonly #setup: Setup
  /** What a writer does in a transaction. */
  readonly #program: string[]
  #state!: Int32Array
  #emit!: Emit
  /** There is no room for one more statement. */
  #blocked = false
  readonly #nodes: Known[] = []
  readonly #known = new Map<number, Known>()

  constructor (setup: Setup) {
    this.#setup = setup
    const { nodes, losses, mistake } = setup
    if (mistake === 'trigger looks first') this.#program = ['look', 'lock', 'show', 'end']
    else if (mistake === 'shows rows last') this.#program = ['lock', 'look', 'end', 'show']
    else this.#program = ['lock', 'look', 'show', 'end']
    this.width = nodes + 1
    this.initial = new Int32Array(this.width)
    this.next = new Int32Array(this.width)
    for (let i = 0; i < nodes; i++) {
      this.initial[i] = this.#pack({ ...unpack(0), session: losses ? NONE : this.#opened, stale: 1 })
    }
  }

  steps (state: Int32Array, emit: Emit): void {
    this.#state = state
    this.#emit = emit
    for (let i = 0; i < this.#setup.nodes; i++) this.#nodes[i] = this.#know(state[i]!)
    for (let i = 0; i < this.#setup.writers; i++) this.#writerSteps(i)
    const seen = this.#inFlight * 2 + (this.#somebodyTries ? 1 : 0)
    for (let i = 0; i < this.#setup.nodes; i++) {
      for (const { step, word } of this.#nodes[i]!.steps[seen] ??= this.#nodeSteps(this.#nodes[i]!.node)) {
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
    shown[kind] ??= this.#pack({
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

  // Nodes

  #nodeSteps (before: Readonly<Node>): Step[] {
    const { hot, stops, losses, failures, mistake } = this.#setup
    const { doorbell, session, ops } = before
    const node = { ...before }
    const steps: Step[] = []
    const may = (step: string, act: () => void) => {
      act()
      if (!this.#blocked) steps.push({ step, word: this.#pack(node) })
      this.#blocked = false
      Object.assign(node, before)
    }

    if (doorbell === OFF) may('starts', () => { this.#become(node, POLLING); this.#settleDown(node); this.#wake(node) })
    else if (stops) may('stops', () => this.#stop(node))
    if (node.timer) may('is woken by its timer', () => { node.timer = 0; this.#wake(node) })
    for (const bell of node.bell ? [0, 1] : []) {
      may('hears a bell', () => { node.bell = bell; this.#ring(node, false) })
      if (hot) may('hears a bell too many', () => { node.bell = bell; this.#ring(node, true) })
    }
    if (node.read !== IDLE) {
      may('has read', () => this.#hasRead(node, false))
      if (doorbell === HOT) may('has read, and it has been quiet', () => this.#hasRead(node, true))
      if (failures) may('cannot read', () => { node.read = IDLE; node.again = 0; node.stale = 1; if (doorbell !== OFF) node.timer = 1 })
    }

    if (doorbell === PAUSING) may('tries again', () => { this.#wake(node); this.#try(node) })
    if (doorbell === LOOKING || (node.old && (doorbell === TRYING || doorbell === PAUSING))) {
      const sure = node.noted & ~ENDED
      for (let noted = 0; noted < 2 * ENDED; noted++) {
        if ((noted & sure) !== sure || (noted & ~(sure | this.#inFlight | ENDED)) !== 0) continue
        may(noted === 0 ? 'has looked: nobody writes' : 'has looked: somebody writes', () => this.#hasLooked(node, noted))
      }
    }
    if (doorbell === LOOKING && failures) may('cannot look', () => this.#fail(node))
    if (doorbell === NARROWING) {
      for (const noted of new Set([node.noted, node.noted & ~ENDED])) {
        const step = noted === 0 ? 'has looked: they are over' : 'has looked: somebody is left'
        may(step, () => this.#hasNarrowed(node, noted, NOTED))
        may(step, () => this.#hasNarrowed(node, noted, NARROWING))
      }
      for (const then of failures ? [NOTED, NARROWING] : []) may('cannot look', () => { node.doorbell = then })
    }

    // Statements that are done and were not heard of come before the others.
    let at = 0
    while (opAt(ops, at) === TAKEN || opAt(ops, at) === OLD_TAKEN) at++
    const op = session === NONE || session === GONE ? 0 : opAt(ops, at)
    if (op === UNLOCK) may('lets go of the lock', () => { remove(node, at); node.held-- })
    if (op === LISTEN) may('LISTENs', () => { remove(node, at); node.session = UP })
    if (op === TRY || op === OLD_TRY) {
      if (!this.#somebodyTries) may('gets the lock', () => { put(node, at, op + 1); node.held++ })
      else if (op === OLD_TRY) may('has tried in vain, too late', () => remove(node, at))
      else may('has tried in vain', () => { remove(node, at); if (mistake === 'sleeps without the lock') this.#hasLock(node); else node.doorbell = PAUSING })
    }
    if (opAt(ops, 0) === TRY && (failures || session === GONE)) may('cannot try', () => { remove(node, 0); this.#fail(node) })
    if (opAt(ops, 0) === TAKEN) may('hears that it has the lock', () => { remove(node, 0); node.locked = 1; this.#hasLock(node) })
    if (opAt(ops, 0) === OLD_TAKEN) may('hears too late that it has the lock', () => { remove(node, 0); if (mistake !== 'keeps what comes late') this.#send(node, UNLOCK) })

    if (losses && session !== NONE && session !== GONE) may('loses its session', () => this.#lose(node))
    if (session === GONE) may('sees that its session is lost', () => { node.session = NONE; node.ops = 0; node.locked = 0; this.#settleDown(node) })
    if (session === NONE) may('has a session', () => { node.session = this.#opened; this.#settleDown(node) })
    if (losses && session === UP) may('misses the trigger', () => { node.session = MUTE; this.#settleDown(node) })
    if (session === MUTE) may('finds the trigger', () => { node.session = UP; this.#settleDown(node) })
    return steps
  }

  get #opened (): number {
    return this.#setup.mistake === 'LISTENs late' ? DEAF : UP
  }

  #lose (node: Node): void {
    node.session = GONE
    node.held = 0
    node.bell = 0
    // What was not done will not be; the answer to a TRY is waited for.
    for (let i = MAX_OPS - 1; i >= 0; i--) if (opAt(node.ops, i) > TAKEN) remove(node, i)
  }

  #stop (node: Node): void {
    this.#become(node, OFF)
    this.#release(node)
    if (node.read === READING) node.read = VOID
    node.again = 0
    node.stale = 1
  }

  #ring (node: Node, tooMany: boolean): void {
    if (node.doorbell === OFF || node.doorbell === HOT) return
    if (tooMany && node.doorbell !== POLLING) {
      this.#become(node, HOT)
      this.#release(node)
    }
    this.#wake(node)
  }

  #settleDown (node: Node): void {
    if (node.doorbell === OFF) return
    if (node.session === NONE || node.session === MUTE) {
      this.#become(node, POLLING)
      this.#release(node)
    } else this.#arm(node)
    this.#wake(node)
  }

  #become (node: Node, doorbell: number): void {
    if (node.doorbell === doorbell && doorbell !== TRYING) return
    if (this.#setup.mistake === 'takes an old look' && node.doorbell === LOOKING) node.old = 1
    else node.noted = 0
    node.doorbell = doorbell
    node.timer = 0
    // Another turn.
    for (let i = 0; i < MAX_OPS; i++) {
      const op = opAt(node.ops, i)
      if (op === TRY || op === TAKEN) put(node, i, op + OLD_TRY - TRY)
    }
  }

  #arm (node: Node): void {
    this.#become(node, TRYING)
    if (node.locked || this.#setup.mistake === 'looks, then locks') this.#look(node)
    else this.#try(node)
  }

  #try (node: Node): void {
    node.doorbell = TRYING
    this.#send(node, TRY)
  }

  #hasLock (node: Node): void {
    const { mistake } = this.#setup
    if (node.session === DEAF) this.#send(node, LISTEN)
    if (mistake === 'reads, then looks') node.doorbell = READS_FIRST
    else if (mistake === 'looks, then locks' || mistake === 'does not look') node.doorbell = NOTED
    else return this.#look(node)
    this.#wake(node)
  }

  #look (node: Node): void {
    node.doorbell = LOOKING
    node.noted = this.#inFlight
    node.old = 0
  }

  #hasLooked (node: Node, noted: number): void {
    const { mistake } = this.#setup
    node.noted = noted
    node.old = 0
    if (mistake === 'looks, then locks') return this.#try(node)
    node.doorbell = NOTED
    if (mistake === 'reads, then looks' && noted === 0) this.#become(node, ARMED)
    else this.#wake(node)
  }

  #hasNarrowed (node: Node, noted: number, then: number): void {
    node.noted = noted
    node.doorbell = then
    if (noted !== 0) return
    if (this.#setup.mistake === 'no last read') this.#become(node, ARMED)
    else this.#wake(node)
  }

  #fail (node: Node): void {
    node.doorbell = FAILED
    node.noted = 0
    node.timer = 1
  }

  #release (node: Node): void {
    if (node.locked) this.#send(node, UNLOCK)
    node.locked = 0
  }

  #send (node: Node, op: number): void {
    // It fails, and the lock is gone, too.
    if (op === UNLOCK && node.session === GONE) return
    let i = 0
    while (opAt(node.ops, i) !== 0) i++
    if (i === (this.#setup.ops ?? MAX_OPS)) this.#blocked = true
    else put(node, i, op)
  }

  #wake (node: Node): void {
    if (node.doorbell === OFF) return
    if (node.read === IDLE) this.#read(node)
    else if (node.read === READING) node.again = 1
  }

  #read (node: Node): void {
    node.read = READING
    node.again = 0
    node.stale = 0
  }

  #hasRead (node: Node, quiet: boolean): void {
    const due = node.read === VOID || (node.again && this.#setup.mistake !== 'clears again late')
    if (due && node.doorbell !== OFF) return this.#read(node)
    node.read = IDLE
    node.again = 0
    if (node.doorbell !== OFF) this.#rest(node, quiet)
  }

  #rest (node: Node, quiet: boolean): void {
    node.timer = 0
    if (node.doorbell === ARMED) return
    if (node.doorbell === FAILED) return this.#arm(node)
    if (node.doorbell === READS_FIRST) return this.#look(node)
    if (node.doorbell === HOT && quiet) this.#arm(node)
    if (node.doorbell === NOTED || node.doorbell === NARROWING) {
      if (node.noted === 0) return this.#become(node, ARMED)
      node.doorbell = NARROWING
    }
    node.timer = 1
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

  /** What can be seen of the first node from outside. `statements`: to lock, done, both of an earlier turn; to unlock. */
  view (state: Int32Array) {
    const { doorbell, session, held, ops, timer, read, bell } = this.#know(state[0]!).node
    let statements = ''
    for (let i = 0; opAt(ops, i) !== 0; i++) statements += 'TDtdUL'[opAt(ops, i) - 1]
    return {
      state: ['off', 'polling', 'hot', 'armed'][doorbell] ?? 'arming',
      session: ['none', 'up', 'mute', 'gone', 'up'][session]!,
      held,
      statements,
      reads: read !== IDLE,
      looks: doorbell === LOOKING || doorbell === NARROWING,
      pauses: doorbell === PAUSING,
      timer: timer > 0,
      bell: bell > 0
    }
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

  #pack (node: Node): number {
    const { doorbell, read, again } = node
    const { timers, mistake } = this.#setup
    // The worst, where the next read comes before anybody asks.
    if (mistake === undefined && (again || (doorbell !== ARMED && (read !== READING || doorbell < NOTED)))) node.stale = 1
    if (!timers) node.timer = doorbell === OFF || doorbell === ARMED ? 0 : 1
    let word = 0
    let at = 0
    for (const name of NAMES) {
      word |= node[name] << at
      at += FIELDS[name]
    }
    return word
  }
}

function wrong ({ doorbell, session, held, ops, timer, read, stale, bell, locked }: Node): string | null {
  const asleep = doorbell === ARMED && session === UP
  const rests = read === IDLE && !timer
  if (asleep && rests && !bell && stale) return 'it sleeps, a row is there, and nothing under way will wake it'
  if (asleep && held === 0) return 'it sleeps without the lock'
  if (held > (doorbell > HOT ? locked : 0) && ops === 0) return 'it has the lock, and does not need it'
  if (rests && ops === 0 && ![OFF, ARMED, PAUSING, LOOKING].includes(doorbell)) return 'it is awake, and nothing under way will make it read'
  return null
}

function settled ({ doorbell, session, held, ops, timer, read, stale, bell }: Node): boolean {
  if (bell || timer || ops !== 0 || read !== IDLE || session === GONE) return false
  return doorbell === OFF ? held === 0 : doorbell === ARMED && session === UP && held === 1 && !stale
}

function unpack (word: number): Node {
  const node = {} as Node
  for (const name of NAMES) {
    node[name] = word & (1 << FIELDS[name]) - 1
    word >>= FIELDS[name]
  }
  return node
}

function opAt (ops: number, i: number): number {
  return ops >> 3 * i & 7
}

function put (node: Node, i: number, op: number): void {
  node.ops = node.ops & ~(7 << 3 * i) | op << 3 * i
}

function remove (node: Node, i: number): void {
  const before = (1 << 3 * i) - 1
  node.ops = node.ops & before | node.ops >> 3 & ~before
}

function ended (word: number, i: number): number {
  const bit = 1 << NOTED_AT + i
  return word & bit ? word & ~bit | ENDED << NOTED_AT : word
}

/** Two neighbours of so many bits each, the other way round. */
function swapped (word: number, at: number, bits: number): number {
  const differ = (word >> at ^ word >> at + bits) & (1 << bits) - 1
  return word ^ (differ << at | differ << at + bits)
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
export function explore (model: DoorbellModel): Exploration {
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
      edges[steps++] = NEWS.has(step) ? i : to
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
