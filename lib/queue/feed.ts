import type { Cursor } from '../tail/cursor.ts'
import type { Filter, SourceRow } from '../row.ts'

/** A row in the order of delivery, with what whoever got it has by then. */
export interface Delivery {
  row: SourceRow
  cursor: string
}

export interface Replay {
  deliveries: Delivery[]
  /** What whoever got them has by then. */
  cursor: Cursor
}

/** How a run ended. */
export interface RunEnd {
  run: string
  status: string
  message: string | null
}

/**
 * Where rows come from, as the queue sees it: ordered batches, pushed into `LogQueue.deliver`, and
 * replay of what was delivered before. Here a tailed table; it could be another node's relay.
 */
export interface Feed {
  /** What was delivered so far. Moves on in the same tick as the rings. Only while awake. */
  readonly cursor: Cursor
  /** What was delivered, and what waits for its turn: where somebody starts who wants what comes next. */
  readonly seen: Cursor
  /** Rows cannot be read at the moment; it goes on trying. */
  readonly isFailing: boolean
  /** Somebody subscribes: deliver. Resolves once there is a cursor, which may take until transactions are over. */
  wakeUp (): Promise<void>
  /** Nobody does any more. */
  sleep (): void
  /** Resolves when all that is committed at this moment was seen. */
  refresh (): Promise<void>
  /** Somebody watches one more run: whether it has ended is asked soon, however many come at once. */
  seekEnds (): void
  /** Resolves when `cursor` has moved. */
  moved (): Promise<void>
  /** Whether the cursor is above all ids there are: it is of another life of the table. */
  isBeyond (cursor: Cursor): Promise<boolean>
  /**
   * Whether rows that the cursor has may still be to come here, from another node that has read further. If not, all that it has beyond
   * are ids that nobody was given yet: that node has only counted them as had. Takes a read.
   */
  isBehind (cursor: Cursor): Promise<boolean>
  /**
   * The first page of what `to` has and `from` lacks.
   * @param isWanted asked when it begins, for it may have to wait; it rejects where it is not. So with the others
   */
  replay (from: Cursor, to: Cursor, filter: Filter, isWanted?: () => boolean): Promise<Replay>
  /** From where to replay to `to` in order to get the last `count` rows. */
  tail (to: Cursor, filter: Filter, count: number, isWanted?: () => boolean): Promise<Cursor>
  /** Whether the stream has rows that whoever has this cursor lacks; of another life of the table it lacks all. */
  hasMore (cursor: Cursor, filter: Filter, isWanted?: () => boolean): Promise<boolean>
  /** How the run ended; null while it goes on. */
  findEnd (run: string, isWanted?: () => boolean): Promise<RunEnd | null>
  countRows (run: string): Promise<number>
  /** Ends a run, on every node. */
  stopRun (run: string, message: string | null): Promise<void>
  /** Run ids are integers, so JSON has numbers. */
  readonly integerRuns: boolean
  /** @throws FST_PG_TAIL_RUN where the text cannot be a run; the form in which rows have it */
  parseRun (text: string): string
}

/** Whoever gets the rows. */
export interface Receiver {
  /** Text forms of the runs that somebody watches; null: all. */
  watched (): readonly string[] | null
  watches (run: string | null): boolean
  /** Runs whose end somebody wants to know: watched by name, or seen by whoever watches all. */
  openRuns (): readonly string[]
  /** In the tick in which the feed's cursor moves. */
  deliver (deliveries: Delivery[]): void
  /** Everything of the run was delivered, and it has ended. Never rejects. */
  end (end: RunEnd): Promise<void>
  /** Whether the feed is failing may have changed. */
  checkHealth (): void
  /** Ids run backwards: what was delivered before is of another life of the table. */
  reset (): void
}
