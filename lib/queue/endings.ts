import type { FastifyBaseLogger } from 'fastify'
import type { Cohorts } from './cohorts.ts'
import type { Feed, RunEnd } from './feed.ts'
import { stopped } from './frame.ts'
import type { Texts } from './texts.ts'

/** Milliseconds until an end is looked for again that could not be told. */
const RETRY_AFTER = 1000

export interface EndingsOptions {
  feed: Feed
  cohorts: Cohorts
  texts: Texts
  log: FastifyBaseLogger
}

/** Tells whoever watches a run that it is over. */
export class Endings {
  readonly #options: EndingsOptions
  /** Runs whose rows are being counted. */
  readonly #counting = new Set<string>()
  /** Counts how often ids began anew, or may have: while nobody watches, nobody would know. */
  #life = 0

  constructor (options: EndingsOptions) {
    this.#options = options
  }

  /** A run is over, and all of its rows were delivered. */
  async tell (end: RunEnd): Promise<void> {
    const { feed, cohorts, texts, log } = this.#options
    const { run, status } = end
    if (this.#counting.has(run)) return
    this.#counting.add(run)
    const life = this.#life
    try {
      const rows = await feed.countRows(run)
      if (life !== this.#life) {
        // It may have been found again meanwhile, and turned away.
        feed.refresh()
        return
      }
      const notice = stopped(end, rows, feed.integerRuns, texts.stopped(status))
      cohorts.end(run, notice, feed.cursor)
      log.debug({ run, status, rows }, 'run ended')
    } catch (error) {
      // It stays among the open runs, so the next read finds it again.
      log.warn({ err: error, run }, 'the end of a run could not be told yet')
      setTimeout(() => feed.refresh(), RETRY_AFTER).unref()
    } finally {
      this.#counting.delete(run)
    }
  }

  /** Runs may be others by now: an end that is being told belongs to one before. */
  forget (): void {
    this.#life++
  }
}
