import type { FastifyBaseLogger } from 'fastify'
import { readOptions, type FastifyPgTailOptions } from '../options.ts'
import { firstSince } from '../postgres/since.ts'
import type { Notice } from '../queue/frame.ts'
import { parseLevels } from '../queue/log-queue.ts'
import type { Batch } from '../queue/ring.ts'
import type { Sink } from '../queue/sink.ts'
import type { Start, Subscriber } from '../queue/subscriber.ts'
import { Service } from '../service.ts'
import type { Call } from './command.ts'
import { asFailure, errorText } from './failure.ts'
import type { Follow } from './follow.ts'
import { shownRow, type Printer } from './printer.ts'
import { withServer } from './server.ts'

/** Milliseconds between two looks whether all that is there was shown. */
const LOOK = 50

/** The log straight from the table, by the parts that the plugin has. */
export async function tailDatabase (given: FastifyPgTailOptions & { connectionString: string }, follow: Follow, printer: Printer, call: Call): Promise<number> {
  const options = readOptions({ install: false, ...given, ...!follow.forever && { heartbeat: LOOK } }, {})
  const service = new Service(options, quietLogger(printer))
  const { feed, queue } = service.logs.get('default')!
  try {
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
      const first = await withServer(given.connectionString, call, 'tail', (reader) => reader.answer((sql) => firstSince(sql, table, follow.since!)))
      // What is missing of what was seen may still come: it is among what this one lacks.
      start = { after: first === null ? seen : seen.upTo(first - 1n) }
    }
    if (call.signal.aborted) return 0
    if (follow.forever) service.listener.start()
    const sink = new RowSink(printer, follow.forever)
    sink.subscriber = queue.attach(filter, start, sink)
    call.signal.addEventListener('abort', () => sink.subscriber!.close(), { once: true })
    await sink.over
    return 0
  } finally {
    await service.close()
  }
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
    // Node writes to files, pipes and terminals at once: there is nothing to wait for.
    for (const { row } of frames) this.#printer.row(shownRow(row))
    return true
  }

  notice (notice: Notice): boolean {
    if (notice.type === 'stopped') this.#printer.note(`run ${notice.run_id} is ${notice.status} with ${notice.rows} rows: ${notice.message}`)
    else if (notice.type === 'reset' || (notice.type === 'mode' && this.#changes(notice.mode))) this.#printer.note(`${notice.type}: ${notice.message}`)
    return true
  }

  heartbeat (): boolean {
    if (!this.#forever && this.subscriber?.upToDate) this.subscriber.close()
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

/** Says what somebody who watches should know, once as long as it stays the same. */
function quietLogger (printer: Printer): FastifyBaseLogger {
  let said = ''
  const say = (details: unknown, message?: string) => {
    const { err, reason } = (typeof details === 'object' ? details : {}) as { err?: unknown, reason?: string }
    const why = err !== undefined ? errorText(err) : reason
    const text = `${message ?? String(details)}${why === undefined ? '' : ` (${why})`}`
    if (text !== said) printer.note(text)
    said = text
  }
  const silent = () => {}
  const log = { level: 'warn', fatal: say, error: say, warn: say, info: silent, debug: silent, trace: silent, silent, child: () => log }
  return log as unknown as FastifyBaseLogger
}
