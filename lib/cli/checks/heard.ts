import { setTimeout as delay } from 'node:timers/promises'
import { EventParser } from '../../../client/event-parser.ts'

/** A heartbeat, in milliseconds since 1970. */
export interface Beat {
  /** By the clock of the server; by ours where it does not say. */
  sent: number
  /** By our clock. */
  came: number
}

const BEAT = ': heartbeat'
/** Characters of a line that has not ended yet: a heartbeat has no more. */
const MAX_LINE = 100

/** What has come of a stream so far, and what comes. */
export class Heard {
  readonly beats: Beat[] = []
  readonly #text: AsyncGenerator<string>
  readonly #parser = new EventParser()
  readonly #messages = new Map<string, Record<string, any>>()
  /** Comments are no events: they are looked for apart. */
  #line = ''
  #next: Promise<IteratorResult<string>> | null = null
  #any = false

  constructor (text: AsyncGenerator<string>) {
    this.#text = text
  }

  /** Whether there was anything at all. */
  get any (): boolean {
    return this.#any
  }

  /** The last message of that type, or null. */
  message (type: string): Record<string, any> | null {
    return this.#messages.get(type) ?? null
  }

  /**
   * Waits until it is so.
   * @param patience milliseconds
   */
  async until (right: (heard: this) => boolean, patience: number): Promise<'yes' | 'late' | 'end'> {
    const over = new AbortController()
    const timer = delay(patience, 'late' as const, { signal: over.signal }).catch(() => 'late' as const)
    try {
      while (!right(this)) {
        this.#next ??= this.#text.next()
        const result = await Promise.race([this.#next, timer])
        if (result === 'late') return 'late'
        this.#next = null
        if (result.done) return 'end'
        this.#note(result.value)
      }
      return 'yes'
    } finally {
      over.abort()
    }
  }

  #note (text: string): void {
    this.#any = true
    const lines = (this.#line + text).split(/\r\n|\n|\r/)
    this.#line = lines.pop()!.slice(0, MAX_LINE)
    for (const line of lines) {
      if (!line.startsWith(BEAT)) continue
      const came = Date.now()
      const sent = Date.parse(line.slice(BEAT.length).trim())
      this.beats.push({ sent: Number.isNaN(sent) ? came : sent, came })
    }
    for (const { data } of this.#parser.feed(text)) {
      try {
        const message = JSON.parse(data ?? 'null')
        if (typeof message?.type === 'string') this.#messages.set(message.type, message)
      } catch {}
    }
  }
}
