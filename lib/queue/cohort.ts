import type { Cursor } from '../tail/cursor.ts'
import type { Filter } from '../row.ts'
import type { Frame, Notice } from './frame.ts'
import { event } from './frame.ts'
import { Batch, Ring } from './ring.ts'
import type { Subscriber } from './subscriber.ts'

/** Clients that watch the same thing, and the one ring they share. */
export class Cohort {
  readonly filter: Filter
  readonly ring: Ring
  readonly subscribers = new Set<Subscriber>()
  readonly #levels: Set<string> | null
  #pending: Frame[] = []
  #stopped: Notice | null = null

  constructor (filter: Filter, queueSize: number) {
    this.filter = filter
    this.ring = new Ring(queueSize)
    this.#levels = filter.levels === null ? null : new Set(filter.levels)
  }

  /** A frame of this run, or of any where all are watched. Goes out with `flush`. */
  add (frame: Frame): void {
    if (this.#levels === null || (frame.level !== null && this.#levels.has(frame.level))) this.#pending.push(frame)
  }

  /** Hands on what was added, as one batch. Returns how many frames that were. */
  flush (cursor: Cursor): number {
    const frames = this.#pending
    if (frames.length === 0) return 0
    this.#pending = []
    this.#push(new Batch(frames, cursor))
    return frames.length
  }

  /** Something that is not a row, in its place among the rows. */
  tell (notice: Notice, cursor: Cursor): void {
    this.#push(new Batch([], cursor, [event(notice)]))
  }

  /** The run is over: whoever has read everything gets this, and is done. */
  stop (notice: Notice): void {
    this.#stopped = notice
    for (const subscriber of this.subscribers) subscriber.pump()
  }

  /** Ids begin anew, and so may the run. */
  reset (): void {
    this.#stopped = null
    this.ring.clear()
    for (const subscriber of this.subscribers) subscriber.reset()
  }

  /** Null while the run goes on. */
  get stopped (): Notice | null {
    return this.#stopped
  }

  #push (batch: Batch): void {
    this.ring.push(batch)
    for (const subscriber of this.subscribers) subscriber.pump()
  }
}
