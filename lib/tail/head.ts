import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { lookAtSequence } from '../postgres/locks.ts'
import type { Reader } from '../postgres/reader.ts'
import type { Head, Source } from '../postgres/source.ts'
import { HolderSet } from './holders.ts'

export interface HeadOptions {
  /** Whether somebody still waits for it. */
  wanted: () => boolean
  log: FastifyBaseLogger
}

/** Milliseconds between two looks at the locks. */
const PAUSE = 20
/** Milliseconds that it waits for transactions in flight at most. */
const MAX_WAIT = 10_000

/**
 * Finds where to begin: the highest id, and below it all ids that may still appear.
 *
 * Whoever holds the sequence's lock may have taken an id long ago, so every id that is missing may be
 * one of theirs. Where those are more than can be watched, it waits until all who held the lock at one
 * moment have let go: up to the last id of that moment nothing can appear any more. So it does where rows are
 * above the sequence, once.
 */
export async function findHead (source: Source, reader: Reader, { wanted, log }: HeadOptions): Promise<Head> {
  const begun = performance.now()
  /** Up to here nothing can appear. */
  let floor = 0n
  let head: Head | null = null
  /** It was read after all who held the lock before have let go. */
  let settled = false
  let waiting: { lastValue: bigint, holders: HolderSet } | null = null
  for (;;) {
    const { lastValue, holders } = await reader.answer((sql) => lookAtSequence(sql, source.table))
    if (waiting === null) waiting = { lastValue: lastValue ?? head?.high ?? 0n, holders: new HolderSet(holders) }
    else waiting.holders.narrow(holders)
    const over: boolean = waiting.holders.empty
    // Ids that were set by hand are above all floors: no waiting makes them fewer.
    const higher: boolean = over && waiting.lastValue > floor
    if (over) {
      floor = waiting.lastValue
      waiting = null
    }
    const isAbove = ({ high }: Head) => lastValue !== null && high > lastValue
    if (head === null || higher || (over && !settled && isAbove(head))) {
      head = await reader.answer((sql) => source.head(sql, floor))
      settled = over
    } else if (over) return head
    // Where rows are above the sequence, whoever has set it back may not have committed yet what became of them.
    if (!wanted() || (head.complete && (settled || !isAbove(head)))) return head
    if (performance.now() - begun > MAX_WAIT) {
      log.warn({ floor: String(floor), holders: holders.length }, 'a long transaction has taken ids: what it commits below the newest gaps will be missed')
      return head
    }
    await delay(PAUSE)
  }
}
