import { Cursor } from './cursor.ts'
import type { Statement, Word } from './messages.ts'
import type { News, Progress } from './progress.ts'
import { Recent } from './recent.ts'
import { newName, type Tabs } from './tabs.ts'

/** What a tab says of its progress while it leads, and what others may ask it for. */
export class Leader {
  readonly #tabs: Tabs
  readonly #progress: Progress
  /** Null also where nobody can ask. */
  #recent: Recent | null = null

  constructor (tabs: Tabs, progress: Progress) {
    this.#tabs = tabs
    this.#progress = progress
  }

  begin (): void {
    this.#progress.life ??= newName()
    if (this.#progress.cursor !== null) this.#keepFrom(this.#progress.cursor)
  }

  end (): void {
    this.#recent = null
  }

  tell ({ base, cursor, rows, stopped }: News): void {
    if (this.#recent === null) this.#keepFrom(base)
    this.#recent?.push(cursor, rows, stopped)
    this.#say({ base: String(base), cursor: String(cursor), rows, stopped })
  }

  /** The table has begun anew. `was`: the name of its life before. */
  reset (was: string, message: string): void {
    this.#keepFrom(Cursor.ZERO)
    this.#tabs.say({ type: 'reset', was, life: this.#progress.life!, message })
  }

  /** Only while the connection is there: whoever has the answer gives up its own for it. */
  answer (word: Word): void {
    // It may have missed something, and nothing more may come for long.
    if (word.type === 'ping') this.sayWhere()
    if (word.type !== 'hello') return
    const theirs = Cursor.parse(word.cursor)
    const statement = theirs && this.#recent?.since(theirs)
    // To one that is new here, ends of runs from before are no news.
    const news = word.life === this.#progress.life ? {} : { stopped: [] }
    if (statement) this.#say({ ...statement, ...news }, word.from)
  }

  /** Whoever has that goes on listening; whoever has not gets it from the server, or asks. Only while the connection is there, too. */
  sayWhere (): void {
    const { cursor } = this.#progress
    if (cursor !== null) this.#say({ base: String(cursor), cursor: String(cursor), rows: [], stopped: [] })
  }

  #keepFrom (cursor: Cursor): void {
    if (this.#tabs.shared) this.#recent = new Recent(cursor)
  }

  #say (statement: Statement, to?: string): void {
    this.#tabs.say({ type: 'rows', life: this.#progress.life!, to, ...statement })
  }
}
