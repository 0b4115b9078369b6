import { setTimeout as delay } from 'node:timers/promises'
import { MAX_TAIL } from '../queue/log-queue.ts'
import { Cursor } from '../tail/cursor.ts'
import type { Call } from './command.ts'
import { openStream, Refused } from './event-stream.ts'
import { errorText, Failure } from './failure.ts'
import type { Follow } from './follow.ts'
import type { Endpoint } from './http.ts'
import type { Printer, ShownRow } from './printer.ts'
import type { SseBlock } from './sse.ts'

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
  #shown = 0

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
    let said = ''
    const say = (text: string) => {
      if (text !== said) this.#printer.note(text)
      said = text
    }
    while (!this.#signal.aborted) {
      try {
        const { blocks } = await openStream(this.#endpoint, { query: this.#query(this.#tail), lastEventId: this.#lastId, signal: this.#signal })
        if (blocks === null) {
          this.#printer.note('the run has ended, and all of it was shown')
          return 0
        }
        if (said !== '') say('the stream is back')
        said = ''
        reached = true
        for await (const block of blocks) if (this.#take(block)) return 0
        if (!this.#signal.aborted) say(`the stream ended: coming back after ${this.#retry} ms`)
      } catch (error) {
        if (this.#signal.aborted) break
        // What never answered is mostly a wrong URL.
        if (!reached || error instanceof Refused) throw error
        say(`${errorText(error)}: trying again`)
      }
      await delay(Math.min(this.#retry, MAX_RETRY), undefined, { signal: this.#signal }).catch(() => {})
    }
    return 0
  }

  /**
   * What is there at this moment. A stream does not say where that ends: so it is asked first how far the log is, and
   * which is the last row that is wanted.
   */
  async #once (): Promise<number> {
    const { count } = this.#follow
    if (count === 0) return 0
    const here = await this.#first({ tail: '0' }, ({ id }) => id === null || id === '' ? null : Cursor.parse(id))
    if (here === null) throw new Failure('the stream ended before it said where it is')
    const isAllOf = ({ id }: SseBlock) => id !== null && id !== '' && Cursor.parse(id).covers(here)
    const last = await this.#first({ tail: '1' }, (block) => {
      const row = rowOf(block)
      return row !== null ? BigInt(row.id) : isAllOf(block) ? -1n : null
    })
    if (last === null || last < 0n) return 0
    const { blocks } = await this.#open(this.#tail)
    let first: bigint | null = null
    for await (const block of blocks) {
      if (this.#take(block)) return 0
      const row = rowOf(block)
      if (row === null) continue
      first ??= BigInt(row.id)
      // Where the last row of then is not among these, there are as many new ones.
      if (++this.#shown === count || (first <= last && BigInt(row.id) >= last)) return 0
    }
    if (this.#signal.aborted) return 0
    throw new Failure('the stream ended before all of it had come')
  }

  /** The first answer that a block of a stream gives; null where it gives none. */
  async #first<T> (query: Record<string, string>, find: (block: SseBlock) => T | null): Promise<T | null> {
    const { blocks } = await this.#open(query)
    for await (const block of blocks) {
      const found = find(block)
      if (found !== null) return found
    }
    return null
  }

  async #open (query: Record<string, string>): Promise<{ blocks: AsyncGenerator<SseBlock> }> {
    const { blocks } = await openStream(this.#endpoint, { query: this.#query(query), signal: this.#signal })
    // Only who comes back is told that there is nothing more.
    if (blocks === null) throw new Failure(`${this.#endpoint.name} answers 204, though nothing was sent yet`)
    return { blocks }
  }

  /** Older rows than wanted are left out once they are here: a stream goes by number, not by time. */
  get #tail (): Record<string, string> {
    return { tail: String(this.#follow.since === null ? this.#follow.count : MAX_TAIL) }
  }

  #query (query: Record<string, string>): Record<string, string> {
    const { run, levels } = this.#follow
    return { ...query, ...run !== null && { run_id: run }, ...levels.length > 0 && { level: levels.join(',') } }
  }

  /** Shows what it is. @returns whether it was the last */
  #take (block: SseBlock): boolean {
    const { id, retry } = block
    if (id !== null) this.#lastId = id
    if (retry !== null) this.#retry = retry
    const message = messageOf(block)
    if (message === null) return false
    const row = rowOf(block)
    if (row !== null) this.#printer.row(row)
    else if (message.type === 'stopped') {
      this.#printer.note(`run ${message.run_id} is ${message.status} with ${message.rows} rows: ${message.message}`)
      return this.#follow.run !== null
    } else if (message.type === 'reset' || (message.type === 'mode' && this.#follow.forever)) {
      this.#printer.note(`${message.type}: ${message.message}`)
    }
    return false
  }
}

function messageOf ({ data }: SseBlock): Record<string, any> | null {
  if (data === null) return null
  try {
    return JSON.parse(data)
  } catch {
    throw new Refused('an event is no JSON: this is not a stream of fastify-pg-tail')
  }
}

function rowOf (block: SseBlock): ShownRow | null {
  const message = messageOf(block)
  if (message?.type !== 'log') return null
  const { type, ...row } = message
  return { ...row, cursor: block.id } as ShownRow
}
