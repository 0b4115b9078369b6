import type { SourceRow } from '../row.ts'
import type { Cursor } from '../tail/cursor.ts'
import type { Replay } from './feed.ts'

/**
 * A page of what `to` has and `from` lacks, each row with what whoever got it has by then.
 * @param more it was read up to its last row only
 */
export function replayPage (rows: readonly SourceRow[], more: boolean, from: Cursor, to: Cursor): Replay {
  const plain = from.gaps.length === 0 && to.gaps.length === 0
  return {
    deliveries: rows.map((row) => ({ row, cursor: String(plain ? row.id : from.union(to.upTo(row.id))) })),
    cursor: from.union(more ? to.upTo(rows.at(-1)!.id) : to)
  }
}
