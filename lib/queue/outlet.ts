import type { Notice } from './frame.ts'
import type { Batch } from './ring.ts'
import type { Sink } from './sink.ts'

const nothing = () => {}
const NO_NOTICES: readonly Notice[] = []

/** What leads to one client's sink, and knows since when that has taken nothing more. */
export class Outlet {
  readonly #sink: Sink
  /** By `performance.now()`; null while the sink takes more. */
  #fullSince: number | null = null
  #progress: string | null = null
  /** For when the sink takes more again: the last one of each type. */
  #notices = NO_NOTICES
  #onReady: () => void = nothing

  constructor (sink: Sink) {
    this.#sink = sink
  }

  get full (): boolean {
    return this.#fullSince !== null
  }

  /** Returns whether it takes more. */
  write (batch: Batch): boolean {
    this.#note(this.#sink.write(batch))
    return !this.full
  }

  /** Not while it is full: nobody would take it. */
  heartbeat (cursor: string | null): void {
    if (!this.full) this.#note(this.#sink.heartbeat(cursor))
  }

  /** Now, or once the sink takes more; of those of one type that come until then, the last one counts. */
  tell (notice: Notice): void {
    if (!this.full) this.#note(this.#sink.notice(notice))
    else this.#notices = [...this.#notices.filter(({ type }) => type !== notice.type), notice]
  }

  /** The sink takes more again, or never will. */
  ready (): void {
    this.#fullSince = null
    const notices = this.#notices
    this.#notices = NO_NOTICES
    for (const notice of notices) this.#note(this.#sink.notice(notice))
    if (!this.full) this.release()
  }

  /** Nobody shall wait any more. */
  release (): void {
    this.#onReady()
  }

  drained (): Promise<void> {
    return new Promise((resolve) => {
      if (!this.full) return resolve()
      this.#onReady = resolve
    })
  }

  /**
   * Whether the other side has not taken anything for longer than that. Asked now and then.
   * @param now by `performance.now()`
   * @param timeout milliseconds
   */
  isStalled (now: number, timeout: number): boolean {
    if (this.#fullSince === null) return false
    const progress = this.#sink.progress()
    if (progress === null || progress !== this.#progress) {
      this.#progress = progress
      this.#fullSince = now
    }
    return now - this.#fullSince > timeout
  }

  #note (takesMore: boolean): void {
    if (!takesMore) this.#fullSince ??= performance.now()
  }
}
