import type { FastifyBaseLogger } from 'fastify'
import type { RunEnd } from '../queue/feed.ts'

export interface RunWatchOptions {
  /** Runs that are watched and have not ended. */
  runs: () => readonly string[]
  /** Which of them have ended. */
  find: (runs: readonly string[]) => Promise<RunEnd[]>
  log: FastifyBaseLogger
  /** Everything of the run was delivered, and it has ended. */
  end: (end: RunEnd) => void
  inFlight: () => boolean
  /** Rows that were seen wait: they may be its last. */
  heldBack: () => boolean
  /** Read again soon. */
  wake: () => void
}

/** Milliseconds between two questions at least. */
const ASK_EVERY = 200
/** Milliseconds after a question that failed. */
const RETRY_AFTER = 1000
/** A run whose end is known waits so long for rows that are in flight, whosever they are. Milliseconds. */
const GRACE = 10_000

/**
 * Finds the ends of runs. An end counts only once a read that began after it was seen is over: the
 * run's last row was committed before its end, so that read has brought it.
 */
export class RunWatch {
  readonly #options: RunWatchOptions
  #found: Array<{ end: RunEnd, since: number }> = []
  #asked = -Infinity
  #timer: NodeJS.Timeout | undefined
  /** Why the last question failed: that was said once. */
  #failure: string | null = null

  constructor (options: RunWatchOptions) {
    this.#options = options
  }

  /** What was found does not count any more: runs may be others by now. */
  forget (): void {
    this.#found = []
  }

  /** There are more runs than before. A read before the next question would find out nothing. */
  seek (): void {
    if (this.#isEarly(performance.now())) this.#wakeLater(ASK_EVERY)
    else this.#options.wake()
  }

  /** A read is over. Returns whether another one is due at once. */
  async check (): Promise<boolean> {
    const { runs, end, inFlight, heldBack } = this.#options
    const now = performance.now()
    const waits = inFlight()
    const found = this.#found.splice(0)
    for (const each of found) {
      if ((waits && now - each.since < GRACE) || heldBack()) this.#found.push(each)
      else end(each.end)
    }
    const early = this.#isEarly(now)
    // They are asked for then in any case, and with a thousand runs it takes long to say which.
    if (early && this.#timer !== undefined) return false
    const open = runs().filter((run) => !found.some((each) => each.end.run === run))
    if (open.length === 0) return false
    if (early) {
      // Whatever caused this read may have been the end of a run.
      this.#wakeLater(ASK_EVERY)
      return false
    }
    this.#asked = now
    const before = this.#found
    const ends = await this.#find(open)
    if (before !== this.#found) return true
    this.#found.push(...ends.map((each) => ({ end: each, since: now })))
    return ends.length > 0
  }

  #isEarly (now: number): boolean {
    return now - this.#asked < ASK_EVERY
  }

  async #find (runs: readonly string[]): Promise<RunEnd[]> {
    const { find, log } = this.#options
    try {
      const ends = await find(runs)
      this.#failure = null
      return ends
    } catch (error) {
      const { message } = error as Error
      log[message === this.#failure ? 'debug' : 'warn']({ err: error }, 'the ends of runs could not be looked up: trying again')
      this.#failure = message
      this.#wakeLater(RETRY_AFTER)
      return []
    }
  }

  #wakeLater (delay: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#options.wake()
    }, delay).unref()
  }
}
