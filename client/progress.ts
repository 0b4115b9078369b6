import { Cursor } from './cursor.ts'
import type { Row, Stopped } from './messages.ts'

/** Ends of runs that are remembered, so that none is told twice. */
const MAX_STOPPED = 1000

/** What was new in a statement, itself one: `rows` are all that `cursor` has, and `base` lacks. */
export interface News {
  base: Cursor
  cursor: Cursor
  rows: Row[]
  stopped: Stopped[]
}

/**
 * What one has of a log. All it knows is a cursor: the ids that are here. A statement (`base`, `cursor`, `rows`) says that `rows` are
 * all of what `cursor` has and `base` lacks. So whoever has `base` may take it: show the rows it lacks by their ids, and have `cursor` as
 * well from then on. It does not matter who says it, how often, or whose node was ahead.
 */
export class Progress {
  /**
   * A name for one life of the table, by whoever leads: reset gives another. Null: not known yet, since
   * this tab has only its own connection's word.
   */
  life: string | null = null
  /** Null until the start is known. */
  #cursor: Cursor | null = null
  /** Lives that ended in a reset which was followed here. */
  readonly #past = new Set<string>()
  readonly #stopped = new Set<string>()

  get cursor (): Cursor | null {
    return this.#cursor
  }

  /** Whether one may take a statement of another tab: nothing that it begins with is missing here, and it is of the same table. */
  accepts (life: string, base: Cursor, cursor: Cursor): boolean {
    const mine = this.#cursor
    if (mine === null) return false
    // Of an unknown life it may be another table's word: not before that has all of what is here, which a table that begins anew has not.
    const known = life === this.life || (cursor.covers(mine) && !this.#past.has(life))
    return known && mine.covers(base)
  }

  /** Takes a statement whose base is here. Returns what is new of it; null: nothing. */
  take (rows: Row[], cursor: Cursor, stopped: Stopped[]): News | null {
    const mine = this.#cursor
    const fresh = mine === null ? rows : rows.filter(({ id }) => !mine.has(BigInt(id)))
    const ends = stopped.filter(({ run_id: run }) => this.#remember(String(run)))
    if (mine !== null && fresh.length === 0 && ends.length === 0 && mine.covers(cursor)) return null
    const now = this.#cursor = mine === null ? cursor : mine.union(cursor)
    return { base: mine ?? now, cursor: now, rows: fresh, stopped: ends }
  }

  /** The table has begun anew, and this is what its new life is called. */
  reset (life: string | null): void {
    if (this.life !== null) this.#past.add(this.life)
    this.life = life
    this.#cursor = Cursor.ZERO
    this.#stopped.clear()
  }

  #remember (run: string): boolean {
    if (this.#stopped.has(run)) return false
    this.#stopped.add(run)
    if (this.#stopped.size > MAX_STOPPED) this.#stopped.delete(this.#stopped.values().next().value!)
    return true
  }
}
