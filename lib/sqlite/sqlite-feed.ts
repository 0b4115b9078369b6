import { setImmediate, setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { errors } from '../errors.ts'
import type { Delivery, Feed, Receiver, Replay, RunEnd } from '../queue/feed.ts'
import { replayPage } from '../queue/replay.ts'
import type { Filter } from '../row.ts'
import { parseRun } from '../run-id.ts'
import { Cursor, MAX_ID } from '../tail/cursor.ts'
import { RunWatch } from '../tail/run-watch.ts'
import type { Mark, SqliteTable } from './sqlite-table.ts'

export interface SqliteFeedOptions {
  open: () => Promise<SqliteTable>
  /** Milliseconds between two looks at the file. */
  pollInterval: number
  log: FastifyBaseLogger
}

const SQLITE_BUSY = 5
const NOTHING = new Cursor(-1n)
const EVERYTHING: Filter = { run: null, levels: null }

/** The feed of a table in an SQLite file: looks again and again whether somebody has committed, while anybody watches. */
export class SqliteFeed implements Feed {
  readonly counters = { reads: 0, rows: 0, looks: 0, resets: 0 }
  readonly #options: SqliteFeedOptions
  readonly #runWatch: RunWatch
  /** Runs that were stopped, with the messages: SQLite has no place of ours, so other processes do not know. */
  readonly #stopped = new Map<string, string | null>()
  #receiver: Receiver | null = null
  #table: SqliteTable | null = null
  #opening: Promise<SqliteTable> | null = null
  /** Null while nobody watches. */
  #cursor: Cursor | null = null
  #mark: Mark = { version: -1, last: 0n }
  #closed = false
  #failing = false
  #reading: Promise<void> | null = null
  #again = false
  #timer: NodeJS.Timeout | undefined
  #moving: Promise<void> | null = null
  #moved: () => void = () => {}

  constructor (options: SqliteFeedOptions) {
    this.#options = options
    this.#runWatch = new RunWatch({
      runs: () => this.#receiver!.openRuns(),
      find: async (runs) => this.#findEnds(runs),
      log: options.log,
      end: (end) => this.#receiver!.end(end),
      inFlight: () => false,
      heldBack: () => false,
      wake: () => { this.#read().catch(() => {}) }
    })
  }

  /** To whom rows go. */
  connect (receiver: Receiver): void {
    this.#receiver = receiver
  }

  get cursor (): Cursor {
    if (this.#cursor === null) throw new Error('the feed sleeps')
    return this.#cursor
  }

  get seen (): Cursor {
    return this.cursor
  }

  get isAwake (): boolean {
    return this.#cursor !== null
  }

  get isFailing (): boolean {
    return this.#failing
  }

  get isOpen (): boolean {
    return this.#table !== null
  }

  get integerRuns (): boolean {
    return this.#table?.integerRuns ?? false
  }

  /** Opens the file, once. @throws FST_PG_TAIL_TABLE, FST_PG_TAIL_OPTION, or what SQLite says */
  prepare (): Promise<SqliteTable> {
    this.#opening ??= this.#options.open().then((table) => {
      for (const warning of table.warnings) this.#options.log.warn(warning)
      this.#table = table
      return table
    }, (error) => {
      this.#opening = null
      throw error
    })
    return this.#opening
  }

  async wakeUp (): Promise<void> {
    while (this.#cursor === null) {
      if (this.#closed) throw new errors.Closed()
      try {
        const table = await this.prepare()
        if (this.#cursor !== null || this.#closed) continue
        this.#mark = { ...table.mark(), version: -1 }
        this.#cursor = new Cursor(this.#mark.last)
        this.#failing = false
        this.#tick()
      } catch (error) {
        this.#fail(error)
        await delay(this.#options.pollInterval, undefined, { ref: false })
      }
    }
  }

  sleep (): void {
    clearTimeout(this.#timer)
    this.#cursor = null
    this.#runWatch.forget()
    this.#announce()
  }

  /** For good. */
  close (): void {
    this.#closed = true
    this.sleep()
    this.#table?.close()
    this.#table = null
  }

  async refresh (): Promise<void> {
    // One that began before was asked may have missed something.
    if (this.#reading !== null) this.#again = true
    await this.#read().catch(() => {})
  }

  moved (): Promise<void> {
    if (this.#cursor === null) return Promise.resolve()
    this.#moving ??= new Promise((resolve) => { this.#moved = resolve })
    return this.#moving
  }

  async isBeyond ({ high }: Cursor): Promise<boolean> {
    return high > (await this.prepare()).mark().last
  }

  async replay (from: Cursor, to: Cursor, filter: Filter): Promise<Replay> {
    const ranges = to.minus(from)
    const { rows, more } = ranges.length === 0 ? { rows: [], more: false } : (await this.prepare()).read(ranges, filter)
    return replayPage(rows, more, from, to)
  }

  async tail (to: Cursor, filter: Filter, count: number): Promise<Cursor> {
    if (count === 0) return to
    const first = (await this.prepare()).nthLast(to.minus(NOTHING), filter, count)
    return first === null ? to : to.upTo(first - 1n)
  }

  async hasMore (cursor: Cursor, filter: Filter): Promise<boolean> {
    const table = await this.prepare()
    // A cursor above all ids is of another life of the table: it lacks all of this one.
    return cursor.high > table.mark().last || table.nthLast(cursor.missing(), filter, 1) !== null
  }

  async findEnd (run: string): Promise<RunEnd | null> {
    await this.prepare()
    return this.#findEnds([run])[0] ?? null
  }

  async countRows (run: string): Promise<number> {
    return (await this.prepare()).count(run)
  }

  async stopRun (run: string, message: string | null): Promise<void> {
    await this.prepare()
    this.#options.log.warn({ run }, 'the run is stopped in this process only: an SQLite file has no place to tell others')
    if (!this.#stopped.has(run)) this.#stopped.set(run, message)
    await this.refresh()
  }

  parseRun (text: string): string {
    return parseRun(text, this.#table?.integerRuns ? 'bigint' : undefined)
  }

  #findEnds (runs: readonly string[]): RunEnd[] {
    const ends = this.#table!.findEnds(runs)
    for (const run of runs) {
      if (this.#stopped.has(run) && !ends.some((end) => end.run === run)) ends.push({ run, status: 'stopped', message: this.#stopped.get(run)! })
    }
    return ends
  }

  #tick (): void {
    this.#read().then(() => {
      if (this.#failing) this.#options.log.info('the file can be read again')
      this.#failing = false
    }, (error) => this.#fail(error)).finally(() => {
      clearTimeout(this.#timer)
      if (this.#cursor !== null) this.#timer = setTimeout(() => this.#tick(), this.#options.pollInterval)
    })
  }

  #fail (error: unknown): void {
    // Somebody is writing just now.
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return
    this.#options.log[this.#failing ? 'debug' : 'warn']({ err: error }, 'the file cannot be read: trying again')
    this.#failing = true
  }

  /** One at a time; whoever comes meanwhile waits for its end. */
  #read (): Promise<void> {
    this.#reading ??= this.#readAll().finally(() => { this.#reading = null })
    return this.#reading
  }

  async #readAll (): Promise<void> {
    do {
      this.#again = false
      // A page at a time, so that the app has its turn in between: this SQLite answers while we wait.
      while (this.#cursor !== null && this.#readPage()) await setImmediate()
    } while (this.#cursor !== null && (await this.#runWatch.check() || this.#again))
  }

  /** Returns whether more is there. */
  #readPage (): boolean {
    const table = this.#table!
    const mark = table.mark()
    if (mark.last < this.#mark.last) {
      this.#reset(mark)
      return true
    }
    if (mark.version === this.#mark.version) return false
    this.counters.reads++
    const { high } = this.#cursor!
    const { rows, more } = table.read([{ lo: high + 1n, hi: MAX_ID }], EVERYTHING)
    // What was committed between the two is read, and looked for once more.
    this.#mark = { ...mark, version: more ? -1 : mark.version }
    if (rows.length === 0) return false
    this.counters.rows += rows.length
    const deliveries: Delivery[] = rows.filter(({ run }) => this.#receiver!.watches(run)).map((row) => ({ row, cursor: String(row.id) }))
    this.#cursor = new Cursor(rows.at(-1)!.id)
    if (deliveries.length > 0) this.#receiver!.deliver(deliveries)
    this.#announce()
    return more
  }

  #reset (mark: Mark): void {
    this.#options.log.warn('ids of the table run backwards: starting again')
    this.counters.resets++
    this.#runWatch.forget()
    this.#mark = { ...mark, version: -1 }
    this.#cursor = Cursor.ZERO
    this.#receiver!.reset()
    this.#announce()
  }

  #announce (): void {
    this.#moving = null
    this.#moved()
  }
}
