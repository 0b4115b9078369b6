import { setImmediate } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import type { Delivery, Receiver } from '../queue/feed.ts'
import { Cursor, MAX_ID } from '../tail/cursor.ts'
import type { TailerCounters } from '../tail/tailer.ts'
import { isBusy, type SqliteFile } from './sqlite-file.ts'
import type { SqliteSource } from './sqlite-source.ts'

export interface SqliteTailerOptions {
  open: () => SqliteSource
  /** Milliseconds between two looks at the file. */
  pollInterval: number
  /** Milliseconds that it may stay locked. */
  timeout: number
  receiver: Pick<Receiver, 'watches' | 'deliver' | 'checkHealth' | 'reset'>
  log: FastifyBaseLogger
  /** Called when all was read that there was when the read began, by `performance.now()`. */
  afterRead: (began: number) => void
}

/** Looks again and again whether somebody has committed, and hands on what is new. One read at a time. */
export class SqliteTailer {
  /** There are no locks to look at. */
  readonly counters: TailerCounters = { reads: 0, rows: 0, looks: 0, resets: 0 }
  readonly #options: SqliteTailerOptions
  #wanted = false
  /** Null while nobody watches, or the file was not read yet. */
  #cursor: Cursor | null = null
  /** Of the last read: the file, the highest id, and the version, null where the page was full. */
  #file: SqliteFile | null = null
  #last = 0n
  #version: bigint | null = null
  /** By `performance.now()`; null where it was not locked when it was looked at last. */
  #lockedSince: number | null = null
  #failure: unknown = null
  #reading: Promise<void> | null = null
  #again = false
  #timer: NodeJS.Timeout | undefined
  /** One for all who wait until the cursor moves. */
  #moving: Promise<void> | null = null
  #moved: () => void = () => {}

  constructor (options: SqliteTailerOptions) {
    this.#options = options
  }

  get isAwake (): boolean {
    return this.#cursor !== null
  }

  /** What was delivered, and seen. */
  get cursor (): Cursor {
    if (this.#cursor === null) throw new Error('the tailer sleeps')
    return this.#cursor
  }

  /** Why it cannot read, once that is more than somebody's commit; null where it can, or sleeps. */
  get failure (): unknown {
    return this.#failure
  }

  /** Resolves once there is a cursor, or nobody wants it any more. */
  async start (): Promise<void> {
    if (!this.#wanted) {
      this.#wanted = true
      this.#poll()
    }
    while (this.#wanted && this.#cursor === null) await this.#move()
  }

  stop (): void {
    clearTimeout(this.#timer)
    this.#wanted = false
    this.#cursor = null
    this.#lockedSince = null
    this.#failure = null
    this.#announce()
  }

  /** Resolves when all that is committed at this moment was seen, or cannot be read. */
  async refresh (): Promise<void> {
    // One that began before was asked may have missed something.
    if (this.#reading !== null) this.#again = true
    await this.#read().catch(() => {})
  }

  async moved (): Promise<void> {
    if (this.#cursor !== null) await this.#move()
  }

  async #poll (): Promise<void> {
    try {
      await this.#read()
      this.#lockedSince = null
      this.#recover()
    } catch (error) {
      if (this.#wanted) this.#fail(error)
    }
    clearTimeout(this.#timer)
    if (this.#wanted) this.#timer = setTimeout(() => this.#poll(), this.#options.pollInterval)
  }

  #fail (error: unknown): void {
    if (isBusy(error)) {
      // Somebody may be writing just now.
      this.#lockedSince ??= performance.now()
      if (performance.now() - this.#lockedSince < this.#options.timeout) return
    }
    this.#options.log[this.#failure === null ? 'warn' : 'debug']({ err: error }, 'the file cannot be read: trying again')
    this.#failure = error
    this.#options.receiver.checkHealth()
  }

  #recover (): void {
    if (this.#failure === null) return
    const { log, receiver } = this.#options
    log.info('the file can be read again')
    this.#failure = null
    receiver.checkHealth()
  }

  /** Whoever comes meanwhile waits for its end. */
  #read (): Promise<void> {
    this.#reading ??= this.#readAll().finally(() => { this.#reading = null })
    return this.#reading
  }

  async #readAll (): Promise<void> {
    do {
      this.#again = false
      const began = performance.now()
      // A page at a time, so that the app has its turn in between: this SQLite answers while we wait.
      do await setImmediate(); while (this.#wanted && this.#readPage())
      if (this.#wanted) this.#options.afterRead(began)
    } while (this.#wanted && this.#again)
  }

  /** Returns whether more is there. */
  #readPage (): boolean {
    const source = this.#options.open()
    const { file } = source
    const version = file.dataVersion()
    if (this.#cursor !== null && file === this.#file && version === this.#version) return false
    this.counters.reads++
    const { last, page: { rows, upTo } } = source.readAfter(this.#cursor)
    const turn = this.#cursor === null ? null : file !== this.#file ? 'the file is another one' : last < this.#last ? 'the highest one is gone' : null
    const more = turn === null && upTo < MAX_ID
    this.#file = file
    this.#last = last
    // What was committed since it was asked for is read, and looked for once more.
    this.#version = more ? null : version
    if (this.#cursor === null) this.#cursor = new Cursor(last)
    else if (turn !== null) this.#reset(turn, last)
    else if (rows.length > 0) {
      this.counters.rows += rows.length
      this.#cursor = new Cursor(rows.at(-1)!.id)
      const deliveries: Delivery[] = rows.filter(({ run }) => this.#options.receiver.watches(run)).map((row) => ({ row, cursor: String(row.id) }))
      if (deliveries.length > 0) this.#options.receiver.deliver(deliveries)
    } else return more
    this.#announce()
    return more
  }

  /** Whoever watches reads the new life from its start, up to here. */
  #reset (why: string, last: bigint): void {
    this.#options.log.warn({ why }, 'ids of the table run backwards: starting again')
    this.counters.resets++
    this.#cursor = new Cursor(last)
    this.#options.receiver.reset()
  }

  #move (): Promise<void> {
    this.#moving ??= new Promise((resolve) => { this.#moved = resolve })
    return this.#moving
  }

  #announce (): void {
    this.#moving = null
    this.#moved()
  }
}
