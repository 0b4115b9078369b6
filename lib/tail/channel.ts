import { EventEmitter } from 'node:events'
import type { Sql } from 'postgres'

/**
 * - `idle`: not started.
 * - `connecting`: a session is being opened and tried. Rows are polled for.
 * - `listening`: bells ring, proved by a notification of our own that came back.
 * - `polling`: no bells, because there is no session (it is tried again later) or no doorbell on
 *   the table. Rows are polled for.
 * - `closed`: for good.
 */
export type ListenerState = 'idle' | 'connecting' | 'listening' | 'polling' | 'closed'
export type Mode = 'listen' | 'poll'

export interface ListenerEvents {
  /** The one word of the lifecycle has changed. */
  state: [state: ListenerState, reason: string]
  /** Somebody notified the channel. The payload is not read. */
  bell: []
}

/** What one table hears on the session that all of them share. */
export class Channel extends EventEmitter<ListenerEvents> {
  readonly name: string
  /** Why no bell can ring although the channel is heard, or null when it can. */
  readonly findObstacle: () => Promise<string | null>
  #state: ListenerState = 'idle'
  #obstacle: string | null = null
  #session: Sql | null = null

  constructor (name: string, findObstacle: () => Promise<string | null>) {
    super()
    this.name = name
    this.findObstacle = findObstacle
  }

  get state (): ListenerState {
    return this.#state
  }

  get mode (): Mode {
    return this.#state === 'listening' ? 'listen' : 'poll'
  }

  /** The listening session, for locks that must live and die with it; null while no bell is heard. */
  get session (): Sql | null {
    return this.#session
  }

  /** What `findObstacle` said last. */
  get obstacle (): string | null {
    return this.#obstacle
  }

  /** The session is there, and this was found out. */
  answer (obstacle: string | null, session: Sql): void {
    this.#obstacle = obstacle
    if (obstacle === null) this.become('listening', 'bells come through', session)
    else this.become('polling', obstacle)
  }

  become (state: ListenerState, reason: string, session: Sql | null = null): void {
    this.#session = session
    if (state === this.#state || this.#state === 'closed') return
    this.#state = state
    this.emit('state', state, reason)
  }
}
