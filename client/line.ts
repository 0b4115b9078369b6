import { connect } from './connection.ts'
import type { StreamEvent } from './event-parser.ts'
import { pauseAfter, type Outcome } from './outcome.ts'
import { Slots } from './slots.ts'

/** Tabs took turns so long ago: by now there is room for all. */
const NO_MORE_TURNS = 6000

const HIDDEN = 'Nobody looks at this page: it connects again when somebody does'

export interface LineOptions {
  origin: string
  headers: Record<string, string>
  credentials: RequestCredentials
  timeout: number
  /** Whether nobody looks at what it brings: its turns are shorter then. */
  hidden: () => boolean
  /** Asked before each request: where it starts. */
  where: () => { url: URL, lastEventId: string | null }
  onevents: (events: StreamEvent[]) => void
  /** Another tab has got the slot, until it is our turn again. */
  onturns: () => void
  ontrouble: (message: string) => void
  /** There is nothing more to come. */
  onend: (state: 'ended' | 'refused', message: string) => void
}

/** One's own connection to the server: again and again, for as long as it is wanted. */
export class Line {
  /** Milliseconds, from the server. */
  retry = 2000
  readonly #options: LineOptions
  readonly #slots: Slots
  #open = true
  #up = false
  #closed = false
  #abort = new AbortController()
  #failures = 0
  /** When the slot was last given up for another tab. */
  #yielded = -Infinity
  #wake: () => void = () => {}
  /** When a pause is over, by `performance.now()`. */
  #due = Infinity
  readonly #hurry = () => this.#wake()

  constructor (options: LineOptions) {
    this.#options = options
    this.#slots = new Slots(options.origin, options.hidden)
    globalThis.addEventListener?.('online', this.#hurry)
    this.#run()
  }

  /** Whether tabs take turns at the moment. */
  get turns (): boolean {
    return performance.now() - this.#yielded < NO_MORE_TURNS
  }

  /** Whether the server has let us in, and was not lost since. Also while another tab has the slot: that is a matter of seconds. */
  get up (): boolean {
    return this.#up
  }

  open (): void {
    if (this.#open) return
    this.#open = true
    this.#wake()
  }

  hangUp (): void {
    this.#open = false
    this.#up = false
    this.#abort.abort()
  }

  close (): void {
    this.#closed = true
    this.#abort.abort()
    this.#slots.close()
    globalThis.removeEventListener?.('online', this.#hurry)
    this.#wake()
  }

  /** The server has let us in. */
  greeted (): void {
    this.#failures = 0
    this.#up = true
  }

  /** The timer of a hidden tab may be late: this one is not. */
  nudge (): void {
    if (performance.now() >= this.#due) this.#wake()
  }

  async #run (): Promise<void> {
    while (!this.#closed) {
      if (!this.#open) {
        await this.#pause(Infinity)
        continue
      }
      this.#abort = new AbortController()
      const outcome = await this.#connect(this.#abort)
      if (!this.#closed) await this.#pause(this.#judge(outcome))
    }
  }

  async #connect (abort: AbortController): Promise<Outcome> {
    const { headers, credentials, timeout, where, onevents, ontrouble } = this.#options
    const { signal } = abort
    const slot = await this.#slots.take(signal, {
      onhidden: () => ontrouble(HIDDEN),
      onleave: (why) => {
        if (why === 'turn') this.#yielded = performance.now()
        abort.abort()
      }
    })
    if (slot === null) return { kind: 'left' }
    try {
      const { url, lastEventId } = where()
      let unmoved = 0
      return await connect({
        url,
        headers,
        credentials,
        lastEventId,
        signal,
        timeout,
        onevents: (events) => {
          // Where it was, and no event: said at the start, and again when that was all.
          if (events.some(({ id, data }) => id !== undefined && (id !== lastEventId || (data === undefined && ++unmoved === 2)))) slot.advance()
          onevents(events)
        },
        onpart: () => slot.receive()
      })
    } finally {
      slot.release()
    }
  }

  /** Returns the milliseconds until the next try. */
  #judge (outcome: Outcome): number {
    const { onturns, ontrouble, onend } = this.#options
    if (outcome.kind !== 'left') this.#up = false
    switch (outcome.kind) {
      case 'left':
        if (this.#open && this.turns) onturns()
        return 0
      case 'over':
        onend('ended', 'The run has ended')
        return 0
      case 'refused':
        onend('refused', outcome.message)
        return 0
      case 'cut':
        ontrouble('The connection was lost. It goes on from the last row')
        return pauseAfter(this.retry)
      case 'failed':
        ontrouble(outcome.message)
        return pauseAfter(this.retry, this.#failures++, outcome.retryAfter)
    }
  }

  #pause (time: number): Promise<void> {
    return new Promise((resolve) => {
      // Timers of a hidden tab may run once a minute: none where none is needed.
      if (time === 0 || this.#closed) return resolve()
      this.#due = performance.now() + time
      const timer = time === Infinity ? undefined : setTimeout(resolve, time)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
