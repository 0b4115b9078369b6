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
 * run's last row was committed before its end, so that read has brought it. No read waits for the question: the
 * table of runs may be locked, or slow.
 */
export class RunWatch {
  readonly #options: RunWatchOptions
  /** `since`: when it was seen, by `performance.now()`. */
  #found: Array<{ end: RunEnd, since: number }> = []
  /** A question is under way. */
  #asking = false
  /** Until then it is too early for the next one. */
  #askAfter = -Infinity
  /** Something has happened since then that may have been the end of a run. */
  #missed = false
  #timer: NodeJS.Timeout | undefined
  /** Why the last question failed: that was said once. */
  #failure: string | null = null

  constructor (options: RunWatchOptions) {
    this.#options = options
  }

  /** What was found does not count any more, nor what is being asked: runs may be others by now. */
  forget (): void {
    this.#found = []
  }

  /** There are more runs than before. A read before the next question would find out nothing. */
  seek (): void {
    if (this.#isEarly) this.#askLater()
    else this.#options.wake()
  }

  /** A read is over that began at `began`, by `performance.now()`. */
  check (began: number): void {
    const { runs, end, inFlight, heldBack } = this.#options
    const now = performance.now()
    const waits = inFlight()
    const found = this.#found.splice(0)
    for (const each of found) {
      if (each.since > began || (waits && now - each.since < GRACE) || heldBack()) this.#found.push(each)
      else end(each.end)
    }
    const early = this.#isEarly
    // They are asked for then in any case, and with a thousand runs it takes long to say which.
    if (early && (this.#missed || this.#timer !== undefined)) return
    const open = runs().filter((run) => !found.some((each) => each.end.run === run))
    if (open.length === 0) return
    // Whatever caused this read may have been the end of a run.
    if (early) this.#askLater()
    else this.#ask(open)
  }

  get #isEarly (): boolean {
    return this.#asking || performance.now() < this.#askAfter
  }

  async #ask (runs: readonly string[]): Promise<void> {
    const { find, log, wake } = this.#options
    const found = this.#found
    this.#asking = true
    this.#missed = false
    this.#askAfter = performance.now() + ASK_EVERY
    try {
      const ends = await find(runs)
      this.#failure = null
      if (found === this.#found && ends.length > 0) {
        const since = performance.now()
        found.push(...ends.map((end) => ({ end, since })))
        // By that read they count.
        wake()
      }
    } catch (error) {
      // Nobody waits for what was forgotten, as at the end: it is no news, and none later.
      const message = found === this.#found ? (error as Error).message : this.#failure
      log[message === this.#failure ? 'debug' : 'warn']({ err: error }, 'the ends of runs could not be looked up: trying again')
      this.#failure = message
      this.#askAfter = performance.now() + RETRY_AFTER
      this.#missed = true
    }
    this.#asking = false
    if (this.#missed) this.#askLater()
  }

  /** As soon as it is not too early. */
  #askLater (): void {
    this.#missed = this.#asking
    if (this.#asking) return
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#options.wake()
    }, Math.max(0, this.#askAfter - performance.now())).unref()
  }
}
