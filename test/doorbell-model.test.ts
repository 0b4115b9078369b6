// Falling asleep and being woken, in every order in which writers, sessions and nodes can take their steps. What a step stands
// for is said in test/support/doorbell-model.ts.

import { EventEmitter } from 'node:events'
import t, { type Test } from 'tap'
import type { Reader } from '../lib/postgres/reader.ts'
import type { Source } from '../lib/postgres/source.ts'
import { Doorbell } from '../lib/tail/doorbell.ts'
import type { NotifyListener } from '../lib/tail/notify-listener.ts'
import { Tailer } from '../lib/tail/tailer.ts'
import { DoorbellModel, explore, type Exploration, type Mistake, type Setup } from './support/doorbell-model.ts'

// Some of the searches take many seconds where others want the processor, too.
t.setTimeout(300_000)
const EVERYTHING = { others: true, statements: true, hot: true, stops: true, losses: true, failures: true, timers: true }
const TWO = 'looks: so does another one'
const WRITING = ['locks the table, writes a row', 'looks: nobody sleeps', 'looks: somebody sleeps', TWO,
  'lets go of the lock it tried', 'commits', 'commits and rings', 'rolls back', 'lets go of its locks']
const ARMING = ['starts', 'gets the lock', 'has tried in vain', 'tries again', 'hears that it has the lock', 'has looked: nobody writes',
  'has looked: somebody writes', 'has looked: somebody is left', 'has looked: they are over', 'has read', 'hears a bell', 'is woken by its timer']
const HOT = ['hears a bell too many', 'has read, and it has been quiet', 'lets go of the lock', 'hears too late that it has the lock',
  'has tried in vain, too late']
const FAULTS = ['stops', 'cannot read', 'cannot look', 'cannot try', 'loses its session', 'sees that its session is lost', 'has a session',
  'misses the trigger', 'finds the trigger']

function search (t: Test, setup: Setup): Exploration {
  const found = explore(new DoorbellModel(setup))
  t.comment(`${found.states} states, ${found.steps} steps`)
  return found
}

/** Nothing is wrong in any state, there were at least so many, and every step was taken. */
function right (t: Test, setup: Setup, atLeast: number, steps: string[]): void {
  const { states, taken, wrong, trace } = search(t, setup)
  t.equal(wrong, null, 'nothing is wrong', { trace })
  t.ok(states >= atLeast, 'all was looked at', { states })
  t.same([...taken].sort(), steps.sort())
}

t.test('two nodes fall asleep among three writers: no row is left to a sleeper that nothing wakes', async (t) => {
  right(t, { nodes: 2, writers: 3 }, 500_000, [...WRITING, ...ARMING])
})

t.test('nor where bells keep them awake, or they stop, and they fall asleep again', async (t) => {
  right(t, { nodes: 2, writers: 1, hot: true, stops: true, ops: 2 }, 200_000, [...WRITING, ...ARMING, ...HOT, 'stops'].filter((step) => step !== TWO))
})

t.test('nor where everything fails that can, next to any number of other nodes', async (t) => {
  right(t, { nodes: 1, writers: 3, ...EVERYTHING }, 100_000,
    [...WRITING, 'looks: somebody sleeps elsewhere', 'writes another row', ...ARMING, ...HOT, ...FAULTS])
})

t.test('where nobody sleeps nobody rings, but for two who look at once', async (t) => {
  const alone = ['locks the table, writes a row', 'looks: nobody sleeps', 'lets go of the lock it tried', 'writes another row', 'commits', 'rolls back', 'lets go of its locks']
  right(t, { nodes: 0, writers: 1, statements: true }, 5, alone)
  right(t, { nodes: 0, writers: 3, statements: true }, 50, [...alone, TWO, 'commits and rings'])
})

const LOST = 'it sleeps, a row is there, and nothing under way will wake it'
const MISTAKES: Array<[mistake: Mistake, wrong: string, more?: Partial<Setup>]> = [
  ['looks, then locks', LOST],
  ['does not look', LOST],
  ['reads, then looks', LOST],
  ['no last read', LOST],
  ['clears again late', LOST],
  ['trigger looks first', LOST],
  ['LISTENs late', LOST],
  ['shows rows last', LOST],
  ['sleeps without the lock', 'it sleeps without the lock'],
  ['takes an old look', 'it sleeps without the lock', { hot: true }],
  ['keeps what comes late', 'it has the lock, and does not need it', { hot: true }]
]

for (const [mistake, expected, more] of MISTAKES) {
  t.test(`another protocol is found out: ${mistake}`, async (t) => {
    const { wrong, trace } = search(t, { nodes: 2, writers: 2, ...more, mistake })
    for (const line of trace) t.comment(line)
    t.equal(wrong, expected, 'found', { trace })
  })
}

// A model is worth as much as it has of the code. So the code takes steps at random, each in the world that a model's writers
// make, and the model has to be able to take the same.

/** Milliseconds that are never over. */
const NEVER = 1e9

type Act = [step: string | null, act: () => void]
interface Timer { act: () => void, wakes: boolean, milliseconds: number, turn: number }
/** Whatever waits for an answer, and how it was when it was asked. */
interface Asked { unlocks: boolean, done: boolean, turn: number, life: number, rows: number, writers: Array<string | null>, resolve: (value: any) => void, reject: (error: Error) => void }

/** A doorbell and a tailer, and all the states in which the model may be that has done what they did. */
class Double {
  readonly told: string[] = []
  readonly timers = new Set<Timer>()
  now = 1e6
  readonly #model = new DoorbellModel({ nodes: 1, writers: 2, ...EVERYTHING })
  #states: Int32Array[] = [this.#model.initial]
  readonly #random: () => number
  readonly #listener = new EventEmitter()
  readonly #doorbell: Doorbell
  readonly #tailer: Tailer
  #turn = 0
  #life = 0
  #session = 'none'
  #held = 0
  #bell = false
  #transactions = 0
  #writers: Array<string | null> = [null, null]
  #rows = 0
  /** The last row it has. */
  #high = 0
  readonly #reads: Asked[] = []
  #afterRead: (() => void) | null = null
  readonly #looks: Asked[] = []
  #statements: Asked[] = []

  constructor (random: () => number) {
    this.#random = random
    const log: any = { info () {}, warn () {}, debug: (_: object, text: string) => { if (text === 'doorbell') this.#turn++ } }
    const session = async ([text]: string[]) => {
      const unlocks = text!.includes('unlock')
      if (this.#session === 'none' || (this.#session === 'gone' && unlocks)) throw new Error('no session')
      return this.#ask(this.#statements, unlocks)
    }
    const listens = () => this.#session === 'up' || this.#session === 'gone'
    const listener = Object.defineProperties(this.#listener, {
      state: { get: () => listens() ? 'listening' : 'polling' },
      session: { get: () => listens() ? session : null }
    }) as NotifyListener
    this.#doorbell = new Doorbell({ listener, pollInterval: 1000, safetyInterval: () => NEVER, log, wake: this.wake })
    this.#tailer = new Tailer({
      order: 'arrival',
      log,
      afterRead: () => new Promise((resolve) => { this.#afterRead = () => resolve(false) }),
      receiver: { watched: () => null, watches: () => true, deliver: (all) => { this.#high = Number(all.at(-1)!.row.id) }, reset () {} }
    })
  }

  readonly wake = () => this.#tailer.wake()

  setTimer (act: () => void, milliseconds: number): Timer {
    const timer = { act, wakes: act === this.wake, milliseconds, turn: this.#turn }
    this.timers.add(timer)
    return timer
  }

  #ask (list: Asked[], unlocks = false): Promise<any> {
    return new Promise((resolve, reject) => {
      list.push({ unlocks, done: false, turn: this.#turn, life: this.#life, rows: this.#rows, writers: [...this.#writers], resolve, reject })
    })
  }

  #start (): void {
    this.#high = this.#rows
    const source = {
      table: { name: 'x', oid: 1, sequence: 2, runs: null },
      head: async () => ({ high: BigInt(this.#rows), gaps: [], complete: true }),
      read: () => this.#ask(this.#reads)
    }
    const other = async () => [{ epoch: '1:1', last: '1000', holder: '3/1' }]
    const sql = Object.assign((_text: string[], [relation]: number[]) => relation === source.table.oid ? this.#ask(this.#looks) : other(), { unsafe: other })
    const reader = { answer: (ask: (sql: unknown) => unknown) => ask(sql) }
    this.#tailer.start(source as unknown as Source, reader as unknown as Reader, this.#doorbell)
  }

  /** What can happen now, in the words of the model; null: what should change nothing. */
  #acts (): Act[] {
    const acts: Act[] = []
    const may = (step: string | null, act: () => void) => acts.push([step, act])
    const seldom = () => this.#random() < 0.15
    const { state } = this.#doorbell
    const no = new Error('no')

    if (state === 'off') may('starts', () => this.#start())
    else if (seldom()) may('stops', () => { this.#life++; this.#tailer.stop() })
    for (const timer of this.timers) {
      if (timer.milliseconds === NEVER) continue
      may(timer.wakes ? 'is woken by its timer' : timer.turn === this.#turn ? 'tries again' : null, () => { this.timers.delete(timer); timer.act() })
    }
    const ring = (bells: number) => {
      if (state !== 'hot') this.now += 1000
      this.#bell = this.#random() < 0.5
      for (let i = 0; i < bells; i++) this.#listener.emit('bell')
    }
    if (this.#bell) may('hears a bell', () => ring(1))
    if (this.#bell && (state === 'armed' || state === 'arming')) may('hears a bell; hears a bell too many', () => ring(21))

    const [read] = this.#reads
    const hasRead = 'has read|has read, and it has been quiet'
    if (read !== undefined && this.#afterRead === null) {
      may(read.life === this.#life ? null : hasRead, () => this.#page(read))
      if (seldom()) may('cannot read', () => this.#reads.shift()!.reject(no))
    } else if (read !== undefined) {
      for (const pause of [0, 1000]) may(hasRead, () => { this.now += pause; this.#reads.shift(); this.#afterRead!(); this.#afterRead = null })
    }
    const [look] = this.#looks
    if (look !== undefined) {
      const counts = look.turn === this.#turn
      may(counts ? 'has looked: nobody writes|has looked: somebody writes|has looked: they are over|has looked: somebody is left' : null, () => this.#seen(look))
      if (seldom()) may(counts ? 'cannot look' : null, () => this.#looks.shift()!.reject(no))
    }

    const open = this.#session === 'up' || this.#session === 'mute'
    const next = open ? this.#statements.find(({ done }) => !done) : undefined
    if (next !== undefined) {
      const answer = (rows: object[]) => { this.#statements.splice(this.#statements.indexOf(next), 1); next.resolve(rows) }
      if (next.unlocks) may('lets go of the lock', () => { this.#held--; answer([]) })
      else if (this.#model.tried(this.#states[0]!)) may(next.turn === this.#turn ? 'has tried in vain' : 'has tried in vain, too late', () => answer([{ taken: false }]))
      else may('gets the lock', () => { this.#held++; next.done = true })
    }
    const [first] = this.#statements
    if (first?.done) may(`hears${first.turn === this.#turn ? '' : ' too late'} that it has the lock`, () => this.#statements.shift()!.resolve([{ taken: true }]))
    else if (first?.turn === this.#turn && !first.unlocks && (!open || seldom())) may('cannot try', () => this.#statements.shift()!.reject(no))

    const become = (session: string) => () => {
      this.#session = session
      const lost = session === 'none' ? this.#statements.splice(0) : []
      this.#listener.emit('state')
      for (const { reject } of lost) reject(no)
    }
    if (open && seldom()) may('loses its session', () => this.#lose())
    if (this.#session === 'gone') may('sees that its session is lost', become('none'))
    if (this.#session === 'none') may('has a session', become('up'))
    if (this.#session === 'up' && seldom()) may('misses the trigger', become('mute'))
    if (this.#session === 'mute') may('finds the trigger', become('up'))
    return acts
  }

  #page (read: Asked): void {
    if (read.life !== this.#life) this.#reads.shift()
    const content = { level: null, message: 'm', cut: false, timestamp: null, extra: null }
    const rows: object[] = []
    for (let id = this.#high + 1; id <= (this.#random() < 0.5 ? this.#rows : read.rows); id++) rows.push({ id: BigInt(id), run: 'a', content })
    read.resolve({ rows, more: false, epoch: rows.length > 0 ? '1:1' : null })
  }

  #seen (look: Asked): void {
    this.#looks.shift()
    const holders = new Set([...look.writers, ...this.#writers])
    holders.delete(null)
    for (const holder of holders) {
      if ((!look.writers.includes(holder) || !this.#writers.includes(holder)) && this.#random() < 0.5) holders.delete(holder)
    }
    look.resolve([...holders].map((holder) => ({ holder })))
  }

  #lose (): void {
    this.#session = 'gone'
    this.#held = 0
    this.#bell = false
    this.#statements = this.#statements.filter(({ unlocks, turn }) => !unlocks && turn === this.#turn)
  }

  /** One of the model's writers says what it does. */
  #write (): Int32Array[] {
    const steps: Array<[actor: string, step: string]> = []
    this.#model.steps(this.#states[0]!, (actor, step) => { if (actor !== 'A') steps.push([actor, step]) })
    const [actor, step] = this.#pick(steps)!
    this.told.push(`${actor} ${step}`)
    const i = Number(actor[1]) - 1
    if (step.startsWith('locks')) this.#writers[i] = `3/${++this.#transactions}`
    if (step.startsWith('commits')) this.#rows++
    if (step === 'commits and rings' && (this.#session === 'up' || this.#session === 'mute')) this.#bell = true
    if (step === 'lets go of its locks' || step === 'rolls back') this.#writers[i] = null
    return this.#follow(this.#states, actor, step)
  }

  #act ([step, act]: Act): Int32Array[] {
    this.told.push(`A ${step ?? 'is told what it does not ask any more'}`)
    act()
    return step === null ? this.#states : step.split('|').flatMap((step) => this.#follow(this.#states, 'A', step))
  }

  #follow (states: Int32Array[], actor: string, steps: string): Int32Array[] {
    for (const step of steps.split('; ')) {
      const next = new Map<string, Int32Array>()
      for (const state of states) {
        this.#model.steps(state, (who, what) => { if (who === actor && what === step) next.set(String(this.#model.next), this.#model.next.slice()) })
      }
      states = [...next.values()]
    }
    return states
  }

  #pick<T> (all: readonly T[]): T | undefined {
    return all[Math.floor(this.#random() * all.length)]
  }

  get #view (): ReturnType<DoorbellModel['view']> {
    const timers = [...this.timers]
    return {
      state: this.#doorbell.state,
      session: this.#session,
      held: this.#held,
      statements: this.#statements.map(({ unlocks, done, turn }) => unlocks ? 'U' : (turn === this.#turn ? 'TD' : 'td')[Number(done)]).join(''),
      reads: this.#reads.length > 0,
      looks: this.#looks.some(({ turn }) => turn === this.#turn),
      pauses: timers.some(({ wakes, turn }) => !wakes && turn === this.#turn),
      timer: timers.some(({ wakes, milliseconds }) => wakes && milliseconds !== NEVER),
      bell: this.#bell
    }
  }

  /** One step. Why that was wrong; or whether there can be another one. */
  async step (): Promise<string | boolean> {
    const act = this.#random() < 0.35 ? undefined : this.#pick(this.#acts())
    const states = act === undefined ? this.#write() : this.#act(act)
    // All that follows from it.
    for (let i = 0; i < 4; i++) await new Promise(setImmediate)
    const view = this.#view
    const { state, session, reads, timer, bell, statements } = view
    if (state === 'armed' && session === 'up' && !reads && !timer && !bell && this.#high < this.#rows) return LOST
    if (statements.length > 3) return false
    this.#states = states.filter((state) => JSON.stringify(this.#model.view(state)) === JSON.stringify(view))
    return this.#states.length > 0 || `the model cannot do that: ${JSON.stringify([view, ...states.map((state) => this.#model.view(state))])}`
  }
}

t.test('the code does what the model can do', async (t) => {
  let double: Double
  t.intercept(performance, 'now', { value: () => double.now })
  t.intercept(globalThis, 'setTimeout', { value: (act: () => void, milliseconds: number) => double.setTimer(act, milliseconds) })
  t.intercept(globalThis, 'clearTimeout', { value: (timer: Timer) => double.timers.delete(timer) })
  const told = new Set<string>()
  let steps = 0
  for (let seed = 1; seed <= 80; seed++) {
    let state = seed
    // A linear congruential generator: the same steps each time.
    double = new Double(() => {
      state = Math.imul(state, 1664525) + 1013904223 >>> 0
      return state / 2 ** 32
    })
    let more: string | boolean = true
    for (let i = 0; i < 150 && more === true; i++, steps++) more = await double.step()
    if (typeof more === 'string') return t.fail(more, { seed, told: double.told })
    for (const line of double.told) told.add(line)
  }
  t.comment(`${steps} steps`)
  for (const step of [...ARMING, ...HOT, ...FAULTS]) t.ok([...told].some((line) => line.includes(step)), step)
})
