import { EventEmitter } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import type { Sql } from 'postgres'
import { describe } from '../errors.ts'

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

export interface ChannelOptions {
  /** What is LISTENed to. */
  name: string
  /** Why no bell can ring although the channel is heard, or null when it can. Rejects where that cannot be found out. */
  findObstacle: () => Promise<string | null>
  log: FastifyBaseLogger
}

/** What one table hears on the session that all of them share. */
export class Channel extends EventEmitter<ListenerEvents> {
  readonly #options: ChannelOptions
  #state: ListenerState = 'idle'
  #obstacle: string | null = null
  /** What went wrong with the last look: that was said once. */
  #failure: string | null = null
  #looking: Promise<string | Error | null> | null = null
  #session: Sql | null = null

  constructor (options: ChannelOptions) {
    super()
    this.#options = options
  }

  get name (): string {
    return this.#options.name
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

  /** Why no bell can ring, as it was found last. */
  get obstacle (): string | null {
    return this.#obstacle
  }

  /** Why no bell can ring, or what went wrong with finding that out. A table that is locked is not asked twice at once. */
  look (): Promise<string | Error | null> {
    this.#looking ??= this.#options.findObstacle().catch((error: Error) => error).finally(() => { this.#looking = null })
    return this.#looking
  }

  /** The session is there, and this was found. */
  answer (found: string | Error | null, session: Sql): void {
    const { log } = this.#options
    const failure = found instanceof Error ? found.message : null
    if (failure !== null && failure !== this.#failure) log.warn({ err: found }, 'the table could not be looked at: polling, and trying again')
    this.#failure = failure
    this.#obstacle = found instanceof Error ? describe(found) : found
    const [state, reason]: [ListenerState, string] = this.#obstacle === null ? ['listening', 'bells come through'] : ['polling', this.#obstacle]
    if (state !== this.#state) logState(log, state, reason)
    this.become(state, reason, state === 'listening' ? session : null)
  }

  become (state: ListenerState, reason: string, session: Sql | null = null): void {
    this.#session = session
    if (state === this.#state || this.#state === 'closed') return
    this.#state = state
    this.emit('state', state, reason)
  }
}

/** For operators: of one table, or of all at once. */
export function logState (log: FastifyBaseLogger, state: ListenerState, reason: string): void {
  if (state === 'listening') log.info('listener connected: rows arrive by LISTEN/NOTIFY')
  else if (state === 'polling') log.warn({ reason }, 'listener does not hear bells: rows are polled for')
  else log.debug({ state, reason }, 'listener state')
}
