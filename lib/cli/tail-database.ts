import type { FastifyBaseLogger } from 'fastify'
import { readOptions, type FastifyPgTailOptions } from '../options.ts'
import { quote } from '../postgres/query.ts'
import { firstSince } from '../postgres/since.ts'
import type { Table } from '../postgres/table.ts'
import type { Notice } from '../queue/frame.ts'
import { parseLevels } from '../queue/log-queue.ts'
import type { Batch } from '../queue/ring.ts'
import type { Sink } from '../queue/sink.ts'
import type { Start, Subscriber } from '../queue/subscriber.ts'
import { Service } from '../service.ts'
import type { Call } from './command.ts'
import { asFailure, errorText, Failure, isTimeout } from './failure.ts'
import type { Follow } from './follow.ts'
import { shownRow, type Printer } from './printer.ts'
import { withServer } from './server.ts'

/** Milliseconds for the one statement that may have to read the whole table. */
const SCAN = 300_000
/** Tries that may fail where nobody waits for more than is there. */
const MAX_FAILURES = 3

type Source = FastifyPgTailOptions & { connectionString: string }

/** The log straight from the table, by the parts that the plugin has. */
export async function tailDatabase (given: Source, follow: Follow, printer: Printer, call: Call): Promise<number> {
  let failures = 0
  let fail: (error: unknown) => void = () => {}
  let ends = false
  const failed = new Promise<never>((_resolve, reject) => { fail = reject })
  const service = new Service(readOptions({ install: false, ...given }, {}), quietLogger(printer, () => ends || call.signal.aborted, (error) => {
    if (!follow.forever && ++failures === MAX_FAILURES) fail(asFailure(error))
  }))
  try {
    await Promise.race([failed, show(service, given, follow, printer, call)])
    return 0
  } finally {
    // What is under way on sessions that are closed fails, and is no news.
    ends = true
    await service.close()
  }
}

async function show ({ logs, listener }: Service, given: Source, follow: Follow, printer: Printer, call: Call): Promise<void> {
  const { feed, queue } = logs.get('default')!
  // A server that was never there is mostly a wrong URL; one that goes away later is waited for.
  const table = await feed.prepare().catch((error) => { throw asFailure(error) })
  const filter = {
    run: follow.run === null ? null : feed.parseRun(follow.run),
    levels: follow.levels.length === 0 ? null : parseLevels(follow.levels)
  }
  let start: Start = { tail: follow.count }
  if (follow.since !== null) {
    await feed.wakeUp()
    const { seen } = feed
    const first = await findFirst(given, table, follow.since, call)
    // What is missing of what was seen may still come: it is among what this one lacks.
    start = { after: first === null ? seen : seen.upTo(first - 1n) }
  }
  if (call.signal.aborted) return
  if (follow.forever) listener.start()
  const sink = new RowSink(printer, follow.forever)
  sink.subscriber = queue.attach(filter, start, sink)
  call.signal.addEventListener('abort', () => sink.subscriber!.close(), { once: true })
  await sink.over
}

/** @returns the lowest id of a row that is as new as that */
function findFirst ({ connectionString }: Source, table: Table, since: Date, call: Call): Promise<bigint | null> {
  return withServer(connectionString, call, 'tail', async (reader) => {
    try {
      return await reader.answer((sql) => firstSince(sql, table, since))
    } catch (error) {
      if (!isTimeout(error)) throw error
      throw new Failure(`the first row since then was not found within ${SCAN / 1000} s. An index helps: ` +
        `create index concurrently on ${table.name} (${quote(table.columns.timestamp)}); (where it has partitions, without "concurrently")`)
    }
  }, SCAN)
}

/** Shows what comes. */
class RowSink implements Sink {
  readonly over: Promise<void>
  /** Set by whoever attaches it. */
  subscriber: Subscriber | null = null
  readonly #printer: Printer
  readonly #forever: boolean
  #mode: 'listen' | 'poll' | null = null
  #end: () => void = () => {}

  constructor (printer: Printer, forever: boolean) {
    this.#printer = printer
    this.#forever = forever
    this.over = new Promise((resolve) => { this.#end = resolve })
  }

  write ({ frames }: Batch): boolean {
    for (const { row } of frames) this.#printer.row(shownRow(row))
    const { full } = this.#printer
    if (full) this.#printer.drained().then(() => this.subscriber!.ready())
    return !full
  }

  notice (notice: Notice): boolean {
    if (notice.type === 'stopped') this.#printer.note(`run ${notice.run_id} is ${notice.status} with ${notice.rows} rows: ${notice.message}`)
    // The listener was there before the greeting.
    else if (notice.type === 'connected' && notice.mode === 'listen') this.#mode = 'listen'
    else if (notice.type === 'reset' || (notice.type === 'mode' && this.#changes(notice.mode))) this.#printer.note(`${notice.type}: ${notice.message}`)
    return true
  }

  /** Live, it has shown what was there. */
  heartbeat (): boolean {
    if (!this.#forever && this.subscriber?.state === 'live') this.subscriber.close()
    return true
  }

  /** It polls until the listener is there; only later changes are worth a word. */
  #changes (mode: 'listen' | 'poll'): boolean {
    const before = this.#mode
    this.#mode = mode
    return this.#forever && before !== null
  }

  progress (): null {
    return null
  }

  end (): void {
    this.#end()
  }

  destroy (): void {
    this.#end()
  }
}

/** Says what somebody who watches should know, once until it is well again; nothing any more once it `isEnding`. */
function quietLogger (printer: Printer, isEnding: () => boolean, onfailure: (error: unknown) => void): FastifyBaseLogger {
  const say = (details: unknown, message?: string) => {
    if (isEnding()) return
    const { err, reason } = (typeof details === 'object' ? details : {}) as { err?: unknown, reason?: string }
    // An option of the plugin's; here it has another name.
    const why = (err !== undefined ? errorText(err) : reason)?.replace('listenConnectionString', '--listen-database')
    printer.trouble(`${message ?? String(details)}${why === undefined ? '' : ` (${why})`}`)
    if (err !== undefined) onfailure(err)
  }
  // What fails again and again is not worth more than that in the plugin's log. Here nobody would know why nothing comes.
  const saying = (otherwise: () => void) => (details: unknown, message?: string) => {
    if ((details as { err?: unknown }).err === undefined) otherwise()
    else say(details, message)
  }
  const silent = () => {}
  // What goes well is told as information.
  const log = { level: 'debug', fatal: say, error: say, warn: say, info: saying(() => printer.recover()), debug: saying(silent), trace: silent, silent, child: () => log }
  return log as unknown as FastifyBaseLogger
}
