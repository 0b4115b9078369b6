import fc from 'fast-check'
import t from 'tap'
import { contains, Cursor, indexOf, merge, type Range } from '../lib/tail/cursor.ts'

const MAX_ID = (1n << 63n) - 1n

/** Cursors as `toString` writes them: gaps apart from each other, all below the highest id. */
const cursors = fc.array(fc.tuple(fc.bigInt(1n, 1n << 54n), fc.bigInt(0n, 1n << 54n)), { maxLength: 256 })
  .chain((pairs) => {
    const gaps: Range[] = []
    let from = -2n
    for (const [space, length] of pairs) {
      const lo = from + 1n + space
      gaps.push({ lo, hi: lo + length })
      from = lo + length
    }
    const floor = gaps.length === 0 ? 0n : gaps.at(-1)!.hi + 1n
    return fc.oneof(fc.constant(floor), fc.bigInt(floor, MAX_ID)).map((high) => new Cursor(high, gaps))
  })

t.test('what it writes it reads', async (t) => {
  fc.assert(fc.property(cursors, (cursor) => {
    const text = String(cursor)
    if (text.length > 8192) return
    const parsed = Cursor.parse(text)
    return parsed.high === cursor.high && String(parsed) === text && parsed.gaps.length === cursor.gaps.length &&
      parsed.gaps.every(({ lo, hi }, i) => lo === cursor.gaps[i]!.lo && hi === cursor.gaps[i]!.hi)
  }), { numRuns: 2000 })
  for (const text of ['0', '1042', '1042~1030-1034,1039', '1~0', String(MAX_ID), `${MAX_ID}~0-${MAX_ID - 1n}`]) {
    t.equal(String(Cursor.parse(text)), text)
  }
  const most = Array.from({ length: 256 }, (_, i) => 2 * i).join()
  t.equal(Cursor.parse(`1000~${most}`).gaps.length, 256)
})

t.test('it takes nothing else', async (t) => {
  const wrong = [
    '', ' ', '~', '1~', '~1', '10~1~2', '10~1,', '10~,1', '10~1,,3', '10~-', '10~1-', '10~-1', '10~1-2-3',
    '01', '00', '1042~01', '10~1-05', '+1', '-1', ' 1', '1 ', '1\n', '1.0', '1e3', '0x10', '1n', '10~ 1', '10~1 -2', '10~+1', 'null', 'NaN',
    '١', '１', '1０', '10~１',
    // Reversed; one id as a range; not in order; overlapping; the same twice; adjacent.
    '10~5-3', '10~5-5', '10~5,3', '10~1-5,3-7', '10~3,3', '10~1,2', '10~1-3,4-5', '10~1-3,3',
    // At or above the highest id.
    '10~10', '10~11', '10~5-10', '0~0',
    '9223372036854775808', '10000000000000000000', '99999999999999999999999', '9223372036854775807~9223372036854775808',
    `1000~${Array.from({ length: 257 }, (_, i) => 2 * i)}`,
    `1~${'0'.repeat(9000)}`, '9'.repeat(8193)
  ]
  for (const text of wrong) {
    t.throws(() => Cursor.parse(text), { code: 'FST_PG_TAIL_CURSOR', statusCode: 400 }, JSON.stringify(text.slice(0, 50)))
  }
  // Whatever comes, it is refused or it comes out as it came in.
  const texts = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('0', '1', '2', '9', '~', '-', ',', ' ', '+') }))
  fc.assert(fc.property(texts, (text) => {
    try {
      return String(Cursor.parse(text)) === text
    } catch (error) {
      return (error as { statusCode?: number }).statusCode === 400
    }
  }), { numRuns: 5000 })
})

// The same on plain sets. Everything up to 40 that is not there is a gap, so a set is a cursor.
const IDS = Array.from({ length: 41 }, (_, id) => BigInt(id))

/** Ids from 0 to 40; whoever has them has all below 0, and nothing above. */
const sets = fc.oneof(
  fc.array(fc.boolean(), { minLength: 41, maxLength: 41 }).map((had) => new Set(IDS.filter((_, i) => had[i]))),
  // Few gaps, as in life.
  fc.tuple(fc.nat(40), fc.array(fc.nat(40), { maxLength: 3 })).map(([high, gaps]) => new Set(IDS.filter((id) => id <= high && !gaps.includes(Number(id)))))
)

function toCursor (set: ReadonlySet<bigint>): Cursor {
  const high = IDS.findLast((id) => set.has(id)) ?? -1n
  return new Cursor(high, toRanges(IDS.filter((id) => id < high && !set.has(id))))
}

function toRanges (ids: readonly bigint[]): Range[] {
  return merge(ids.map((id) => ({ lo: id, hi: id })))
}

function same (cursor: Cursor, set: ReadonlySet<bigint>): boolean {
  return IDS.every((id) => cursor.has(id) === set.has(id)) && String(cursor) === String(toCursor(set))
}

/** Of the ids the test looks at. */
function idsOf (ranges: readonly Range[]): string {
  return IDS.filter((id) => ranges.some(({ lo, hi }) => lo <= id && id <= hi)).join()
}

function proper (ranges: readonly Range[]): boolean {
  return ranges.every(({ lo, hi }, i) => lo <= hi && (i === 0 || lo > ranges[i - 1]!.hi))
}

t.test('its set algebra is that of sets', async () => {
  fc.assert(fc.property(sets, sets, fc.nat(44), (a, b, nat) => {
    const [x, y, cut] = [toCursor(a), toCursor(b), BigInt(nat)]
    const minus = x.minus(y)
    return same(x, a) &&
      x.covers(y) === [...b].every((id) => a.has(id)) &&
      same(x.union(y), new Set([...a, ...b])) &&
      same(x.upTo(cut), new Set([...a].filter((id) => id <= cut))) &&
      proper(minus) && idsOf(minus) === IDS.filter((id) => a.has(id) && !b.has(id)).join() &&
      minus.every(({ lo, hi }) => lo >= 0n && hi <= 40n) &&
      proper(x.missing()) && idsOf(x.missing()) === IDS.filter((id) => !a.has(id)).join()
  }), { numRuns: 5000 })
})

t.test('indexOf finds the range', async () => {
  fc.assert(fc.property(sets, fc.nat(40), (set, nat) => {
    const id = BigInt(nat)
    const ranges = toRanges([...set].sort((p, q) => p < q ? -1 : 1))
    const index = ranges.findIndex(({ lo, hi }) => lo <= id && id <= hi)
    return indexOf(ranges, id) === index && contains(ranges, id) === set.has(id)
  }), { numRuns: 2000 })
})
