// What a node of the doorbell's model can do next.

import { OFF, POLLING, HOT, ARMED, FAILED, TRYING, PAUSING, LOOKING, NOTED, NARROWING, READS_FIRST, NONE, UP, MUTE, GONE, DEAF, IDLE, READING, VOID, TRY, TAKEN, OLD_TRY, OLD_TAKEN, UNLOCK, LISTEN, MAX_OPS, ENDED, FIELDS, NAMES, unpack, opAt, put, remove, type Node } from './word.ts'

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

export type Step = { step: string, word: number }
/** All that a setup can have. */
export const EVERYTHING = { others: true, statements: true, hot: true, stops: true, losses: true, failures: true, timers: true }
export const LOST = 'it sleeps, a row is there, and nothing under way will wake it'

export class NodeMachine {
  readonly #setup: Setup
  #inFlight = 0
  /** There is no room for one more statement. */
  #blocked = false

  constructor (setup: Setup) {
    this.#setup = setup
  }

  /** Before it was ever started. */
  get initial (): number {
    return this.pack({ ...unpack(0), session: this.#setup.losses ? NONE : this.#opened, stale: 1 })
  }

  /**
   * @param inFlight writers who are in pg_locks, a bit for each
   * @param somebodyTries a writer has the sleepers' lock
   */
  steps (before: Readonly<Node>, inFlight: number, somebodyTries: boolean): Step[] {
    this.#inFlight = inFlight
    const { hot, stops, losses, failures, mistake } = this.#setup
    const { doorbell, session, ops } = before
    const node = { ...before }
    const steps: Step[] = []
    const may = (step: string, act: () => void) => {
      act()
      if (!this.#blocked) steps.push({ step, word: this.pack(node) })
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
      if (!somebodyTries) may('gets the lock', () => { put(node, at, op + 1); node.held++ })
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

  /** Of a session that begins. */
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
    if (node.doorbell === READS_FIRST) return this.#look(node)
    if (node.doorbell === FAILED || (node.doorbell === HOT && quiet)) this.#arm(node)
    if (node.doorbell === NOTED || node.doorbell === NARROWING) {
      if (node.noted === 0) return this.#become(node, ARMED)
      node.doorbell = NARROWING
    }
    node.timer = 1
  }

  pack (node: Node): number {
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

/** What must never be, or null. */
export function wrong ({ doorbell, session, held, ops, timer, read, stale, bell, locked }: Node): string | null {
  const asleep = doorbell === ARMED && session === UP
  const rests = read === IDLE && !timer
  if (asleep && rests && !bell && stale) return LOST
  if (asleep && held === 0) return 'it sleeps without the lock'
  if (held > (doorbell > HOT ? locked : 0) && ops === 0) return 'it has the lock, and does not need it'
  if (rests && ops === 0 && ![OFF, ARMED].includes(doorbell)) return 'it is awake, and nothing under way will make it read'
  return null
}

export function settled ({ doorbell, session, held, ops, timer, read, stale, bell }: Node): boolean {
  if (bell || timer || ops !== 0 || read !== IDLE || session === GONE) return false
  return doorbell === OFF ? held === 0 : doorbell === ARMED && session === UP && held === 1 && !stale
}

/** What can be seen of a node from outside. `statements`: to lock, done, both of an earlier turn; to unlock. */
export function view ({ doorbell, session, held, ops, timer, read, bell }: Node) {
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
