import type { FastifyBaseLogger } from 'fastify'
import type { Sql } from 'postgres'
import { releaseShareLock, tryShareLock, writersInFlight } from '../postgres/locks.ts'
import type { Reader } from '../postgres/reader.ts'
import type { Table } from '../postgres/table.ts'
import { HolderSet } from './holders.ts'
import type { Channel } from './channel.ts'
import { Pace } from './pace.ts'

/**
 * - `off`: nobody subscribes: no lock, no reads, no NOTIFY.
 * - `polling`: no bells to be had; reads on a timer.
 * - `arming`: falling asleep; reads go on until no writer is left that saw nobody asleep.
 * - `armed`: asleep; a writer's bell wakes us.
 * - `hot`: awake on purpose; writers do not ring, reads follow each other closely.
 */
export type DoorbellState = 'off' | 'polling' | 'arming' | 'armed' | 'hot'

export interface DoorbellOptions {
  listener: Channel
  /** Milliseconds between two reads where no bell rings. */
  pollInterval: number
  /** Milliseconds between two reads although no bell rang, in case one was lost. */
  safetyInterval: () => number
  log: FastifyBaseLogger
  /** Read now. */
  wake: () => void
}

/** First pause while something is in flight; the next ones are longer, up to the poll interval. */
const FIRST_PAUSE = 10
const LOCK_TRIES = 20

/**
 * Decides when the next read is due, and whether writers have to ring for it.
 *
 * A writer rings only while somebody holds the sleeper's lock. Whoever falls asleep takes the lock
 * first, then notes the writers in flight, then reads once more: a writer that looked before the
 * lock was there is among those noted or has ended, and reads go on until all of them have. In any
 * other order a writer could look, find nobody, and commit unheard.
 */
export class Doorbell {
  readonly #options: DoorbellOptions
  #state: DoorbellState = 'off'
  #table: Table | null = null
  #reader: Reader | null = null
  /** What is under way for another turn than this one is void. */
  #turn = 0
  /** The turn that is taking the lock; null when none is. */
  #armingTurn: number | null = null
  /** Writers that may not have seen us; null until they were noted. */
  #writers: HolderSet | null = null
  #timer: NodeJS.Timeout | undefined
  #pause = FIRST_PAUSE
  /** Where the lock is held. A session outlives its state: without a trigger it goes on, unheard. */
  #lockedOn: Sql | null = null
  #bells = 0
  readonly #pace = new Pace()

  constructor (options: DoorbellOptions) {
    this.#options = options
    options.listener.on('bell', () => this.#ring())
    options.listener.on('state', () => this.#settleDown())
  }

  get state (): DoorbellState {
    return this.#state
  }

  /** Bells heard since the start. */
  get bells (): number {
    return this.#bells
  }

  /** Somebody subscribes. `reader` is where writers are looked for. */
  start (table: Table, reader: Reader): void {
    this.#table = table
    this.#reader = reader
    if (this.#state !== 'off') return
    this.#state = 'polling'
    this.#settleDown()
  }

  /** Nobody does any more. */
  stop (): void {
    if (this.#state === 'off') return
    this.#become('off')
    this.#release()
  }

  /** A read has brought so many rows, and it took so many milliseconds to hand them on. */
  note (rows: number, spent: number): void {
    this.#pace.note(rows, spent)
  }

  /**
   * All was read that is there at the moment: pause until the next read.
   * @param inFlight something is waited for that may end without a bell
   */
  async rest (inFlight: boolean): Promise<void> {
    const pause = this.#pace.pause()
    clearTimeout(this.#timer)
    if (this.#state === 'off') return
    if (this.#state === 'polling') return this.#sleep(this.#options.pollInterval)
    if (this.#state === 'hot') {
      return pause === null ? this.#armMeanwhile() : this.#sleep(pause)
    }
    if (this.#state === 'arming') {
      if (this.#writers === null) {
        // It could not be armed: that was a while ago, so try again.
        if (this.#armingTurn === null) return this.#armMeanwhile()
        return this.#sleep(this.#options.pollInterval)
      }
      if (!this.#writers.empty) {
        this.#sleep(this.#nextPause())
        return this.#awaitWriters(this.#writers)
      }
      this.#become('armed')
    }
    if (inFlight) return this.#sleep(this.#nextPause())
    this.#pause = FIRST_PAUSE
    this.#sleep(this.#options.safetyInterval())
  }

  /** With a read to come in case that the session does not answer. */
  #armMeanwhile (): Promise<void> {
    const arming = this.#arm()
    this.#sleep(this.#options.pollInterval)
    return arming
  }

  /** The read failed: try again at the slow pace. */
  retry (): void {
    if (this.#state !== 'off') this.#sleep(this.#options.pollInterval)
  }

  async #awaitWriters (writers: HolderSet): Promise<void> {
    const turn = this.#turn
    try {
      writers.narrow(await this.#look())
      // The last of them may have committed after the read that is just over.
      if (turn === this.#turn && writers.empty) this.#options.wake()
    } catch (error) {
      this.#options.log.debug({ err: error }, 'the writers in flight could not be read')
    }
  }

  #ring (): void {
    this.#bells++
    this.#options.log.debug({ doorbell: this.#state }, 'bell')
    if (this.#state === 'off' || this.#state === 'hot') return
    if (this.#pace.bell() && this.#state !== 'polling') {
      this.#become('hot')
      this.#release()
    }
    this.#options.wake()
  }

  /** The listener's word has changed, or somebody came: arm where bells can be heard, else poll. */
  #settleDown (): void {
    if (this.#state === 'off') return
    if (this.#options.listener.state === 'listening') this.#arm()
    else {
      this.#become('polling')
      this.#release()
    }
    // Every change of the session is followed by a read: what was missed is in the table.
    this.#options.wake()
  }

  async #arm (): Promise<void> {
    this.#become('arming')
    this.#pace.start()
    this.#writers = null
    const turn = this.#turn
    this.#armingTurn = turn
    const { listener, log } = this.#options
    const table = this.#table!
    try {
      for (let tries = 0; this.#lockedOn === null; tries++) {
        const session = listener.session
        if (session === null || turn !== this.#turn) return
        const taken = await tryShareLock(session, table)
        if (turn !== this.#turn) {
          // Stopped meanwhile; on a session that is gone this fails, and the lock is gone too.
          if (taken) await releaseShareLock(session, table)
          return
        }
        if (taken) {
          this.#lockedOn = session
          break
        }
        if (tries === LOCK_TRIES) log.warn('somebody holds the lock that sleepers share: polling until it can be had')
        await new Promise((resolve) => setTimeout(resolve, tries < LOCK_TRIES ? 5 : this.#options.pollInterval).unref())
        if (turn !== this.#turn) return
        this.#options.wake()
      }
      const writers = await this.#look()
      if (turn !== this.#turn) return
      this.#writers = new HolderSet(writers)
      this.#pause = FIRST_PAUSE
      this.#options.wake()
    } catch (error) {
      // The listener sees for itself whether its session is dead, and says so by its state.
      log.debug({ err: error }, 'the doorbell could not be armed')
      if (turn === this.#turn) this.retry()
    } finally {
      if (turn === this.#armingTurn) this.#armingTurn = null
    }
  }

  #look (): Promise<string[]> {
    return this.#reader!.answer((sql) => writersInFlight(sql, this.#table!))
  }

  #release (): void {
    const session = this.#lockedOn
    if (session === null) return
    this.#lockedOn = null
    releaseShareLock(session, this.#table!).catch((error) => this.#options.log.debug({ err: error }, 'the lock went with its session'))
  }

  #become (state: DoorbellState): void {
    if (state === this.#state && state !== 'arming') return
    this.#options.log.debug({ from: this.#state, to: state }, 'doorbell')
    this.#turn++
    clearTimeout(this.#timer)
    this.#state = state
  }

  #nextPause (): number {
    const pause = this.#pause
    this.#pause = Math.min(pause * 1.5, this.#options.pollInterval)
    return pause
  }

  #sleep (pause: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(this.#options.wake, pause)
  }
}
