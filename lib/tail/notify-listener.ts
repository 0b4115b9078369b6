import { EventEmitter } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import { backoff, type BackoffOptions } from '../backoff.ts'
import { describe } from '../errors.ts'
import { QUEUE_FULL } from '../postgres/look.ts'
import { Channel, logState, type ChannelOptions, type ListenerEvents, type ListenerState, type Mode } from './channel.ts'
import { ListenSession, type ListenSessionOptions } from './listen-session.ts'

export interface ReconnectOptions extends BackoffOptions {
  /** After so many failures in a row an error is logged; it goes on at the slowest pace. Default: 10. */
  maxAttempts: number
}

export interface NotifyListenerOptions extends Pick<ListenSessionOptions, 'connection' | 'timeout' | 'notify'> {
  /** Milliseconds between two heartbeats on the session. */
  heartbeat: number
  reconnect: ReconnectOptions
  log: FastifyBaseLogger
  /** A link did not answer: others may be as dead. */
  onsilence: () => void
  /** Whether the database answers for this table; without a name: for one of them at least. */
  canRead: (table?: string) => boolean
}

export interface ListenerStatus {
  /** Started, and not closed. */
  running: boolean
  /** Bells come through. */
  connection_healthy: boolean
  state: ListenerState
  mode: Mode
  /** Failures in a row. */
  reconnect_attempts: number
  /** After so many an error is logged; it goes on trying. */
  max_reconnect_attempts: number
  /** Sessions after the first. */
  reconnects: number
  /** How full the server's queue of notifications is, 0 to 100. Null until it was asked. */
  pg_queue_usage_percent: number | null
  /** What is wrong at the moment; null where nothing is. */
  last_error: string | null
}

/** The listener, as the app sees it. */
export interface Listener extends Pick<EventEmitter<ListenerEvents>, 'on' | 'once' | 'off'> {
  /** With several tables: `listening` where the bells of all are heard. */
  readonly state: ListenerState
  /** `listen`: rows arrive by bell. `poll`: every `pollInterval`. */
  readonly mode: Mode
  /** As the status route has it. */
  status (): ListenerStatus
  /**
   * Whether the database answers, so that rows reach subscribers of this node, by bell or by polling: for a readiness probe,
   * such as that of `@fastify/under-pressure`. False until the table was looked up, and while the server is away.
   * @param table its name, as in `logQueues`; default: any of them
   */
  isReady (table?: string): boolean
}

/** Heartbeats between two proofs that bells still come through. */
const PROOF_EVERY = 20

/**
 * Holds a session of its own on which it LISTENs to all channels, finds out when that is dead, and opens the next.
 * It knows nothing of rows: whoever hears a bell, or sees the state change, reads the table.
 */
export class NotifyListener extends EventEmitter<ListenerEvents> implements Listener {
  readonly #options: NotifyListenerOptions
  readonly #channels: Channel[] = []
  #state: ListenerState = 'idle'
  /** The session of the moment. What comes from another one is from the dead, and ignored. */
  #session: ListenSession | null = null
  #timer: NodeJS.Timeout | undefined
  #attempts = 0
  #sessions = 0
  #beats = 0
  #queueUsage: number | null = null
  /** That triggers do not ring, for the queue is full. */
  #full: string | null = null
  /** Of the link. */
  #lastError: string | null = null

  constructor (options: NotifyListenerOptions) {
    super()
    this.#options = options
  }

  get state (): ListenerState {
    return this.#state
  }

  get mode (): Mode {
    return this.#state === 'listening' ? 'listen' : 'poll'
  }

  /** Why no bell can ring on some table, although its channel is heard. */
  get obstacle (): string | null {
    return this.#channels.find(({ obstacle }) => obstacle !== null)?.obstacle ?? null
  }

  /** One more table, before the start. */
  hear (options: ChannelOptions): Channel {
    const channel = new Channel(options)
    this.#channels.push(channel)
    return channel
  }

  isReady (table?: string): boolean {
    return this.#state !== 'idle' && this.#state !== 'closed' && this.#options.canRead(table)
  }

  start (): void {
    if (this.#state !== 'idle') return
    this.#options.log.info({ channel: this.#names }, 'listener started')
    this.#connect()
  }

  async close (): Promise<void> {
    if (this.#state === 'closed') return
    const session = this.#session
    this.#session = null
    clearTimeout(this.#timer)
    this.#becomeAll('closed', 'closed')
    this.#options.log.info('listener stopped')
    await session?.close()
  }

  /** @param of one of several tables; default: all of them */
  status (of: Pick<Channel, 'state' | 'mode' | 'obstacle'> = this): ListenerStatus {
    const { state, mode, obstacle } = of
    return {
      running: state !== 'idle' && state !== 'closed',
      connection_healthy: state === 'listening',
      state,
      mode,
      reconnect_attempts: this.#attempts,
      max_reconnect_attempts: this.#options.reconnect.maxAttempts,
      reconnects: Math.max(0, this.#sessions - 1),
      pg_queue_usage_percent: this.#queueUsage,
      last_error: this.#lastError ?? obstacle
    }
  }

  /** One name, or several. */
  get #names (): string | string[] {
    const names = [...new Set(this.#channels.map(({ name }) => name))]
    return names.length === 1 ? names[0]! : names
  }

  async #connect (): Promise<void> {
    const { log } = this.#options
    const session: ListenSession = new ListenSession({
      ...this.#options,
      onbell: (name) => { if (session === this.#session) this.#ring(name) },
      onlost: (cause) => this.#lose(session, cause)
    })
    this.#session = session
    this.#becomeAll('connecting', 'opening a session')
    try {
      await session.open(new Set(this.#channels.map(({ name }) => name)))
    } catch (error) {
      return this.#lose(session, error as Error)
    }
    if (session !== this.#session) return
    this.#sessions++
    log.debug({ channel: this.#names }, 'listener session is open')
    await this.#beat(session)
  }

  #ring (name: string): void {
    for (const channel of this.#channels) if (channel.name === name) channel.emit('bell')
    this.emit('bell')
  }

  /** The session is dead: throw it away and open another one later. */
  #lose (session: ListenSession, error: Error): void {
    if (session !== this.#session) return
    const { reconnect, log, onsilence } = this.#options
    this.#session = null
    if ((error as { code?: string }).code === 'FST_PG_TAIL_TIMEOUT') onsilence()
    session.destroy()
    clearTimeout(this.#timer)
    this.#attempts++
    this.#lastError = describe(error)
    const gaveUp = this.#attempts >= reconnect.maxAttempts
    const delay = backoff(gaveUp ? Infinity : this.#attempts, reconnect)
    this.#timer = setTimeout(() => this.#connect(), delay)
    const details = { err: error, attempt: this.#attempts, retryInMs: delay }
    if (this.#attempts === reconnect.maxAttempts) log.error(details, 'listener gave up on LISTEN for now: polling, and trying again at the slowest pace')
    else log.warn(details, 'listener is unhealthy: polling, and reconnecting')
    this.#becomeAll('polling', error.message)
  }

  /** One heartbeat: the session answers, its queue is not full, bells come through. Then the next. */
  async #beat (session: ListenSession): Promise<void> {
    try {
      const usage = await session.queueUsage()
      if (session !== this.#session) return
      this.#queueUsage = usage
      this.#full = usage >= QUEUE_FULL
        ? `the notification queue of PostgreSQL is ${usage} % full, so triggers do not ring: some session that LISTENs has a transaction open`
        : null
      if (this.#full === null && ++this.#beats % PROOF_EVERY === 0) await session.prove()
    } catch (error) {
      return this.#lose(session, error as Error)
    }
    if (session !== this.#session) return
    this.#attempts = 0
    this.#lastError = null
    this.#timer = setTimeout(() => this.#beat(session), this.#options.heartbeat)
    for (const channel of this.#channels) this.#ask(channel, session)
  }

  /** Each table by itself: what is wrong with one holds up neither the others nor the session, which did answer. */
  async #ask (channel: Channel, session: ListenSession): Promise<void> {
    if (this.#full !== null) channel.answer(this.#full, session.sql)
    const found = await channel.look()
    if (session !== this.#session) return
    channel.answer(this.#full ?? found, session.sql)
    const deaf = this.#channels.find(({ state }) => state === 'polling')
    if (deaf !== undefined) this.#become('polling', deaf.obstacle!)
    else if (this.#channels.every(({ state }) => state === 'listening')) this.#become('listening', 'bells come through')
  }

  /** The same word for all, which is logged once. */
  #becomeAll (state: ListenerState, reason: string): void {
    if (state !== this.#state) logState(this.#options.log, state, reason)
    for (const channel of this.#channels) channel.become(state, reason)
    this.#become(state, reason)
  }

  #become (state: ListenerState, reason: string): void {
    if (state === this.#state || this.#state === 'closed') return
    this.#state = state
    this.emit('state', state, reason)
  }
}
