import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { Cursor } from '../tail/cursor.ts'
import type { Cohort } from './cohort.ts'
import type { Delivery, Feed } from './feed.ts'
import type { Frame, Notice } from './frame.ts'
import { Batch } from './ring.ts'
import type { Sink } from './sink.ts'

/**
 * - `replaying`: what it lacks is read from the table for it alone: at the start, and whenever it
 *   has fallen out of the ring.
 * - `live`: it is a position in its cohort's ring.
 * - `closed`: for good.
 */
export type SubscriberState = 'replaying' | 'live' | 'closed'

/** Where to start: after what this cursor has, with the last so many rows, or with what comes next. */
export type Start = { after: Cursor } | { tail: number } | 'now'

export interface SubscriberOptions {
  feed: Feed
  cohort: Cohort
  sink: Sink
  log: FastifyBaseLogger
  /** Makes the frame of a row that was read for this subscriber alone. */
  toFrame: (delivery: Delivery) => Frame
  /** The first message, made when it is sent. */
  connected: () => Notice
  resetMessage: () => string
  onlag: () => void
  onclose: () => void
}

const RETRY_DELAY = 1000
/** Without a start for so long, as when the database is down, the client is greeted all the same. */
const GREETING_DELAY = 1000

/** One client. It holds no rows of its own: only where it is, and whether its sink takes more. */
export class Subscriber {
  readonly #options: SubscriberOptions
  readonly #abort = new AbortController()
  #state: SubscriberState = 'replaying'
  /** What the client has. Null until the start is known. */
  #cursor: Cursor | null = null
  #position = 0
  /** Since when the sink has been full and has not moved; null while it takes more. */
  #fullSince: number | null = null
  #progress: string | null = null
  #onReady: () => void = () => {}
  #onPump: () => void = () => {}
  /** For this client alone, while the sink is full: the last one of each type. */
  #notices: Notice[] = []
  #greeted = false
  /** A replay that is under way for another turn than this one is void. */
  #turn = 0

  constructor (options: SubscriberOptions) {
    this.#options = options
  }

  get state (): SubscriberState {
    return this.#state
  }

  /**
   * Whether the other side has not taken anything for longer than that. Asked now and then.
   * @param now by `performance.now()`
   * @param timeout milliseconds
   */
  isStalled (now: number, timeout: number): boolean {
    if (this.#fullSince === null) return false
    const progress = this.#options.sink.progress()
    if (progress === null || progress !== this.#progress) {
      this.#progress = progress
      this.#fullSince = now
    }
    return now - this.#fullSince > timeout
  }

  /** Whether it has taken everything in its ring. */
  get upToDate (): boolean {
    return this.#state === 'live' && this.#position === this.#options.cohort.ring.end
  }

  /** Aborted when the subscriber closes. */
  get signal (): AbortSignal {
    return this.#abort.signal
  }

  async start (start: Start): Promise<void> {
    const turn = ++this.#turn
    const { feed, cohort } = this.#options
    const timer = setTimeout(() => this.#greet(), GREETING_DELAY)
    this.signal.addEventListener('abort', () => clearTimeout(timer), { once: true })
    await this.#insist(turn, async () => {
      await feed.wakeUp()
      if (turn !== this.#turn) return
      if (start === 'now') this.#cursor = feed.cursor
      else if ('tail' in start) this.#cursor = await feed.tail(feed.cursor, cohort.filter, start.tail)
      else {
        const known = await feed.meet(start.after)
        if (turn !== this.#turn) return
        if (known === 'beyond') return this.reset()
        this.#cursor = start.after
      }
    })
    clearTimeout(timer)
    if (turn !== this.#turn) return
    // Not before the start is known: what is committed after the greeting does arrive.
    this.#greet()
    this.heartbeat()
    await this.#replay(turn)
  }

  /** The ring has something new, or the run is over. */
  pump (): void {
    const { cohort, onlag } = this.#options
    const { ring } = cohort
    this.#onPump()
    if (this.#state !== 'live' || this.#fullSince !== null) return
    while (this.#position < ring.end) {
      const batch = ring.at(this.#position)
      if (batch === undefined) {
        onlag()
        this.#state = 'replaying'
        this.#replay(++this.#turn)
        return
      }
      this.#position++
      this.#cursor = batch.cursor
      if (!this.#write(batch)) return
    }
    if (cohort.stopped !== null) this.#finish(cohort.stopped)
  }

  /** The sink takes more again. */
  ready (): void {
    this.#fullSince = null
    for (const notice of this.#notices.splice(0)) this.#options.sink.notice(notice)
    this.#onReady()
    this.pump()
  }

  /** Something for this client alone. Of those of one type that come while the sink is full, the last one counts. */
  tell (notice: Notice): void {
    // The greeting is still to come, and will say the mode of then.
    if (this.#state === 'closed' || !this.#greeted) return
    if (this.#fullSince === null) this.#options.sink.notice(notice)
    else this.#notices = [...this.#notices.filter(({ type }) => type !== notice.type), notice]
  }

  heartbeat (): void {
    if (!this.#greeted || this.#state === 'closed' || this.#fullSince !== null) return
    if (this.upToDate) this.#cursor = this.#options.feed.cursor
    this.#options.sink.heartbeat(this.#cursor === null ? null : String(this.#cursor))
  }

  /** What the client has is of another life of the table: say so and start again. */
  reset (): void {
    if (this.#state === 'closed') return
    this.#greet()
    this.tell({ type: 'reset', message: this.#options.resetMessage() })
    this.#state = 'replaying'
    this.#cursor = Cursor.ZERO
    this.#replay(++this.#turn)
  }

  /** A clean end. Can be called twice. */
  close (): void {
    if (this.#leave()) this.#options.sink.end()
  }

  /** The client is gone, or as good as gone. */
  destroy (): void {
    if (this.#leave()) this.#options.sink.destroy()
  }

  #finish (stopped: Notice): void {
    // With this id the client has everything, so on its return it learns that it is done.
    this.heartbeat()
    this.#options.sink.notice(stopped)
    this.close()
  }

  #greet (): void {
    if (this.#greeted || this.#state === 'closed') return
    this.#greeted = true
    this.#options.sink.notice(this.#options.connected())
  }

  #leave (): boolean {
    if (this.#state === 'closed') return false
    this.#state = 'closed'
    this.#turn++
    this.#onReady()
    this.#onPump()
    this.#abort.abort()
    this.#options.onclose()
    return true
  }

  /**
   * Reads what the client lacks until it can go on from the ring. The place in the ring and the
   * watermark are noted in the same tick, so what the one lacks the other has.
   */
  async #replay (turn: number): Promise<void> {
    const { feed, cohort, toFrame } = this.#options
    const { ring } = cohort
    await this.#insist(turn, async () => {
      while (turn === this.#turn) {
        await feed.wakeUp()
        if (turn !== this.#turn) return
        const mark = ring.end
        const target = feed.cursor
        // Asked now, for when there is nothing to read: the client may be ahead of this node.
        const moved = feed.moved()
        while (!this.#cursor!.covers(target)) {
          await this.#drained()
          if (turn !== this.#turn) return
          const { deliveries, cursor } = await feed.replay(this.#cursor!, target, cohort.filter)
          if (turn !== this.#turn) return
          this.#cursor = cursor
          if (deliveries.length > 0) this.#write(new Batch(deliveries.map(toFrame), cursor))
        }
        if (!target.covers(this.#cursor!)) {
          // It got rows from another node that this one has not read, or that are gone by now.
          if (cohort.stopped !== null && this.#fullSince === null) return this.#finish(cohort.stopped)
          await Promise.race([moved, new Promise<void>((resolve) => { this.#onPump = resolve })])
        } else if (ring.has(mark)) {
          this.#position = mark
          this.#state = 'live'
          return this.pump()
        }
      }
    })
  }

  /** Tries until it works: the client stays, the database comes back. */
  async #insist (turn: number, task: () => Promise<void>): Promise<void> {
    while (turn === this.#turn) {
      try {
        return await task()
      } catch (error) {
        if (turn !== this.#turn) return
        const { log } = this.#options
        // Class 22: the run is no value of its column's type. It will not become one.
        if (String((error as { code?: string }).code).startsWith('22')) {
          log.info({ err: error }, 'a stream was ended: its run cannot exist')
          return this.close()
        }
        log.debug({ err: error }, 'replay failed: trying again')
        await delay(RETRY_DELAY, undefined, { signal: this.signal }).catch(() => {})
      }
    }
  }

  #write (batch: Batch): boolean {
    const more = this.#options.sink.write(batch)
    if (!more) this.#fullSince = performance.now()
    return more
  }

  #drained (): Promise<void> {
    return new Promise((resolve) => {
      if (this.#fullSince === null) return resolve()
      this.#onReady = resolve
    })
  }
}
