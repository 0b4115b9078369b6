// The code itself takes steps at random, each in the world that a model's writers make, and the model has to be able to take
// the same.

import { EventEmitter } from 'node:events'
import type { Reader } from '../../../lib/postgres/reader.ts'
import type { Source } from '../../../lib/postgres/source.ts'
import { Doorbell } from '../../../lib/tail/doorbell.ts'
import type { Channel } from '../../../lib/tail/channel.ts'
import { Tailer } from '../../../lib/tail/tailer.ts'
import { DoorbellModel } from './model.ts'
import { EVERYTHING, LOST } from './node.ts'

/** Milliseconds that are never over. */
const NEVER = 1e9

type Act = [step: string | null, act: () => void]
export interface Timer { act: () => void, wakes: boolean, milliseconds: number, turn: number, unref: () => void }
/** Whatever waits for an answer, and how it was when it was asked. */
interface Asked { unlocks: boolean, done: boolean, turn: number, life: number, rows: number, writers: Array<string | null>, resolve: (value: any) => void, reject: (error: Error) => void }

/** A doorbell and a tailer, and all the states in which the model may be that has done what they did. */
export class Double {
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
  /** The read whose page was answered, and what it may ask the sequence afterwards. */
  #paged: Asked | null = null
  readonly #questions: Asked[] = []
  #starting = false
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
    }) as Channel
    this.#doorbell = new Doorbell({ listener, pollInterval: 1000, safetyInterval: () => NEVER, log, wake: this.wake })
    this.#tailer = new Tailer({
      order: 'arrival',
      log,
      afterRead: () => this.#over(),
      receiver: {
        watched: () => null,
        watches: () => true,
        deliver: (all) => {
          this.#high = Number(all.at(-1)!.row.id)
          // To many clients it takes long.
          if (this.#random() < 0.5) this.now += 5000
        },
        checkHealth () {},
        reset () {}
      }
    })
  }

  readonly wake = () => this.#tailer.wake()

  setTimer (act: () => void, milliseconds: number): Timer {
    const timer = { act, wakes: act === this.wake, milliseconds, turn: this.#turn, unref () {} }
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
    this.#starting = true
    const source = {
      table: { name: 'x', oid: 1, sequence: 2, runs: null },
      head: async () => {
        this.#starting = false
        return { high: BigInt(this.#rows), lastValue: BigInt(this.#rows), gaps: [], complete: true, future: [] }
      },
      read: () => this.#ask(this.#reads)
    }
    const answer = [{ epoch: '1:1', last: '1000', readable: null, holders: ['3/1'] }]
    const other = async () => this.#paged === null || this.#starting ? answer : this.#ask(this.#questions).then(() => answer)
    const sql = { unsafe: (_text: string, [relations]: unknown[]) => String(relations) === String(source.table.oid) ? this.#ask(this.#looks) : other() }
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
    if (this.#bell) may('hears a bell|hears a bell too many', () => ring(1))
    if (this.#bell && (state === 'armed' || state === 'arming')) may('hears a bell; hears a bell too many', () => ring(21))

    const [read] = this.#reads
    const hasRead = 'has read|has read, and it has been quiet'
    if (read !== undefined && this.#paged === null) {
      // It may ask the sequence, too: then it is not over.
      for (const pause of [0, 1000]) may(read.life === this.#life ? `|${hasRead}` : hasRead, () => { this.now += pause; this.#page(read) })
      if (seldom()) may('cannot read', () => this.#reads.shift()!.reject(no))
    } else if (read !== undefined) {
      for (const pause of [0, 1000]) {
        may(hasRead, () => {
          this.now += pause
          this.#questions.shift()!.resolve(null)
          if (read.life !== this.#life) this.#over()
        })
      }
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

  #over (): void {
    this.#reads.shift()
    this.#paged = null
  }

  #page (read: Asked): void {
    if (read.life !== this.#life) this.#reads.shift()
    else this.#paged = read
    const content = { level: null, message: 'm', cut: false, timestamp: null, extra: null }
    const rows: object[] = []
    for (let id = this.#high + 1; id <= (this.#random() < 0.5 ? this.#rows : read.rows); id++) rows.push({ id: BigInt(id), run: 'a', content })
    read.resolve({ rows, more: false, epoch: '1:1' })
  }

  #seen (look: Asked): void {
    this.#looks.shift()
    const holders = new Set([...look.writers, ...this.#writers])
    holders.delete(null)
    for (const holder of holders) {
      if ((!look.writers.includes(holder) || !this.#writers.includes(holder)) && this.#random() < 0.5) holders.delete(holder)
    }
    look.resolve([{ holders: [...holders] }])
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
    return step === null ? this.#states : step.split('|').flatMap((step) => step === '' ? this.#states : this.#follow(this.#states, 'A', step))
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
