import { connect, type Outcome } from './connection.ts'
import type { StreamEvent } from './event-parser.ts'
import { Slots, type Slot } from './slots.ts'

/** Milliseconds. */
const LONGEST_PAUSE = 30_000
/** Tabs took turns so long ago: by now there is room for all. */
const NO_MORE_TURNS = 6000

export interface LineOptions {
  origin: string
  headers: Record<string, string>
  credentials: RequestCredentials
  timeout: number
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
  #closed = false
  #abort = new AbortController()
  #slot: Slot | null = null
  #failures = 0
  /** When the slot was last given up for another tab. */
  #yielded = -Infinity
  #wake: () => void = () => {}
  /** When a pause is over, by `performance.now()`. */
  #due = Infinity
  readonly #hurry = () => this.#wake()

  constructor (options: LineOptions) {
    this.#options = options
    this.#slots = new Slots(options.origin)
    globalThis.addEventListener?.('online', this.#hurry)
    this.#run()
  }

  /** Whether tabs take turns at the moment. */
  get turns (): boolean {
    return performance.now() - this.#yielded < NO_MORE_TURNS
  }

  open (): void {
    if (this.#open) return
    this.#open = true
    this.#wake()
  }

  hangUp (): void {
    this.#open = false
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
    if (this.#slot !== null) this.#slot.ready = true
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
    const { headers, credentials, timeout, where, onevents } = this.#options
    const { signal } = abort
    const slot = this.#slot = await this.#slots.take(signal, () => {
      this.#yielded = performance.now()
      abort.abort()
    })
    if (slot === null) return { kind: 'left' }
    try {
      return await connect({ ...where(), headers, credentials, timeout, signal, onevents })
    } finally {
      slot.release()
      this.#slot = null
    }
  }

  /** Returns the milliseconds until the next try. */
  #judge (outcome: Outcome): number {
    const { onturns, ontrouble, onend } = this.#options
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
        return this.retry * (0.5 + Math.random() / 2)
      case 'failed': {
        ontrouble(outcome.message)
        const pause = Math.min(this.retry * 2 ** this.#failures++, LONGEST_PAUSE)
        return Math.max(outcome.retryAfter, pause * (0.5 + Math.random() / 2))
      }
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
