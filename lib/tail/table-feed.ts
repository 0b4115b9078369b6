import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { errors } from '../errors.ts'
import { blockers, readSequence, type Blocker } from '../postgres/locks.ts'
import type { Pool } from '../postgres/pool.ts'
import type { Reader } from '../postgres/reader.ts'
import { RunEnds, type RunsOptions } from '../postgres/run-ends.ts'
import { Source } from '../postgres/source.ts'
import { inspectTable, type Columns, type Table } from '../postgres/table.ts'
import type { Feed, Receiver, Replay, RunEnd } from '../queue/feed.ts'
import { replayPage } from '../queue/replay.ts'
import { isInteger, parseRun } from '../run-id.ts'
import type { Filter } from '../row.ts'
import { Cursor, MAX_ID, type Range } from './cursor.ts'
import type { Doorbell } from './doorbell.ts'
import { GapWatch } from './gap-watch.ts'
import type { Order } from './head.ts'
import { RunWatch } from './run-watch.ts'
import { Tailer } from './tailer.ts'

export interface TableFeedOptions {
  table: string
  columns: Columns
  runs: RunsOptions | null
  channel: string
  order: Order
  pollInterval: number
  /** One session: what follows in it follows in time. For the tailer and the doorbell, which nothing else shall hold up. */
  reader: Reader
  /** Several sessions, for replays and for single questions. */
  pool: Pool
  /** For ends of runs: their table may be locked, and no read of the log shall wait behind that. */
  lookups: Pool
  /** Throws where the table cannot be followed beside others that are. */
  admit: (table: Table) => void
  doorbell: () => Doorbell
  log: FastifyBaseLogger
}

const NOTHING = new Cursor(-1n)

/** The feed of one table: looks it up, tails it while somebody subscribes, and replays from it. */
export class TableFeed implements Feed {
  readonly tailer: Tailer
  readonly #options: TableFeedOptions
  readonly #runWatch: RunWatch
  readonly #gapWatch: GapWatch
  #receiver: Receiver | null = null
  #source: Source | null = null
  #runEnds: RunEnds | null = null
  #preparing: Promise<Table> | null = null
  #starting: Promise<void> | null = null
  #failing = false
  #wanted = false
  /** It outlives what is known of the table. */
  readonly #stoppedHere = new Map<string, string | null>()
  /** Warnings that were in the log. */
  readonly #said = new Set<string>()
  #closed = false

  constructor (options: TableFeedOptions) {
    this.#options = options
    const receiver = () => this.#receiver!
    this.tailer = new Tailer({
      order: options.order,
      log: options.log,
      receiver: {
        watched: () => receiver().watched(),
        watches: (run) => receiver().watches(run),
        deliver: (deliveries) => receiver().deliver(deliveries),
        checkHealth: () => receiver().checkHealth(),
        reset: () => {
          // It may be another table by now.
          this.forget()
          this.#runWatch.forget()
          receiver().reset()
        }
      },
      afterRead: (began) => {
        this.#gapWatch.check(this.tailer.watermark?.lowestInFlight ?? null)
        this.#runWatch.check(began)
      }
    })
    this.#gapWatch = new GapWatch({ log: options.log, blockers: () => this.blockers() })
    this.#runWatch = new RunWatch({
      runs: () => receiver().openRuns(),
      find: (runs) => options.lookups.answer((sql) => this.#runEnds!.find(sql, runs)),
      log: options.log,
      end: (end) => receiver().end(end),
      inFlight: () => this.tailer.inFlight,
      heldBack: () => this.tailer.heldBack,
      wake: () => this.tailer.wake()
    })
  }

  /** To whom rows go. */
  connect (receiver: Receiver): void {
    this.#receiver = receiver
  }

  /** Null until the table was looked up. */
  get table (): Table | null {
    return this.#source?.table ?? null
  }

  get cursor (): Cursor {
    return this.tailer.cursor
  }

  get isFailing (): boolean {
    return this.#failing || this.tailer.isFailing
  }

  get seen (): Cursor {
    return this.tailer.seen
  }

  get integerRuns (): boolean {
    return this.table !== null && isInteger(this.table.runType)
  }

  /**
   * Looks the table up, once.
   * @throws FST_PG_TAIL_TABLE, FST_PG_TAIL_SERVER, or why the server cannot be reached
   */
  prepare (): Promise<Table> {
    this.#preparing ??= this.#prepare().catch((error) => {
      this.#preparing = null
      throw error
    })
    return this.#preparing
  }

  /** What is known of the table may be wrong: the next time it is looked up afresh. */
  forget (): void {
    this.#preparing = null
  }

  async wakeUp (): Promise<void> {
    if (this.#closed) throw new errors.Closed()
    this.#wanted = true
    // A start that is under way may have been given up just before.
    while (this.#wanted && (this.tailer.watermark === null || this.#starting !== null)) {
      this.#starting ??= this.#start().finally(() => { this.#starting = null })
      await this.#starting
    }
  }

  /** For good. */
  close (): void {
    this.#closed = true
    this.sleep()
  }

  sleep (): void {
    this.#wanted = false
    // Nobody tries any more, so nobody would notice that it works again.
    this.#failing = false
    // By the time that somebody comes again it may be another table.
    this.forget()
    this.#runWatch.forget()
    this.tailer.stop()
  }

  refresh (): Promise<void> {
    return this.tailer.refresh()
  }

  seekEnds (): void {
    this.#runWatch.seek()
  }

  moved (): Promise<void> {
    return this.tailer.moved()
  }

  isBeyond (cursor: Cursor): Promise<boolean> {
    return this.tailer.isBeyond(cursor)
  }

  isBehind (cursor: Cursor): Promise<boolean> {
    return this.tailer.isBehind(cursor)
  }

  async replay (from: Cursor, to: Cursor, filter: Filter, isWanted?: () => boolean): Promise<Replay> {
    const ranges = to.minus(from)
    const { rows, more } = ranges.length === 0
      ? { rows: [], more: false }
      : await this.#options.pool.answer((sql) => this.#source!.replay(sql, ranges, filter), isWanted)
    return replayPage(rows, more, from, to)
  }

  async tail (to: Cursor, filter: Filter, count: number, isWanted?: () => boolean): Promise<Cursor> {
    if (count === 0) return to
    const first = await this.#options.pool.answer((sql) => this.#source!.nthLast(sql, to.minus(NOTHING), filter, count), isWanted)
    return first === null ? to : to.upTo(first - 1n)
  }

  async hasMore (cursor: Cursor, filter: Filter, isWanted?: () => boolean): Promise<boolean> {
    const table = await this.prepare()
    const { pool } = this.#options
    const last = (ranges: readonly Range[], filter: Filter) => pool.answer((sql) => this.#source!.nthLast(sql, ranges, filter, 1), isWanted)
    if (await last(cursor.missing(), filter) !== null) return true
    // Of another life of the table: all of this one.
    const { lastValue } = await pool.answer((sql) => readSequence(sql, table), isWanted)
    return lastValue !== null && cursor.high > lastValue && await last([{ lo: cursor.high, hi: MAX_ID }], { run: null, levels: null }) === null
  }

  /** Who keeps gaps open. */
  blockers (isWanted?: () => boolean): Promise<Blocker[]> {
    return this.#options.pool.answer((sql) => blockers(sql, this.table!), isWanted)
  }

  async findEnd (run: string, isWanted?: () => boolean): Promise<RunEnd | null> {
    await this.prepare()
    const [end] = await this.#options.lookups.answer((sql) => this.#runEnds!.find(sql, [run]), isWanted)
    return end ?? null
  }

  async countRows (run: string): Promise<number> {
    await this.prepare()
    return this.#options.pool.answer((sql) => this.#source!.count(sql, run))
  }

  async stopRun (run: string, message: string | null): Promise<void> {
    await this.prepare()
    const { lookups, channel, log } = this.#options
    const told = await lookups.answer((sql) => this.#runEnds!.stop(sql, run, message, channel))
    if (!told) log.warn({ run }, 'the run is stopped on this node only: sql/install.sql is not installed, or not for this role, so other nodes cannot know')
    this.tailer.wake()
  }

  parseRun (text: string): string {
    return parseRun(text, this.table?.runType)
  }

  async #prepare (): Promise<Table> {
    const { reader, table: name, columns, runs, log } = this.#options
    const table = await reader.answer((sql) => inspectTable(sql, name, columns))
    this.#runEnds = await reader.answer((sql) => RunEnds.inspect(sql, table, runs, this.#stoppedHere)).catch((error) => {
      // Once it was well, rows must not wait for it.
      if (!(error instanceof errors.Table) || this.#runEnds === null || this.table?.oid !== table.oid) throw error
      if (!this.#said.has(error.message)) log.warn({ err: error }, 'the table of runs is not as it was')
      this.#said.add(error.message)
      return this.#runEnds
    })
    const source = new Source({ ...table, runs: this.#runEnds.runs })
    this.#options.admit(source.table)
    this.#source = source
    for (const warning of table.warnings) {
      if (!this.#said.has(warning)) log.warn(warning)
      this.#said.add(warning)
    }
    return source.table
  }

  /** Tries until it works or nobody wants it any more. */
  async #start (): Promise<void> {
    const { log, reader, pollInterval, doorbell } = this.#options
    while (this.#wanted && this.tailer.watermark === null) {
      try {
        await this.prepare()
        // Nobody would stop it.
        if (!this.#wanted) return
        await this.tailer.start(this.#source!, reader, doorbell())
        this.#failing = false
        this.#receiver!.checkHealth()
      } catch (error) {
        if (!this.#wanted) return
        log[this.#failing ? 'debug' : 'warn']({ err: error }, 'the table cannot be tailed yet: trying again')
        this.#failing = true
        this.#receiver!.checkHealth()
        this.forget()
        await delay(pollInterval, undefined, { ref: false })
      }
    }
  }
}
