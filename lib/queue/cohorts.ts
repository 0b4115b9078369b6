import type { Filter } from '../row.ts'
import type { Cursor } from '../tail/cursor.ts'
import { Cohort } from './cohort.ts'
import type { Notice } from './frame.ts'

/** Of so many runs whoever watches all of them is told when they end; of those seen last. */
const MAX_SEEN_RUNS = 1000
const NONE: readonly Cohort[] = []

/** Who watches what: the cohorts, found by the run of a row. */
export class Cohorts implements Iterable<Cohort> {
  readonly #byKey = new Map<string, Cohort>()
  /** Under null those that watch all runs. */
  readonly #byRun = new Map<string | null, Cohort[]>()
  /** Runs that whoever watches all of them has got rows of, and that have not ended. */
  readonly #seen = new Set<string>()
  /** Those of them that have: what is written later brings no second end. */
  readonly #ended = new Set<string>()
  /** What `watched()` says, until it changes. */
  #watched: readonly string[] | null = null

  get size (): number {
    return this.#byKey.size
  }

  [Symbol.iterator] (): Iterator<Cohort> {
    return this.#byKey.values()
  }

  /** The cohort of this filter, made where it is the first. */
  join (filter: Filter, queueSize: number): Cohort {
    const key = keyOf(filter)
    let cohort = this.#byKey.get(key)
    if (cohort === undefined) {
      cohort = new Cohort(filter, queueSize)
      this.#byKey.set(key, cohort)
      this.#byRun.set(filter.run, [...this.of(filter.run), cohort])
      this.#watched = null
    }
    return cohort
  }

  /** Nobody is left in it. */
  remove (cohort: Cohort): void {
    const { run } = cohort.filter
    this.#byKey.delete(keyOf(cohort.filter))
    const others = this.of(run).filter((other) => other !== cohort)
    if (others.length > 0) this.#byRun.set(run, others)
    else this.#byRun.delete(run)
    this.#watched = null
    if (!this.#byRun.has(null)) this.startAgain()
  }

  /** Nobody watches all runs any more, or runs may be others by now. */
  startAgain (): void {
    this.#seen.clear()
    this.#ended.clear()
  }

  /** Those that watch this run by name; of null, those that watch all runs. */
  of (run: string | null): readonly Cohort[] {
    return this.#byRun.get(run) ?? NONE
  }

  /** The same array until it changes. */
  watched (): readonly string[] | null {
    if (this.#byRun.has(null)) return null
    this.#watched ??= [...this.#byRun.keys()] as string[]
    return this.#watched
  }

  watches (run: string | null): boolean {
    return this.#byRun.has(null) || this.#byRun.has(run)
  }

  /** A row of this run goes to whoever watches all runs. */
  see (run: string): void {
    if (!this.#ended.has(run)) remember(this.#seen, run)
  }

  /** Runs whose end somebody wants to know. */
  openRuns (): readonly string[] {
    const open = new Set(this.#seen)
    for (const [run, cohorts] of this.#byRun) {
      if (run !== null && cohorts.some((cohort) => cohort.stopped === null)) open.add(run)
    }
    return [...open]
  }

  /** The run is over: whoever watches it gets this and is done. Whoever watches all runs, and has got rows of it, reads on. */
  end (run: string, notice: Notice, cursor: Cursor): void {
    const open = this.of(run).filter(({ stopped }) => stopped === null)
    if (this.#seen.delete(run)) {
      remember(this.#ended, run)
      for (const cohort of this.of(null)) cohort.tell(notice, cursor)
    }
    for (const cohort of open) cohort.stop(notice)
  }
}

function remember (runs: Set<string>, run: string): void {
  if (runs.has(run)) return
  runs.add(run)
  if (runs.size > MAX_SEEN_RUNS) runs.delete(runs.values().next().value!)
}

function keyOf ({ run, levels }: Filter): string {
  return JSON.stringify([run, levels])
}
