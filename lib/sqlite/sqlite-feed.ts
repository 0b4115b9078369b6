import { setImmediate, setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { errors, isRefusal } from '../errors.ts'
import { stopHere, type RunsOptions } from '../postgres/run-ends.ts'
import type { Columns } from '../postgres/table.ts'
import type { Feed, Receiver, Replay, RunEnd } from '../queue/feed.ts'
import { replayPage } from '../queue/replay.ts'
import type { Filter } from '../row.ts'
import { parseRun } from '../run-id.ts'
import { Cursor, MAX_ID } from '../tail/cursor.ts'
import { RunWatch } from '../tail/run-watch.ts'
import { isBusy, SqliteFile } from './sqlite-file.ts'
import { SqliteSource } from './sqlite-source.ts'
import { inspectTable } from './sqlite-table.ts'
import { SqliteTailer } from './sqlite-tailer.ts'

export interface SqliteFeedOptions {
  path: string
  table: string
  columns: Columns
  runs: RunsOptions | null
  /** Milliseconds between two looks at the file. */
  pollInterval: number
  /** Milliseconds that it may stay locked. */
  timeout: number
  log: FastifyBaseLogger
}

/** So often a question is asked while somebody commits, and so many milliseconds apart. */
const BUSY_TRIES = 10
const BUSY_DELAY = 20

/** The feed of a table in an SQLite file: opens it, tails it while somebody subscribes, and replays from it. */
export class SqliteFeed implements Feed {
  readonly tailer: SqliteTailer
  readonly #options: SqliteFeedOptions
  readonly #runWatch: RunWatch
  /** Runs that were stopped, with the messages: SQLite has no place of ours, so other processes do not know. */
  readonly #stopped = new Map<string, string | null>()
  #receiver: Receiver | null = null
  #file: SqliteFile | null = null
  #source: SqliteSource | null = null
  /** Version of the schema in which the table was looked up. */
  #schema: bigint | null = null
  /** Warnings that were in the log. */
  readonly #said = new Set<string>()
  #closed = false

  constructor (options: SqliteFeedOptions) {
    this.#options = options
    const receiver = () => this.#receiver!
    this.tailer = new SqliteTailer({
      ...options,
      open: () => this.open(),
      receiver: {
        watches: (run) => receiver().watches(run),
        deliver: (deliveries) => receiver().deliver(deliveries),
        checkHealth: () => receiver().checkHealth(),
        reset: () => {
          this.#runWatch.forget()
          receiver().reset()
        }
      },
      afterRead: (began) => this.#runWatch.check(began)
    })
    this.#runWatch = new RunWatch({
      runs: () => receiver().openRuns(),
      find: (runs) => this.#findEnds(runs),
      log: options.log,
      end: (end) => receiver().end(end),
      inFlight: () => false,
      heldBack: () => false,
      wake: () => { this.refresh() }
    })
  }

  /** To whom rows go. */
  connect (receiver: Receiver): void {
    this.#receiver = receiver
  }

  get cursor (): Cursor {
    return this.tailer.cursor
  }

  get seen (): Cursor {
    return this.tailer.cursor
  }

  get isFailing (): boolean {
    return this.tailer.failure !== null
  }

  get integerRuns (): boolean {
    return this.#source?.table.integerRuns ?? false
  }

  /** Why the file cannot be read, or null. While nobody watches it is tried: a probe sees it come and go. */
  get trouble (): unknown {
    if (this.tailer.failure !== null) return this.tailer.failure
    try {
      this.open()
    } catch (error) {
      // Somebody may be writing just now.
      if (!isBusy(error) || this.#source === null) return error
    }
    return null
  }

  /**
   * Opens the file and looks the table up; again where one of them is another by now.
   * @throws FST_PG_TAIL_TABLE, FST_PG_TAIL_OPTION, FST_PG_TAIL_CLOSED, or what SQLite or the file system says
   */
  open (): SqliteSource {
    const { path, table, columns, runs, log } = this.#options
    if (this.#closed) throw new errors.Closed()
    if (this.#file?.isCurrent() === false) this.#forget()
    const file = this.#file ??= new SqliteFile(path)
    const schema = file.schemaVersion()
    if (this.#source !== null && schema === this.#schema) return this.#source
    try {
      this.#source = new SqliteSource(file, inspectTable(file, table, columns, runs))
    } catch (error) {
      // The table is gone, say: what comes in its place is another one.
      if (isRefusal(error)) this.#forget()
      throw error
    }
    this.#schema = schema
    for (const warning of this.#source.table.warnings) {
      if (!this.#said.has(warning)) log.warn(warning)
      this.#said.add(warning)
    }
    return this.#source
  }

  async wakeUp (): Promise<void> {
    if (this.#closed) throw new errors.Closed()
    await this.tailer.start()
  }

  sleep (): void {
    this.#runWatch.forget()
    this.tailer.stop()
  }

  /** For good. */
  close (): void {
    this.#closed = true
    this.sleep()
    this.#forget()
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

  /** Cursors have no gaps here. */
  async isBehind (): Promise<boolean> {
    return true
  }

  async isBeyond ({ high }: Cursor): Promise<boolean> {
    return high > await this.#ask((source) => source.last())
  }

  async replay (from: Cursor, to: Cursor, filter: Filter): Promise<Replay> {
    const [range] = to.minus(from)
    if (range === undefined) return replayPage([], false, from, to)
    const { rows, upTo } = await this.#ask((source) => source.read(range, filter))
    return replayPage(rows, false, from, to.upTo(upTo))
  }

  async tail (to: Cursor, filter: Filter, count: number): Promise<Cursor> {
    const { first } = await this.#lookBack(to.high, filter, count)
    return first === null ? to : to.upTo(first - 1n)
  }

  async hasMore (cursor: Cursor, filter: Filter): Promise<boolean> {
    const to = new Cursor(await this.#ask((source) => source.last()))
    // A cursor above all ids is of another life of the table: it lacks all of this one.
    if (cursor.high > to.high) return true
    for (let at = cursor; !at.covers(to);) {
      const page = await this.replay(at, to, filter)
      if (page.deliveries.length > 0) return true
      at = page.cursor
    }
    return false
  }

  async findEnd (run: string): Promise<RunEnd | null> {
    const [end] = await this.#findEnds([run])
    return end ?? null
  }

  async countRows (run: string): Promise<number> {
    return (await this.#lookBack(MAX_ID, { run, levels: null }, Infinity)).found
  }

  async stopRun (run: string, message: string | null): Promise<void> {
    this.#options.log.warn({ run }, 'the run is stopped in this process only: an SQLite file has no place to tell others')
    stopHere(this.#stopped, run, message)
    await this.refresh()
  }

  parseRun (text: string): string {
    return parseRun(text, this.integerRuns ? 'bigint' : undefined)
  }

  async #findEnds (runs: readonly string[]): Promise<RunEnd[]> {
    const ends = await this.#ask((source) => source.findEnds(runs))
    for (const run of runs) {
      if (this.#stopped.has(run) && !ends.some((end) => end.run === run)) ends.push({ run, status: 'stopped', message: this.#stopped.get(run)! })
    }
    return ends
  }

  /** A stream's newest rows up to `hi`, `count` at most: the id of the first, and how many they are. */
  async #lookBack (hi: bigint, filter: Filter, count: number): Promise<{ first: bigint | null, found: number }> {
    let first: bigint | null = null
    let found = 0
    for (let to = hi; found < count && to > 0n;) {
      const step = await this.#ask((source) => source.lookBack(to, filter, count - found))
      first = step.first ?? first
      found += step.found
      to = step.lo - 1n
    }
    return { first, found }
  }

  /** In a turn of its own, for all else waits while this SQLite answers. */
  async #ask<T> (question: (source: SqliteSource) => T): Promise<T> {
    for (let tries = 1; ; tries++) {
      await setImmediate()
      try {
        return question(this.open())
      } catch (error) {
        if (!isBusy(error) || tries === BUSY_TRIES) throw error
        await delay(BUSY_DELAY, undefined, { ref: false })
      }
    }
  }

  #forget (): void {
    this.#file?.close()
    this.#file = null
    this.#source = null
  }
}
