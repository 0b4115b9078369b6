/** Ids from `lo` to `hi`, both included. */
interface Range { readonly lo: bigint, readonly hi: bigint }

/** Above all ids: where what is not delivered yet ends. */
const END = 1n << 64n
/** The server takes 256, and 8 KiB. */
const MAX_GAPS = 100
const CURSOR = /^(-?\d+)(?:~(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*))?$/

/**
 * The server's cursor, as far as a browser needs it: which ids one has, all up to `high` but for the gaps below it.
 * Immutable. `lib/tail/cursor.ts` has the whole algebra; `test/client.test.ts` compares the two.
 */
export class Cursor {
  static readonly ZERO = new Cursor(0n, [])

  readonly high: bigint
  /** Ascending, disjoint, not adjacent, all below `high`. */
  readonly gaps: readonly Range[]

  private constructor (high: bigint, gaps: readonly Range[]) {
    this.high = high
    this.gaps = gaps
  }

  /** Null for what is no cursor. */
  static parse (text: string): Cursor | null {
    const [, high, list] = CURSOR.exec(text) ?? []
    if (high === undefined) return null
    const gaps = (list?.split(',') ?? []).map((part) => {
      const [lo, hi = lo] = part.split('-')
      return { lo: BigInt(lo!), hi: BigInt(hi!) }
    })
    return new Cursor(BigInt(high), gaps)
  }

  has (id: bigint): boolean {
    return id <= this.high && !this.gaps.some(({ lo, hi }) => lo <= id && id <= hi)
  }

  /** Whether nothing that the other one has is missing here. */
  covers (other: Cursor): boolean {
    if (this === other) return true
    if (this.gaps.length === 0) return this.high >= other.high
    const theirs = other.#missing()
    return this.#missing().every(({ lo, hi }) => theirs.some((range) => range.lo <= lo && hi <= range.hi))
  }

  /** What either of the two has: only what both lack is missing. */
  union (other: Cursor): Cursor {
    if (this.covers(other)) return this
    if (other.covers(this)) return other
    const both: Range[] = []
    for (const a of this.#missing()) {
      for (const b of other.#missing()) {
        const lo = a.lo > b.lo ? a.lo : b.lo
        const hi = a.hi < b.hi ? a.hi : b.hi
        if (lo <= hi) both.push({ lo, hi })
      }
    }
    return new Cursor(both.at(-1)!.lo - 1n, both.slice(0, -1))
  }

  /** Short enough for a header. Where it would be too long it claims less: what comes again then is known by its id. */
  forHeader (): string {
    const first = this.gaps[MAX_GAPS]
    return String(first === undefined ? this : new Cursor(first.lo - 1n, this.gaps.slice(0, MAX_GAPS)))
  }

  toString (): string {
    if (this.gaps.length === 0) return String(this.high)
    return `${this.high}~${this.gaps.map(({ lo, hi }) => lo === hi ? `${lo}` : `${lo}-${hi}`).join(',')}`
  }

  #missing (): readonly Range[] {
    return [...this.gaps, { lo: this.high + 1n, hi: END }]
  }
}
