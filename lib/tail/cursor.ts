import { errors } from '../errors.ts'

/** Ids from `lo` to `hi`, both included. */
export interface Range { readonly lo: bigint, readonly hi: bigint }

/** The highest bigint of PostgreSQL. */
export const MAX_ID = (1n << 63n) - 1n
/** The end of "not delivered yet". */
const END = 1n << 64n
/** More than a watermark ever leaves open; less than what an HTTP header can carry. */
const MAX_RANGES = 256
const MAX_LENGTH = 8192
const ID = /^(?:0|[1-9]\d{0,18})$/

/**
 * Which ids a client has: all up to `high`, but for the gaps below it. Immutable.
 *
 * As text it is `1042`, or `1042~1030-1034,1039` while transactions below 1042 are in flight.
 * Ids that never became a row count as had: nobody waits for them.
 */
export class Cursor {
  static readonly ZERO = new Cursor(0n)

  readonly high: bigint
  /** Ascending, disjoint, not adjacent, all below `high`. */
  readonly gaps: readonly Range[]

  constructor (high: bigint, gaps: readonly Range[] = []) {
    this.high = high
    this.gaps = gaps
  }

  has (id: bigint): boolean {
    return id <= this.high && !contains(this.gaps, id)
  }

  /** The ids that it lacks. The last range ends above all ids. */
  missing (): Range[] {
    return [...this.gaps, { lo: this.high + 1n, hi: END }]
  }

  /** Whether this cursor has every id that the other one has. */
  covers (other: Cursor): boolean {
    if (this === other) return true
    if (this.gaps.length === 0) return this.high >= other.high
    return subset(this.missing(), other.missing())
  }

  /** What either of the two has. */
  union (other: Cursor): Cursor {
    if (this.covers(other)) return this
    if (other.covers(this)) return other
    return fromMissing(intersect(this.missing(), other.missing()))
  }

  /** What this cursor has, cut off after `id`. */
  upTo (id: bigint): Cursor {
    if (id >= this.high) return this
    const missing: Range[] = []
    for (const gap of this.gaps) {
      if (gap.lo > id) break
      missing.push(gap)
    }
    const last = missing.at(-1)
    if (last !== undefined && last.hi >= id) missing[missing.length - 1] = { lo: last.lo, hi: END }
    else missing.push({ lo: id + 1n, hi: END })
    return fromMissing(missing)
  }

  /** The ids that this cursor has and the other one lacks, as ranges. */
  minus (other: Cursor): Range[] {
    const had: Range[] = []
    let from = -END
    for (const gap of this.missing()) {
      if (gap.lo > from) had.push({ lo: from, hi: gap.lo - 1n })
      from = gap.hi + 1n
    }
    return intersect(had, other.missing())
  }

  toString (): string {
    return this.high + suffix(this.gaps)
  }

  /**
   * Reads a cursor that came from outside. Strict: only what `toString` writes is taken.
   * @throws FST_PG_TAIL_CURSOR (400)
   */
  static parse (text: string): Cursor {
    if (text.length > MAX_LENGTH) throw new errors.Cursor('it is too long')
    const [high = '', list, ...rest] = text.split('~')
    if (rest.length > 0 || list === '') throw new errors.Cursor('its form is unknown')
    const gaps: Range[] = []
    let floor = -1n
    for (const part of list === undefined ? [] : list.split(',')) {
      const [lo = '', hi, ...more] = part.split('-')
      if (more.length > 0) throw new errors.Cursor('a gap is not a range')
      const range = { lo: parseId(lo), hi: parseId(hi ?? lo) }
      if (hi !== undefined && range.hi <= range.lo) throw new errors.Cursor('a gap ends before it starts')
      if (range.lo <= floor) throw new errors.Cursor('its gaps are not in order')
      floor = range.hi + 1n
      gaps.push(range)
    }
    if (gaps.length > MAX_RANGES) throw new errors.Cursor('it has too many gaps')
    const cursor = new Cursor(parseId(high), gaps)
    if (gaps.length > 0 && gaps.at(-1)!.hi >= cursor.high) throw new errors.Cursor('a gap is not below its highest id')
    return cursor
  }
}

/** The gaps as they stand behind the highest id in a cursor's text. */
export function suffix (gaps: readonly Range[]): string {
  if (gaps.length === 0) return ''
  return '~' + gaps.map(({ lo, hi }) => lo === hi ? `${lo}` : `${lo}-${hi}`).join(',')
}

/** Joins neighbours that touch. `ranges` ascend and are disjoint. */
export function merge (ranges: Iterable<Range>): Range[] {
  const merged: Range[] = []
  for (const { lo, hi } of ranges) {
    const last = merged.at(-1)
    if (last !== undefined && last.hi + 1n === lo) merged[merged.length - 1] = { lo: last.lo, hi }
    else merged.push({ lo, hi })
  }
  return merged
}

/** Index of the range that holds `id`, or -1. */
export function indexOf (ranges: readonly Range[], id: bigint): number {
  let from = 0
  let to = ranges.length - 1
  while (from <= to) {
    const middle = (from + to) >> 1
    const range = ranges[middle]!
    if (id < range.lo) to = middle - 1
    else if (id > range.hi) from = middle + 1
    else return middle
  }
  return -1
}

export function contains (ranges: readonly Range[], id: bigint): boolean {
  return indexOf(ranges, id) !== -1
}

function parseId (text: string): bigint {
  if (!ID.test(text)) throw new errors.Cursor('an id is not a number')
  const id = BigInt(text)
  if (id > MAX_ID) throw new errors.Cursor('an id is out of range')
  return id
}

function fromMissing (missing: Range[]): Cursor {
  const tail = missing.at(-1)!
  return new Cursor(tail.lo - 1n, missing.slice(0, -1))
}

function intersect (a: readonly Range[], b: readonly Range[]): Range[] {
  const both: Range[] = []
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const x = a[i]!
    const y = b[j]!
    const lo = x.lo > y.lo ? x.lo : y.lo
    const hi = x.hi < y.hi ? x.hi : y.hi
    if (lo <= hi) both.push({ lo, hi })
    if (x.hi < y.hi) i++
    else j++
  }
  return both
}

function subset (inner: readonly Range[], outer: readonly Range[]): boolean {
  let j = 0
  for (const range of inner) {
    while (j < outer.length && outer[j]!.hi < range.lo) j++
    if (j === outer.length || outer[j]!.lo > range.lo || outer[j]!.hi < range.hi) return false
  }
  return true
}
