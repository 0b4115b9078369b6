import { EventEmitter } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import type { Sql } from 'postgres'
import { backoff, type BackoffOptions } from '../backoff.ts'
import { Channel, type ListenerEvents, type ListenerState, type Mode } from './channel.ts'
import { ListenSession, type ListenSessionOptions } from './listen-session.ts'

export interface ReconnectOptions extends BackoffOptions {
  /** After so many failures in a row an error is logged; it goes on at the slowest pace. */
  maxAttempts: number
}

export interface NotifyListenerOptions extends Pick<ListenSessionOptions, 'connection' | 'timeout' | 'notify'> {
  /** Milliseconds between two heartbeats on the session. */
  heartbeat: number
  reconnect: ReconnectOptions
  log: FastifyBaseLogger
  /** A link did not answer: others may be as dead. */
  onsilence: () => void
  /** Whether the tables can be read. */
  canRead: () => boolean
}

export interface ListenerStatus {
  running: boolean
  connection_healthy: boolean
  state: ListenerState
  mode: Mode
  reconnect_attempts: number
  max_reconnect_attempts: number
  /** Sessions after the first. */
  reconnects: number
  pg_queue_usage_percent: number | null
  last_error: string | null
}

/** Heartbeats between two proofs that bells still come through. */
const PROOF_EVERY = 20
/** Percent of the queue above which the triggers are silent, so that they do not make commits fail. As in sql/install.sql. */
const MAX_QUEUE_USAGE = 80

/**
 * Holds a session of its own on which it LISTENs to all channels, finds out when that is dead, and opens the next.
 * It knows nothing of rows: whoever hears a bell, or sees the state change, reads the table.
 */
export class NotifyListener extends EventEmitter<ListenerEvents> {
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
  /** Of the link. */
  #lastError: string | null = null

  constructor (options: NotifyListenerOptions) {
    super()
    this.#options = options
  }

  /** Of several tables: `listening` where the bells of all are heard. */
  get state (): ListenerState {
    return this.#state
  }

  get mode (): Mode {
    return this.#state === 'listening' ? 'listen' : 'poll'
  }

  /** The listening session; null while there is none. */
  get session (): Sql | null {
    return this.#state === 'listening' ? this.#session!.sql : null
  }

  /** Why no bell can ring on some table, although its channel is heard. */
  get obstacle (): string | null {
    return this.#channels.find(({ obstacle }) => obstacle !== null)?.obstacle ?? null
  }

  /**
   * One more table, before the start.
   * @param findObstacle why no bell can ring although the channel is heard, or null when it can
   */
  hear (name: string, findObstacle: () => Promise<string | null>): Channel {
    const channel = new Channel(name, findObstacle)
    this.#channels.push(channel)
    return channel
  }

  /**
   * Whether rows reach whoever watches here, by bell or by poll: for a probe of the host's, such as that of
   * `@fastify/under-pressure`. Not before the tables were looked up, nor while the server is away.
   */
  isReady (): boolean {
    return this.#state !== 'idle' && this.#state !== 'closed' && this.#options.canRead()
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
      onbell: (name) => { if (session === this.#session) this.#hear(name) },
      onlost: (cause) => this.#lose(session, cause)
    })
    this.#session = session
    this.#becomeAll('connecting', 'opening a session')
    try {
      await session.open(new Set(this.#channels.map(({ name }) => name)))
      if (session !== this.#session) return
      this.#sessions++
      log.debug({ channel: this.#names }, 'listener session is open')
      await this.#beat(session)
    } catch (error) {
      this.#lose(session, error as Error)
    }
  }

  #hear (name: string): void {
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

  /** One heartbeat: the session answers, its queue is not full, bells can ring. Then the next. */
  async #beat (session: ListenSession): Promise<void> {
    try {
      const usage = this.#queueUsage = await session.queueUsage()
      const full = usage >= MAX_QUEUE_USAGE
        ? `the notification queue of PostgreSQL is ${usage} % full, so triggers do not ring: some session that LISTENs has a transaction open`
        : null
      if (full === null && ++this.#beats % PROOF_EVERY === 0) await session.prove()
      const obstacles: Array<string | null> = []
      for (const { findObstacle } of this.#channels) obstacles.push(full ?? await findObstacle())
      if (session !== this.#session) return
      this.#attempts = 0
      this.#lastError = null
      for (const [i, channel] of this.#channels.entries()) channel.answer(obstacles[i]!, session.sql)
      const { obstacle } = this
      this.#become(obstacle === null ? 'listening' : 'polling', obstacle ?? 'bells come through')
      this.#timer = setTimeout(() => this.#beat(session), this.#options.heartbeat)
    } catch (error) {
      this.#lose(session, error as Error)
    }
  }

  /** The same word for all. */
  #becomeAll (state: ListenerState, reason: string): void {
    for (const channel of this.#channels) channel.become(state, reason)
    this.#become(state, reason)
  }

  #become (state: ListenerState, reason: string): void {
    if (state === this.#state || this.#state === 'closed') return
    const { log } = this.#options
    this.#state = state
    if (state === 'listening') log.info('listener connected: rows arrive by LISTEN/NOTIFY')
    else if (state === 'polling') log.warn({ reason }, 'listener does not hear bells: rows are polled for')
    else log.debug({ state, reason }, 'listener state')
    this.emit('state', state, reason)
  }
}

/** For the status, which may be public: what others say may name hosts and users. The log has it all. */
function describe ({ code, message }: Error & { code?: string }): string {
  return code === undefined || code.startsWith('FST_') ? message : `${code}; the log says more`
}
