import { setTimeout as delay } from 'node:timers/promises'
import type { StreamEvent } from '../../client/event-parser.ts'
import { MAX_TAIL } from '../queue/log-queue.ts'
import type { Call } from './command.ts'
import { Busy, eventsOf, openStream } from './event-stream.ts'
import { errorText, Failure } from './failure.ts'
import type { Follow } from './follow.ts'
import { Refused, type Endpoint } from './http.ts'
import type { Printer, ShownRow } from './printer.ts'

/** Milliseconds until a client comes back, unless the server says otherwise. */
const RETRY = 2000
const MAX_RETRY = 60_000

/** The log by a stream route, as a browser gets it. */
export class StreamTail {
  readonly #endpoint: Endpoint
  readonly #follow: Follow
  readonly #printer: Printer
  readonly #signal: AbortSignal
  #lastId: string | null = null
  #retry = RETRY

  constructor (endpoint: Endpoint, follow: Follow, printer: Printer, { signal }: Call) {
    this.#endpoint = endpoint
    this.#follow = follow
    this.#printer = printer
    this.#signal = signal
  }

  run (): Promise<number> {
    return this.#follow.forever ? this.#forever() : this.#once()
  }

  /** Until the run ends, or somebody has enough. */
  async #forever (): Promise<number> {
    let reached = false
    while (!this.#signal.aborted) {
      let pause = 0
      try {
        const events = await this.#open()
        if (events === null) {
          this.#printer.note('the run has ended, and all of it was shown')
          return 0
        }
        if (this.#printer.recover()) this.#printer.note('the stream is back')
        reached = true
        for await (const event of events) if (await this.#take(event) === 'end') return 0
        if (!this.#signal.aborted) this.#printer.trouble(`the stream ended: coming back after ${this.#retry} ms`)
      } catch (error) {
        if (this.#signal.aborted) break
        // What never answered is mostly a wrong URL.
        if (!reached || error instanceof Refused) throw error
        if (error instanceof Busy) pause = error.retryAfter
        this.#printer.trouble(`${errorText(error)}: trying again`)
      }
      await delay(Math.min(Math.max(this.#retry, pause), MAX_RETRY), undefined, { signal: this.#signal }).catch(() => {})
    }
    return 0
  }

  /** What is there at this moment. */
  async #once (): Promise<number> {
    const { count } = this.#follow
    if (count === 0) return 0
    const events = await this.#open()
    // Only who comes back is told that there is nothing more.
    if (events === null) throw new Failure(`${this.#endpoint.name} answers 204, though nothing was sent yet`)
    let rows = 0
    let heartbeats = 0
    for await (const event of events) {
      const kind = await this.#take(event)
      // Where rows are written meanwhile, more come than were there.
      if (kind === 'end' || (kind === 'row' && ++rows === count)) return 0
      // An id without an event: the first says that the start is known, the second that all has come.
      if (event.data === undefined && event.id !== undefined && ++heartbeats === 2) return 0
    }
    if (this.#signal.aborted) return 0
    throw new Failure('the stream ended before all of it had come')
  }

  /** Null: there is nothing more. Older rows than wanted are left out once they are here: a stream goes by number, not by time. */
  async #open (): Promise<AsyncGenerator<StreamEvent> | null> {
    const { run, levels, since, count } = this.#follow
    const query = {
      tail: String(since === null ? count : MAX_TAIL),
      ...run !== null && { run_id: run },
      ...levels.length > 0 && { level: levels.join(',') }
    }
    const { text } = await openStream(this.#endpoint, { query, lastEventId: this.#lastId, signal: this.#signal })
    return text && eventsOf(text)
  }

  /** Shows what it is, and waits until that is taken. */
  async #take ({ id, data, retry }: StreamEvent): Promise<'row' | 'end' | 'other'> {
    if (id !== undefined) this.#lastId = id
    if (retry !== undefined) this.#retry = retry
    if (data === undefined) return 'other'
    const { type, ...message } = parse(data)
    if (type === 'log') {
      this.#printer.row({ ...message, cursor: id } as ShownRow)
      if (this.#printer.full) await this.#printer.drained()
      return 'row'
    }
    if (type === 'stopped') {
      this.#printer.note(`run ${message['run_id']} is ${message['status']} with ${message['rows']} rows: ${message['message']}`)
      return this.#follow.run === null ? 'other' : 'end'
    }
    if (type === 'reset' || (type === 'mode' && this.#follow.forever)) this.#printer.note(`${type}: ${message['message']}`)
    return 'other'
  }
}

function parse (data: string): Record<string, any> {
  try {
    return Object(JSON.parse(data))
  } catch {
    throw new Refused('an event is no JSON: this is not a stream of fastify-pg-tail', 200)
  }
}
