import type { FastifyBaseLogger } from 'fastify'
import type { Blocker } from '../postgres/locks.ts'

export interface GapWatchOptions {
  blockers: () => Promise<Blocker[]>
  log: FastifyBaseLogger
}

/** Milliseconds that a gap may be open before it is worth a line. */
const PATIENCE = 30_000

/** Says, once, who keeps a gap open for long: mostly a transaction that somebody has forgotten. */
export class GapWatch {
  readonly #options: GapWatchOptions
  /** The lowest id that is missing. */
  #lowest: bigint | null = null
  #since = 0
  #said = false

  constructor (options: GapWatchOptions) {
    this.#options = options
  }

  /** A read is over. `lowest`: the lowest id that may still come; null where none does. */
  check (lowest: bigint | null): void {
    const now = performance.now()
    if (lowest !== this.#lowest) {
      this.#lowest = lowest
      this.#since = now
      this.#said = false
    }
    if (lowest === null || this.#said || now - this.#since < PATIENCE) return
    this.#said = true
    this.#tell(lowest)
  }

  async #tell (lowest: bigint): Promise<void> {
    const { blockers, log } = this.#options
    try {
      log.warn({ id: String(lowest), heldBy: await blockers() }, 'a transaction that took an id has been open for long: its rows are waited for')
    } catch (error) {
      log.debug({ err: error }, 'who keeps a gap open could not be found out')
    }
  }
}
