import { Cursor, indexOf, merge, suffix, type Range } from './cursor.ts'
import { HolderSet } from './holders.ts'

/** Most gaps that may be open at once, so that every cursor fits into a header. */
export const MAX_GAPS = 128
/** Most that are kept above the sequence where room is needed, the lowest: it will get there first. */
export const FUTURE_GAPS = 16

/** Ids that were skipped: not visible yet, or never to be. */
interface Gap {
  lo: bigint
  hi: bigint
  /** Who may still commit a row in it; null until the first look at the locks. */
  holders: HolderSet | null
  /** Above all that the sequence has handed out: nobody holds it, anybody may fill it. */
  future: boolean
}

/**
 * Which ids were delivered. Pure: it is told of rows and locks, and asks nobody.
 *
 * A sequence hands ids out before commit, so a lower id can appear after a higher one. Skipped
 * ids stay open as gaps. A gap dies in three steps, each in a statement of its own, in this order:
 * a read that skips it; looks at who holds the sequence's lock until all who held it at the first
 * one have let go; one more read. What that read does not bring, nobody can commit any more:
 * whoever took an id in the gap held the lock from before that to the end of its transaction.
 *
 * Gaps may be too many to be open at once. Then all ids up to a row far above are waited for in
 * the same three steps, as one: the floor.
 */
export class Watermark {
  #high: bigint
  #gaps: Gap[]
  /** Up to here every id that no read brings any more is dead, in a gap or not yet in one. */
  #floor = 0n
  /** Where the floor rises to, once all who may still commit a row below have let go. */
  #rising: { to: bigint, holders: HolderSet } | null = null
  /** Whether some gap may be above all that the sequence has handed out. */
  #future = false
  #crowded = false
  #cursor: Cursor | null = null
  #suffix: string | null = null

  constructor (high: bigint, gaps: readonly Range[] = []) {
    this.#high = high
    this.#gaps = gaps.map(({ lo, hi }) => ({ lo, hi, holders: null, future: false }))
  }

  get high (): bigint {
    return this.#high
  }

  get gaps (): ReadonlyArray<Readonly<Gap>> {
    return this.#gaps
  }

  /** No room for another gap. */
  get full (): boolean {
    return this.#gaps.length >= MAX_GAPS
  }

  /** The highest id that counts as read, or soon will. */
  get reach (): bigint {
    const to = this.#rising?.to ?? this.#floor
    return to > this.#high ? to : this.#high
  }

  /** The floor is about to rise. */
  get rising (): boolean {
    return this.#rising !== null
  }

  /** Ids above the sequence had to be counted as had, since there were too many ranges of them. */
  get crowded (): boolean {
    return this.#crowded
  }

  /** The lowest id that a transaction in flight may still fill, or null. */
  get lowestInFlight (): bigint | null {
    return this.#gaps.find((gap) => !gap.future)?.lo ?? null
  }

  get cursor (): Cursor {
    this.#cursor ??= new Cursor(this.#high, merge(this.#gaps))
    return this.#cursor
  }

  /** The text of `cursor`, cheap while the gaps stay as they are. */
  get text (): string {
    this.#suffix ??= suffix(merge(this.#gaps))
    return this.#high + this.#suffix
  }

  /**
   * A row with this id was read. Rows of one read come in ascending order.
   * @returns 'new': deliver it; 'known': it was delivered before; 'full': too many gaps would be
   * open, so hold back this row and all after it until some have settled
   */
  take (id: bigint): 'new' | 'known' | 'full' {
    if (id > this.#high) {
      // What is missing up to the floor was missing when it had risen: it is dead.
      const lo = (this.#floor > this.#high ? this.#floor : this.#high) + 1n
      if (lo < id) {
        if (this.full) return this.#refuse(id)
        this.#gaps.push({ lo, hi: id - 1n, holders: null, future: false })
        this.#suffix = null
      }
      this.#high = id
      this.#cursor = null
      this.#doubt(id)
      return 'new'
    }
    const index = indexOf(this.#gaps, id)
    if (index === -1) return 'known'
    const gap = this.#gaps[index]!
    if (gap.lo < id && id < gap.hi) {
      if (this.full) return this.#refuse(id)
      this.#gaps.splice(index, 1, { ...gap, hi: id - 1n }, { ...gap, lo: id + 1n })
    } else if (gap.lo === gap.hi) this.#gaps.splice(index, 1)
    else if (gap.lo === id) gap.lo++
    else gap.hi--
    this.#changed()
    this.#doubt(id)
    return 'new'
  }

  /**
   * A read is over that began after the last look and saw every row with an id up to `seen`.
   * Gaps that were settled by that look are dead.
   */
  settle (seen: bigint): void {
    if (!this.#gaps.some((gap) => this.#settled(gap))) return
    const open: Gap[] = []
    for (const gap of this.#gaps) {
      if (!this.#settled(gap) || gap.lo > seen) open.push(gap)
      else if (gap.hi > seen) open.push({ ...gap, lo: seen + 1n })
    }
    this.#gaps = open
    this.#changed()
  }

  /**
   * The locks were looked at, after the read before it had ended.
   * @param lastValue last id the sequence had handed out, read before the locks
   * @param holders names of all who hold the sequence's lock
   * @param last where rows are held back: the highest id of a row that the sequence had got to, read before all that. The floor is to rise to it. Else null
   * @returns whether a gap or the floor has settled, so that another read is due
   */
  look (lastValue: bigint, holders: readonly string[], last: bigint | null = null): boolean {
    let due = false
    const fresh = new HolderSet(holders)
    const looked = new Set([fresh])
    for (let i = 0; i < this.#gaps.length; i++) {
      const gap = this.#gaps[i]!
      if (gap.holders === null) {
        gap.future = gap.lo > lastValue
        this.#future ||= gap.future
        if (gap.future) continue
        if (gap.hi > lastValue) {
          this.#gaps.splice(i + 1, 0, { lo: lastValue + 1n, hi: gap.hi, holders: null, future: true })
          gap.hi = lastValue
          this.#changed()
        }
        gap.holders = fresh
      } else if (!looked.has(gap.holders)) {
        gap.holders.narrow(holders)
        looked.add(gap.holders)
      }
      due ||= gap.holders.empty
    }
    if (this.#rising === null) {
      // Above the last value are ids that others may still take, or take again: it may have been set back since.
      if (last !== null && last <= lastValue) this.#rising = { to: last, holders: fresh }
    } else if (!looked.has(this.#rising.holders)) this.#rising.holders.narrow(holders)
    if (this.#rising?.holders.empty === true) {
      this.#floor = this.#rising.to
      this.#rising = null
      due = true
    }
    return this.#makeRoom() || due
  }

  /** Nothing above the sequence settles by itself: with that alone rows would be held back for good. What is beyond the lowest of it counts as had. */
  #makeRoom (): boolean {
    const first = this.#gaps.findIndex(({ future }) => future)
    if (!this.full || first === -1 || this.#gaps.length <= first + FUTURE_GAPS) return false
    this.#gaps.length = first + FUTURE_GAPS
    this.#crowded = true
    this.#changed()
    return true
  }

  #settled (gap: Gap): boolean {
    return gap.hi <= this.#floor || (gap.holders !== null && gap.holders.empty)
  }

  /** The sequence may have got past some gaps by now: the next look will tell. */
  #refuse (id: bigint): 'full' {
    this.#doubt(id)
    return 'full'
  }

  /** A row above a gap may mean that the sequence has got there: the next look will tell. */
  #doubt (id: bigint): void {
    if (!this.#future) return
    for (const gap of this.#gaps) {
      if (gap.lo > id) return
      gap.future = false
    }
    this.#future = false
  }

  #changed (): void {
    this.#cursor = null
    this.#suffix = null
  }
}
