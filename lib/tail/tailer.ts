import type { FastifyBaseLogger } from 'fastify'
import type { SequenceLook } from '../postgres/locks.ts'
import type { Reader } from '../postgres/reader.ts'
import type { Source } from '../postgres/source.ts'
import type { Delivery, Receiver } from '../queue/feed.ts'
import { Cursor, MAX_ID } from './cursor.ts'
import type { Doorbell } from './doorbell.ts'
import { findHead, watermarkAt, type Order } from './head.ts'
import { Holdback } from './holdback.ts'
import { SequenceWatch, type Turn } from './sequence-watch.ts'
import type { Watermark } from './watermark.ts'

export interface TailerOptions {
  order: Order
  receiver: Pick<Receiver, 'watched' | 'watches' | 'deliver' | 'checkHealth' | 'reset'>
  log: FastifyBaseLogger
  /** Called when all was read that there was when the read began, by `performance.now()`. */
  afterRead: (began: number) => void
}

export interface TailerCounters {
  /** Reads of rows. */
  reads: number
  rows: number
  /** Looks at the locks. */
  looks: number
  resets: number
}

/**
 * Reads the table after the watermark and hands on what is new. One read in flight, one `again`
 * flag: however often it is woken, it reads once more after the last time.
 */
export class Tailer {
  readonly counters: TailerCounters = { reads: 0, rows: 0, looks: 0, resets: 0 }
  readonly #options: TailerOptions
  #source: Source | null = null
  #reader: Reader | null = null
  #doorbell: Doorbell | null = null
  #watermark: Watermark | null = null
  #holdback = new Holdback(Cursor.ZERO)
  #sequence: SequenceWatch | null = null
  /** The sequence was set back, and the start after that is not over. */
  #setBack = false
  #life = 0
  #reading = false
  #again = false
  /** The last read failed: that was said once. */
  #failing = false
  #heldBack = false
  /** Resolved when a read is over that began after they were asked for. */
  #waiting: Array<() => void> = []
  /** One for all who wait until the cursor moves. */
  #moving: Promise<void> | null = null
  #moved: () => void = () => {}

  constructor (options: TailerOptions) {
    this.#options = options
  }

  /** What was delivered. In order 'id' that is less than what was seen. */
  get cursor (): Cursor {
    if (this.#watermark === null) throw new Error('the tailer sleeps')
    return this.#options.order === 'arrival' ? this.#watermark.cursor : this.#holdback.released
  }

  /** See Feed.seen. */
  get seen (): Cursor {
    if (this.#watermark === null) throw new Error('the tailer sleeps')
    return this.#watermark.cursor
  }

  get watermark (): Watermark | null {
    return this.#watermark
  }

  /** Rows that were seen and wait, for their turn or for gaps to settle. */
  get heldBack (): boolean {
    return this.#heldBack || this.#holdback.size > 0
  }

  /** The last read failed; it goes on trying. */
  get isFailing (): boolean {
    return this.#failing
  }

  /** Takes the watermark afresh and starts to read; not if it is stopped meanwhile. */
  async start (source: Source, reader: Reader, doorbell: Doorbell): Promise<void> {
    const life = ++this.#life
    const sequence = await SequenceWatch.begin(reader, source.table)
    const { order, log } = this.#options
    const head = await findHead(source, reader, { setBack: this.#setBack, wanted: () => life === this.#life, log })
    if (life !== this.#life) return
    this.#setBack = false
    sequence.note(head.lastValue)
    this.#source = source
    this.#reader = reader
    this.#doorbell = doorbell
    this.#sequence = sequence
    this.#watermark = watermarkAt(head, order)
    this.#holdback = new Holdback(this.#watermark.cursor)
    doorbell.start(source.table, reader)
    // What is read again is seen only now, and nobody who comes now shall get it.
    await this.refresh()
  }

  stop (): void {
    this.#life++
    this.#failing = false
    this.#watermark = null
    this.#doorbell?.stop()
    this.#release()
  }

  /** Read now, or once more after the read that is under way. */
  wake (): void {
    if (this.#watermark === null) return
    this.#again = true
    if (!this.#reading) this.#run()
  }

  refresh (): Promise<void> {
    return new Promise((resolve) => {
      if (this.#watermark === null) return resolve()
      this.#waiting.push(resolve)
      this.wake()
    })
  }

  moved (): Promise<void> {
    if (this.#watermark === null) return Promise.resolve()
    this.#moving ??= new Promise((resolve) => { this.#moved = resolve })
    return this.#moving
  }

  /** Whether a transaction in flight may still bring rows below what was delivered, or delays some. */
  get inFlight (): boolean {
    return this.#watermark !== null && this.#watermark.lowestInFlight !== null
  }

  /** See Feed.isBeyond. */
  async isBeyond ({ high }: Cursor): Promise<boolean> {
    if (this.#watermark === null || high <= this.#watermark.high) return false
    await this.refresh()
    if (this.#watermark === null || high <= this.#watermark.high) return false
    const { lastValue } = await this.#sequence!.state()
    return lastValue !== null && high > lastValue
  }

  /** See Feed.isBehind. */
  async isBehind (cursor: Cursor): Promise<boolean> {
    await this.refresh()
    if (this.#watermark === null || this.heldBack) return true
    const [first] = cursor.minus(this.cursor)
    if (first === undefined) return false
    const { lastValue } = await this.#sequence!.state()
    return lastValue === null || first.lo <= lastValue
  }

  async #run (): Promise<void> {
    this.#reading = true
    while (this.#again && this.#watermark !== null) {
      this.#again = false
      const waiting = this.#waiting.splice(0)
      const began = performance.now()
      try {
        const due = await this.#read()
        this.#recover()
        if (due) {
          this.#waiting.unshift(...waiting)
          this.#again = true
        } else {
          // Whoever waits has asked before this read began.
          for (const resolve of waiting) resolve()
          this.#options.afterRead(began)
        }
      } catch (error) {
        this.#waiting.unshift(...waiting)
        if (this.#watermark === null) break
        this.#reading = false
        this.#fail(error)
        this.#doorbell!.retry()
        return
      }
    }
    this.#reading = false
    if (this.#watermark === null) this.#release()
    else this.#doorbell!.rest(this.inFlight)
  }

  #fail (error: unknown): void {
    const { log, receiver } = this.#options
    log[this.#failing ? 'debug' : 'warn']({ err: error }, 'the table could not be read: trying again')
    this.#failing = true
    receiver.checkHealth()
  }

  #recover (): void {
    if (!this.#failing) return
    const { log, receiver } = this.#options
    log.info('the table can be read again')
    this.#failing = false
    receiver.checkHealth()
  }

  /** One read, and what follows from it. Returns whether it has not brought all that there is. */
  async #read (): Promise<boolean> {
    const watermark = this.#watermark!
    const source = this.#source!
    const { receiver, order } = this.#options
    this.counters.reads++
    // Rows that are held back go out later, to whoever watches then.
    const watched = order === 'id' ? null : receiver.watched()
    const page = await this.#reader!.answer((sql) => source.read(sql, watermark.cursor.missing(), watched))
    if (watermark !== this.#watermark) return true
    if (this.#turns(this.#sequence!.judgeEpoch(page.epoch))) return true

    const before = this.cursor
    const deliveries: Delivery[] = []
    let seen = page.more ? page.rows.at(-1)!.id : MAX_ID
    let stopped: 'full' | 'missed' | null = null
    let fresh = 0
    for (const row of page.rows) {
      // Somebody has begun to watch this run since the read began: read it again, with contents.
      if (row.content === null && receiver.watches(row.run)) stopped = 'missed'
      // The one that all others wait for is let in, however many they are.
      const full = this.#holdback.full && row.id !== watermark.lowestInFlight
      const verdict = stopped !== null || full ? 'full' : watermark.take(row.id)
      if (verdict === 'full') {
        stopped ??= 'full'
        seen = row.id - 1n
        break
      }
      if (verdict === 'known') continue
      fresh++
      if (order === 'id') this.#holdback.add(row)
      else if (row.content !== null) deliveries.push({ row, cursor: watermark.text })
    }
    watermark.settle(seen)
    if (order === 'id') deliveries.push(...this.#holdback.release(watermark))
    this.counters.rows += fresh
    const start = performance.now()
    if (deliveries.length > 0) receiver.deliver(deliveries)
    this.#doorbell!.note(fresh, performance.now() - start)
    if (before !== this.cursor) this.#announce()

    this.#heldBack = stopped === 'full'
    // What was held back can be read once there is room again; else whoever is waited for ends first.
    const due = this.#heldBack ? !this.#holdback.full && !watermark.full : stopped === 'missed' || page.more
    // Whoever waits does not wait for gaps to settle: where ids are burnt all the time, some always do.
    if (await this.#lookAround(due)) this.#again = true
    return due || watermark !== this.#watermark
  }

  /**
   * Looks at the locks while something is in flight, else at the sequence alone.
   * @param due another read follows anyway
   * @returns whether one is due at once
   */
  async #lookAround (due: boolean): Promise<boolean> {
    const watermark = this.#watermark!
    const sequence = this.#sequence!
    if (watermark.lowestInFlight !== null) {
      if (!sequence.isLookDue) return false
      const last = this.#heldBack && !watermark.rising ? await this.#lastRow(watermark.high, sequence.lastValue) : null
      const look = await sequence.look()
      this.counters.looks++
      return watermark !== this.#watermark || this.#turns(sequence.judge(look, watermark.reach)) || this.#settle(watermark, look, last)
    }
    // Not together with the rows: whoever asks the sequence counts as one who writes, until the client has taken the answer.
    const state = await sequence.ask(due || this.#again || this.#doorbell!.state === 'hot')
    return state !== null && (watermark !== this.#watermark || this.#turns(sequence.judge(state, watermark.reach)))
  }

  /** The highest row that the sequence had got to. Ids by hand are further up: below those others are still to be handed out. */
  async #lastRow (high: bigint, lastValue: bigint | null): Promise<bigint | null> {
    if (lastValue === null || lastValue <= high) return null
    const source = this.#source!
    return this.#reader!.answer((sql) => source.nthLast(sql, [{ lo: high + 1n, hi: lastValue }], { run: null, levels: null }, 1))
  }

  #settle (watermark: Watermark, { lastValue, holders }: SequenceLook, last: bigint | null): boolean {
    const before = watermark.lowestInFlight
    const { crowded } = watermark
    const due = watermark.look(lastValue ?? MAX_ID, holders, last)
    if (watermark.crowded && !crowded) {
      this.#options.log.warn({ table: this.#source!.table.name }, 'ids were set by hand far above the sequence, with many ranges left free: rows that get those later may be missed. Set the sequence above them, with setval()')
    }
    // Rows may have waited for ids that turn out to be above the sequence: they can go, and no bell will say so.
    return due || (this.#holdback.size > 0 && watermark.lowestInFlight !== before)
  }

  /** Starts again where ids do not run up any more. Returns whether that is so. */
  #turns (turn: Turn | null): boolean {
    if (turn === null) return false
    this.#options.log.warn({ table: this.#source!.table.name, why: `its sequence: ${turn}` }, 'ids of the table run backwards: starting again')
    this.counters.resets++
    this.#setBack ||= turn === 'it was set back'
    this.stop()
    this.#options.receiver.reset()
    return true
  }

  #announce (): void {
    this.#moving = null
    this.#moved()
  }

  /** Nobody shall wait for a tailer that sleeps. */
  #release (): void {
    this.#announce()
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
