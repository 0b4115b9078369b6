import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cursor } from '../../lib/tail/cursor.ts'
import type { FleetNode } from './fleet.ts'
import type { Random } from './random.ts'

export interface ClientPlan {
  name: string
  group: string
  /** As it stands behind the question mark, the first time. */
  query: string
  run?: number
  level?: string
  /** Comes back every 0.2 to 1.5 s, to any node of the group. */
  hops?: boolean
  /** Stops reading for seconds, now and then. */
  slow?: boolean
  /** Every id higher than the one before. */
  ordered?: boolean
  /** A crash empties its table: it is told so, and forgets what it had. */
  resets?: boolean
  /** Leaves after so many seconds. */
  stays?: number
}

export interface Row { id: number, run: number, level: string, committed: number }

export interface Finding { lost: number, doubled: number, strangers: number, disordered: number, resets: number, unexpected: number }

/** Runs from this number on have one writer each, so their rows come in order. */
export const SINGLE_WRITER_RUNS = 100

/** Somebody who watches, comes back by `Last-Event-ID`, and remembers every id it got. */
export class Client {
  readonly plan: ClientPlan
  readonly #nodes: readonly FleetNode[]
  readonly #random: Random
  /** How often each id came. */
  #counts = new Uint8Array(1 << 16)
  #total = 0
  #lastId = ''
  #lastOfRun = new Map<number, number>()
  #high = 0
  #stopped = false
  /** When the first `id:` came, and so the start was known; what was committed later has to arrive. */
  startedAt = Infinity
  lastRowAt = 0
  /** The node that it is at, or was last. */
  at: FleetNode | null = null
  disordered = 0
  resets = 0
  visits = 0
  /** Answers that no client should get. */
  readonly errors = new Map<string, number>()
  readonly done: Promise<void>

  constructor (plan: ClientPlan, nodes: readonly FleetNode[], random: Random) {
    this.plan = plan
    this.#nodes = nodes.filter((node) => node.plan.group === plan.group)
    this.#random = random
    this.done = this.#live()
  }

  get total (): number {
    return this.#total
  }

  /** From here on nothing disturbs it: it reads on at one place until `finish()`. */
  settle (): void {
    this.#calm = true
  }

  finish (): void {
    this.#stopped = true
    this.#hangUp()
  }

  #calm = false
  #hangUp: () => void = () => {}

  async #live (): Promise<void> {
    const ends = this.plan.stays === undefined ? Infinity : performance.now() + this.plan.stays * 1000
    let place = this.#random.integer(0, this.#nodes.length - 1)
    while (!this.#stopped && performance.now() < ends) {
      const node = this.#nodes[place % this.#nodes.length]!
      const patience = this.plan.hops && !this.#calm ? this.#random.between(200, 1500) : Infinity
      this.at = node
      if (node.url !== null) await this.#visit(node.url, Math.min(patience, ends - performance.now()))
      if (this.plan.hops || node.url === null || this.#random.next() < 0.2) place++
      if (!this.#stopped && (patience === Infinity || node.url === null)) await sleep(100)
    }
  }

  #visit (url: string, patience: number): Promise<void> {
    return new Promise((resolve) => {
      this.visits++
      const headers: Record<string, string> = { accept: 'text/event-stream' }
      if (this.#lastId !== '') headers['last-event-id'] = this.#lastId
      const request = http.get(`${url}/logs/stream?${this.plan.query}`, { headers, agent: false })
      const timer = patience === Infinity ? undefined : setTimeout(() => request.destroy(), patience)
      this.#hangUp = () => request.destroy()
      request.on('error', () => {})
      request.on('close', () => {
        clearTimeout(timer)
        resolve()
      })
      request.on('response', (response) => {
        response.on('error', () => {})
        if (response.statusCode !== 200) {
          this.#fail(`status ${response.statusCode}`)
          return request.destroy()
        }
        let rest = ''
        response.setEncoding('utf8').on('data', (text: string) => {
          // What is read after hanging up counts as not read, as in a browser.
          if (request.destroyed) return
          const blocks = (rest + text).split('\n\n')
          rest = blocks.pop()!
          for (const block of blocks) this.#take(block)
          if (this.plan.slow && !this.#calm && this.#random.next() < 0.002) {
            response.pause()
            setTimeout(() => response.resume(), this.#random.between(500, 4000))
          }
        })
      })
    })
  }

  #take (block: string): void {
    for (const line of block.split('\n')) {
      if (line.startsWith('id: ')) {
        this.#lastId = line.slice(4)
        if (this.startedAt === Infinity) this.startedAt = Date.now()
      }
      if (line.startsWith('data: ')) this.#message(JSON.parse(line.slice(6)))
    }
  }

  #message (message: any): void {
    if (message.type === 'reset') this.#reset()
    else if (message.type === 'log') {
      const { id, run_id: run } = message
      if (id >= this.#counts.length) {
        const larger = new Uint8Array(Math.max(id + 1, this.#counts.length * 2))
        larger.set(this.#counts)
        this.#counts = larger
      }
      this.#counts[id]! += this.#counts[id]! < 255 ? 1 : 0
      this.#total++
      this.lastRowAt = Date.now()
      if (this.plan.ordered ? id <= this.#high : run >= SINGLE_WRITER_RUNS && id <= (this.#lastOfRun.get(run) ?? 0)) this.disordered++
      this.#lastOfRun.set(run, id)
      this.#high = Math.max(this.#high, id)
    }
  }

  #reset (): void {
    this.resets++
    this.#counts.fill(0)
    this.#lastOfRun.clear()
    this.#high = 0
  }

  #fail (what: string): void {
    this.errors.set(what, (this.errors.get(what) ?? 0) + 1)
  }

  has (id: number): boolean {
    return (this.#counts[id] ?? 0) > 0
  }

  /** Whether it is one of those that this client ought to have, by its own cursor. */
  #expects (row: Row, cursor: Cursor | null): boolean {
    const { run, level, query } = this.plan
    if ((run !== undefined && row.run !== run) || (level !== undefined && row.level !== level)) return false
    if (cursor !== null && !cursor.has(BigInt(row.id))) return false
    return query.includes('after=0') || row.committed > this.startedAt
  }

  missing (rows: readonly Row[]): Row[] {
    // Who has left has what its cursor says, and whoever stayed has everything.
    const cursor = this.plan.stays === undefined ? null : Cursor.parse(this.#lastId || '0')
    return rows.filter((row) => this.#expects(row, cursor) && !this.has(row.id))
  }

  /** @param rows what is in the table in the end @param gone what was there and was deleted */
  judge (rows: readonly Row[], gone: ReadonlySet<number>): Finding {
    const ids = new Set(rows.map(({ id }) => id))
    let doubled = 0
    let strangers = 0
    for (let id = 0; id < this.#counts.length; id++) {
      const count = this.#counts[id]!
      if (count > 1) doubled++
      if (count > 0 && !ids.has(id) && !gone.has(id)) strangers++
    }
    return { lost: this.missing(rows).length, doubled, strangers, disordered: this.disordered, resets: this.resets, unexpected: this.plan.resets ? 0 : this.resets }
  }
}
