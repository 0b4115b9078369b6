import { lookAtSequence, readSequence, type SequenceLook, type SequenceState } from '../postgres/locks.ts'
import type { Reader } from '../postgres/reader.ts'
import type { Table } from '../postgres/table.ts'

/** The locks are looked at once in so many milliseconds at most; most gaps fill before that. */
const LOOK_INTERVAL = 20
/** Milliseconds between two questions to the sequence where reads follow each other closely: one takes the server 0.3 ms. */
const ASK_INTERVAL = 100

/** Why ids do not run up any more. */
export type Turn = 'it was set back' | 'it was started again, or the table is another one'

/** A table's sequence, from one moment on: who has taken ids, and whether they still run up. */
export class SequenceWatch {
  readonly #reader: Reader
  readonly #table: Table
  readonly #epoch: string
  /** The highest that was seen; null where nobody knows. */
  #lastValue: bigint | null
  #lastLook = 0
  #lastAsk = 0

  /** @throws where the table that has the name is another one by now */
  static async begin (reader: Reader, table: Table): Promise<SequenceWatch> {
    const state = await reader.answer((sql) => readSequence(sql, table))
    if (!state.epoch.startsWith(`${table.oid}:`)) throw new Error(`${table.name} is another table by now`)
    return new SequenceWatch(reader, table, state)
  }

  private constructor (reader: Reader, table: Table, state: SequenceState) {
    this.#reader = reader
    this.#table = table
    this.#epoch = state.epoch
    this.#lastValue = known(state)
  }

  /** As it was last seen; null where nobody knows. */
  get lastValue (): bigint | null {
    return this.#lastValue
  }

  /** A head was found that speaks of ids up to this one. */
  note (lastValue: bigint): void {
    if (this.#lastValue !== null && lastValue > this.#lastValue) this.#lastValue = lastValue
  }

  get isLookDue (): boolean {
    return performance.now() - this.#lastLook >= LOOK_INTERVAL
  }

  /** Looks at the locks. */
  look (): Promise<SequenceLook> {
    this.#lastLook = performance.now()
    return this.#reader.answer((sql) => lookAtSequence(sql, this.#table))
  }

  /**
   * Asks how far it is; null where it is too early for that.
   * @param busy reads follow each other closely
   */
  async ask (busy: boolean): Promise<SequenceState | null> {
    const now = performance.now()
    if (busy && now - this.#lastAsk < ASK_INTERVAL) return null
    this.#lastAsk = now
    return this.state()
  }

  /** How far it is. */
  state (): Promise<SequenceState> {
    return this.#reader.answer((sql) => readSequence(sql, this.#table))
  }

  /**
   * What a look or a question has found: null as long as ids run up.
   * @param reach the highest id that counts as read, or soon will. A crash takes back ids that nobody had committed: what is handed out again
   * above it is read as ever.
   */
  judge (state: SequenceState, reach: bigint): Turn | null {
    const turn = this.judgeEpoch(state.epoch)
    if (turn !== null) return turn
    const lastValue = known(state)
    if (lastValue === null) return null
    if (this.#lastValue !== null && lastValue < this.#lastValue && lastValue < reach) return 'it was set back'
    this.#lastValue = lastValue
    return null
  }

  /** The same, where a page of rows says which life of the table this is. */
  judgeEpoch (epoch: string): Turn | null {
    return epoch === this.#epoch ? null : 'it was started again, or the table is another one'
  }
}

function known ({ lastValue, unsure }: SequenceState): bigint | null {
  return unsure ? null : lastValue
}
