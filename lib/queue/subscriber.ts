import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { errors, isNoValue } from '../errors.ts'
import { Cursor } from '../tail/cursor.ts'
import type { Cohort } from './cohort.ts'
import type { Delivery, Feed } from './feed.ts'
import type { Frame, Notice } from './frame.ts'
import { Outlet } from './outlet.ts'
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

/** What all subscribers of a queue share: one that is idle takes little besides its response. */
export interface SubscriberHost {
  readonly feed: Feed
  readonly log: FastifyBaseLogger
  /** Makes the frame of a row that was read for one subscriber alone. */
  toFrame: (delivery: Delivery) => Frame
  /** The first message, made when it is sent. */
  connected: () => Notice
  resetMessage: () => string
  onlag: () => void
  /** A page was read for one alone. */
  onreplay: () => void
  onclose: (subscriber: Subscriber) => void
}

const RETRY_DELAY = 1000
/** Milliseconds. */
const GREETING_INTERVAL = 1000
const nothing = () => {}

/** One client. It holds no rows of its own: only where it is, and whether its sink takes more. */
export class Subscriber {
  readonly cohort: Cohort
  readonly #host: SubscriberHost
  readonly #sink: Sink
  readonly #outlet: Outlet
  /** Made for who asks: most do not, and it takes half a kilobyte. */
  #abort: AbortController | null = null
  #state: SubscriberState = 'replaying'
  /** What the client has. Null until the start is known. */
  #cursor: Cursor | null = null
  #start: Start = 'now'
  #position = 0
  #onPump: () => void = nothing
  #greeted = false
  /** A replay that is under way for another turn than this one is void. */
  #turn = 0

  constructor (host: SubscriberHost, cohort: Cohort, sink: Sink) {
    this.#host = host
    this.cohort = cohort
    this.#sink = sink
    this.#outlet = new Outlet(sink)
  }

  get state (): SubscriberState {
    return this.#state
  }

  /** Whether the other side has not taken anything for so many milliseconds. */
  isStalled (now: number, timeout: number): boolean {
    return this.#outlet.isStalled(now, timeout)
  }

  /** Whether it has taken everything in its ring. */
  get upToDate (): boolean {
    return this.#state === 'live' && this.#position === this.cohort.ring.end
  }

  /** Aborted when the subscriber closes. */
  get signal (): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController()
      if (this.#state === 'closed') this.#abort.abort()
    }
    return this.#abort.signal
  }

  async start (start: Start): Promise<void> {
    this.#start = start
    const turn = ++this.#turn
    const { feed } = this.#host
    /** Noted once: what comes while the last rows are asked for, again if need be, are none of them. */
    let seen: Cursor | null = null
    // What is committed from here on does arrive, once awake; and while it fails, the client shall know.
    const timer = setInterval(() => {
      if (turn !== this.#turn) clearInterval(timer)
      else if (seen !== null || feed.isFailing) this.#greet()
    }, GREETING_INTERVAL).unref()
    await this.#insist(turn, async () => {
      await feed.wakeUp()
      if (turn !== this.#turn) return
      seen ??= feed.seen
      const { run } = this.cohort.filter
      // The table was not known when the client came: when it comes back, its run is read as what it is.
      if (run !== null && feed.parseRun(run) !== run) return this.close()
      if (start === 'now') this.#cursor = seen
      else if ('tail' in start) {
        const cursor = await feed.tail(seen, this.cohort.filter, start.tail, () => turn === this.#turn)
        if (turn === this.#turn) this.#cursor = cursor
      } else {
        const beyond = await feed.isBeyond(start.after)
        if (turn !== this.#turn) return
        this.#cursor = start.after
        if (beyond) return this.reset()
      }
    })
    clearInterval(timer)
    if (turn !== this.#turn) return
    // Not before the start is known: what is committed after the greeting does arrive. Where the database is away there is no
    // start; then the greeting says so, and the same holds for the `mode` that follows.
    this.#greet()
    this.#outlet.heartbeat(String(this.#cursor))
    await this.#replay(turn)
  }

  /** The ring has something new, or the run is over. */
  pump (): void {
    const { ring } = this.cohort
    this.#onPump()
    if (this.#state !== 'live' || this.#outlet.full) return
    while (this.#position < ring.end) {
      const batch = ring.at(this.#position)
      if (batch === undefined) {
        this.#host.onlag()
        this.#state = 'replaying'
        this.#replay(++this.#turn)
        return
      }
      this.#position++
      this.#cursor = batch.cursor
      if (!this.#outlet.write(batch)) return
    }
    const { stopped } = this.cohort
    if (stopped !== null) this.#finish(stopped)
  }

  /** The sink takes more again. */
  ready (): void {
    this.#outlet.ready()
    this.pump()
  }

  /** Something for this client alone. */
  tell (notice: Notice): void {
    // The greeting is still to come, and will say the mode of then.
    if (this.#state !== 'closed' && this.#greeted) this.#outlet.tell(notice)
  }

  /** While it replays there is no id to it: by the next one with an id the client knows that it has what there was. */
  heartbeat (): void {
    if (!this.#greeted || this.#state === 'closed' || this.#outlet.full) return
    if (this.upToDate) this.#cursor = this.#host.feed.cursor
    this.#outlet.heartbeat(this.#state === 'live' ? String(this.#cursor) : null)
  }

  /** What the client has is of another life of the table: say so and start again. */
  reset (): void {
    if (this.#state === 'closed') return
    // It has nothing yet, and did not ask for what was before.
    if (this.#cursor === null && (this.#start === 'now' || 'tail' in this.#start)) {
      this.start(this.#start)
      return
    }
    this.#greet()
    this.tell({ type: 'reset', message: this.#host.resetMessage() })
    this.#state = 'replaying'
    this.#cursor = Cursor.ZERO
    this.#replay(++this.#turn)
  }

  /** A clean end. Can be called twice. */
  close (): void | Promise<void> {
    if (this.#leave()) return this.#sink.end()
  }

  /** The client is gone, or as good as gone. */
  destroy (): void {
    if (this.#leave()) this.#sink.destroy()
  }

  #finish (stopped: Notice): void {
    // With this id the client has everything, so on its return it learns that it is done. One that is ahead has it already.
    this.heartbeat()
    this.#sink.notice(stopped)
    this.close()
  }

  #greet (): void {
    if (this.#greeted || this.#state === 'closed') return
    this.#greeted = true
    this.#outlet.tell(this.#host.connected())
  }

  #leave (): boolean {
    if (this.#state === 'closed') return false
    this.#state = 'closed'
    this.#turn++
    this.#outlet.release()
    this.#onPump()
    this.#abort?.abort()
    this.#host.onclose(this)
    return true
  }

  /**
   * Reads what the client lacks until it can go on from the ring. The place in the ring and the
   * watermark are noted in the same tick, so what the one lacks the other has.
   */
  async #replay (turn: number): Promise<void> {
    const { feed, toFrame, onreplay } = this.#host
    const { ring, filter } = this.cohort
    /** Rows that the client has may still be to come here. */
    let behind = true
    let asking: Promise<void> | null = null
    const ask = async () => {
      try {
        behind = await feed.isBehind(this.#cursor!)
        if (behind) await delay(RETRY_DELAY, undefined, { signal: this.signal }).catch(() => {})
      } finally {
        asking = null
      }
    }
    await this.#insist(turn, async () => {
      while (turn === this.#turn) {
        await feed.wakeUp()
        if (turn !== this.#turn) return
        const mark = ring.end
        const target = feed.cursor
        // An answer that comes later says nothing of this target.
        const mayLack = behind
        const { stopped } = this.cohort
        // Asked now, for when there is nothing to read: the client may be ahead of this node.
        const moved = feed.moved()
        while (!this.#cursor!.covers(target)) {
          await this.#outlet.drained()
          if (turn !== this.#turn) return
          const { deliveries, cursor } = await feed.replay(this.#cursor!, target, filter, () => turn === this.#turn)
          onreplay()
          if (turn !== this.#turn) return
          // Made first: whatever goes wrong with it, it is tried again.
          const batch = new Batch(deliveries.map(toFrame), cursor)
          this.#cursor = cursor
          if (deliveries.length > 0) this.#outlet.write(batch)
        }
        // Room for the heartbeat that says so.
        await this.#outlet.drained()
        if (turn !== this.#turn) return
        if (mayLack && !target.covers(this.#cursor!)) {
          // It got rows from another node that this one has not read, or that are gone by now; or only ids above the sequence, which that node counts as had.
          // Where the run had ended when the target was noted, that has its last row.
          if (stopped !== null && !this.#outlet.full) return this.#finish(stopped)
          if (stopped === this.cohort.stopped) await Promise.race([moved, asking ??= ask(), new Promise<void>((resolve) => { this.#onPump = resolve })])
        } else if (ring.has(mark)) {
          this.#position = mark
          this.#state = 'live'
          // By this one the client knows that it has what there was.
          this.heartbeat()
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
        const { log } = this.#host
        // The run is no value of its column's type, and will not become one.
        if (isNoValue(error) || error instanceof errors.Run) {
          log.info({ err: error }, 'a stream was ended: its run cannot exist')
          this.#greet()
          return this.close()
        }
        log.debug({ err: error }, 'replay failed: trying again')
        // Without a start, as when the database is down, the client is greeted all the same.
        this.#greet()
        await delay(RETRY_DELAY, undefined, { signal: this.signal }).catch(() => {})
      }
    }
  }
}
