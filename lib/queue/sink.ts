import type { Notice } from './frame.ts'
import type { Batch } from './ring.ts'

/** Where a subscriber's rows go: a response, an iterator, one day a WebSocket. */
export interface Sink {
  /** Takes a batch in any case. False: full, so no more of them until `Subscriber.ready()`. */
  write (batch: Batch): boolean
  /** Like `write`. */
  notice (notice: Notice): boolean
  /** A sign of life, with what the client has by now where that is known. Like `write`. */
  heartbeat (cursor: string | null): boolean
  /** Changes whenever the other side takes something; null where it may take all the time it likes. */
  progress (): string | null
  /** Nothing more will come. Resolves once the other side has taken all, or has had its time. */
  end (): void | Promise<void>
  /** The other side does not take anything any more. */
  destroy (): void
}
