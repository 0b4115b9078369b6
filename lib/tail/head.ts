import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { lookAtSequence } from '../postgres/locks.ts'
import type { Reader } from '../postgres/reader.ts'
import type { Head, Source } from '../postgres/source.ts'
import { MAX_ID } from './cursor.ts'
import { HolderSet } from './holders.ts'
import { Watermark } from './watermark.ts'

export interface HeadOptions {
  /** The sequence has just been set back: the rows that are there may be about to go. */
  setBack: boolean
  /** Whether somebody still waits for it. */
  wanted: () => boolean
  log: FastifyBaseLogger
}

/**
 * - `arrival`: a row goes out once it is committed.
 * - `id`: it waits for all lower ids in flight.
 */
export type Order = 'arrival' | 'id'

/** Milliseconds between two looks at the locks. */
const PAUSE = 20
/** Milliseconds that it waits for transactions in flight at most. */
const MAX_WAIT = 10_000

/**
 * Finds where to begin: the highest id, and below it all ids that may still appear.
 *
 * Whoever holds the sequence's lock may have taken an id long ago, so every id that is missing may be
 * one of theirs. Where those are more than can be watched, it waits until all who held the lock at one
 * moment have let go: up to the last id of that moment nothing can appear any more. So it does, once,
 * where rows are above the sequence: whoever has set it back may not have committed yet what becomes of them.
 */
export async function findHead (source: Source, reader: Reader, { setBack, wanted, log }: HeadOptions): Promise<Head> {
  const begun = performance.now()
  /** Up to here nothing can appear. */
  let floor = 0n
  let head: Head | null = null
  /** Whoever has set the sequence back may not be over. */
  let doubtful = setBack
  let waiting: { lastValue: bigint, holders: HolderSet } | null = null
  for (;;) {
    const { lastValue, holders } = await reader.answer((sql) => lookAtSequence(sql, source.table))
    // Ids were taken back, by a crash say, and are handed out again: nothing is known of them.
    if (lastValue !== null && lastValue < (waiting?.lastValue ?? floor)) {
      floor = 0n
      waiting = null
      head = null
    }
    if (waiting === null) waiting = { lastValue: lastValue ?? head?.high ?? 0n, holders: new HolderSet(holders) }
    else waiting.holders.narrow(holders)
    const over: boolean = waiting.holders.empty
    if (over) {
      // As `head` has it: one more has to be an id.
      floor = waiting.lastValue < MAX_ID ? waiting.lastValue : MAX_ID - 1n
      waiting = null
    }
    if (head === null || over) {
      head = await reader.answer((sql) => source.head(sql, floor, lastValue))
      // Likewise, since that look.
      if (head.lastValue < floor) {
        floor = 0n
        head = await reader.answer((sql) => source.head(sql, floor, lastValue))
      }
      // Until they are over, even where it cannot be seen any more, for they have written so much.
      doubtful = !over && (doubtful || head.high > head.lastValue)
    }
    if (!wanted() || (head.complete && !doubtful)) return head
    if (performance.now() - begun > MAX_WAIT) {
      log.warn({ floor: String(floor), holders: holders.length }, head.complete
        ? 'ids are above the sequence, and a transaction is open: if that has set it back, what it writes may be missed'
        : 'a long transaction has taken ids: what it commits below the newest gaps will be missed')
      return head
    }
    await delay(PAUSE)
  }
}

/** What counts as delivered where somebody begins there. */
export function watermarkAt ({ high, lastValue, gaps, future }: Head, order: Order): Watermark {
  const [first] = gaps
  if (order === 'arrival' || first === undefined) return new Watermark(high, [...gaps, ...future])
  // Rows above a gap have to wait, so they are read like new ones; but those that were set by hand.
  return high > lastValue ? new Watermark(high, [{ lo: first.lo, hi: lastValue }, ...future]) : new Watermark(first.lo - 1n)
}
