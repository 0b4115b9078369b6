import { EventEmitter } from 'node:events'
import { randomUUID } from 'node:crypto'
import type { FastifyBaseLogger } from 'fastify'
import type { Sql } from 'postgres'
import { backoff, type BackoffOptions } from '../backoff.ts'
import { Database, listenSession, type Connection } from '../postgres/database.ts'

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

export interface ReconnectOptions extends BackoffOptions {
  /** After so many failures in a row an error is logged; it goes on at the slowest pace. */
  maxAttempts: number
}

export interface NotifyListenerOptions {
  connection: Connection
  channel: string
  /** Milliseconds between two heartbeats on the session. */
  heartbeat: number
  /** Milliseconds without an answer after which a link is dead. */
  timeout: number
  reconnect: ReconnectOptions
  log: FastifyBaseLogger
  /** Sends a notification over another session than the listening one. */
  notify: (channel: string) => Promise<unknown>
  /** Why no bell can ring although the channel is heard, or null when it can. */
  findObstacle: () => Promise<string | null>
  /** A link did not answer: others may be as dead. */
  onsilence: () => void
  /** Whether the table can be read. */
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

interface Events {
  /** The one word of the lifecycle has changed. */
  state: [state: ListenerState, reason: string]
  /** Somebody notified the channel. The payload is not read. */
  bell: []
}

/** Heartbeats between two proofs that bells still come through. */
const PROOF_EVERY = 20
/** Percent of the queue above which the triggers are silent, so that they do not make commits fail. As in sql/install.sql. */
const MAX_QUEUE_USAGE = 80

/**
 * Holds a session of its own on which it LISTENs, finds out when that is dead, and opens the next.
 * It knows nothing of rows: whoever hears a bell, or sees the state change, reads the table.
 */
export class NotifyListener extends EventEmitter<Events> {
  readonly #options: NotifyListenerOptions
  readonly #probeChannel = `fastify_pg_tail_${randomUUID().replaceAll('-', '')}`
  #state: ListenerState = 'idle'
  /** The session of the moment. What comes from another one is from the dead, and ignored. */
  #database: Database | null = null
  #timer: NodeJS.Timeout | undefined
  #attempts = 0
  #sessions = 0
  #beats = 0
  #queueUsage: number | null = null
  #lastError: string | null = null
  #onProbe: () => void = () => {}

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

  /** The listening session, for locks that must live and die with it; null while there is none. */
  get session (): Sql | null {
    return this.#state === 'listening' ? listenSession(this.#database!.sql) ?? null : null
  }

  /**
   * Whether rows reach whoever watches here, by bell or by poll: for a probe of the host's, such as that of
   * `@fastify/under-pressure`. Not before the table was looked up, nor while the server is away.
   */
  isReady (): boolean {
    return this.#state !== 'idle' && this.#state !== 'closed' && this.#options.canRead()
  }

  start (): void {
    if (this.#state !== 'idle') return
    this.#options.log.info({ channel: this.#options.channel }, 'listener started')
    this.#connect()
  }

  async close (): Promise<void> {
    if (this.#state === 'closed') return
    const database = this.#database
    this.#database = null
    clearTimeout(this.#timer)
    this.#become('closed', 'closed')
    this.#options.log.info('listener stopped')
    await database?.close()
  }

  status (): ListenerStatus {
    return {
      running: this.#state !== 'idle' && this.#state !== 'closed',
      connection_healthy: this.#state === 'listening',
      state: this.#state,
      mode: this.mode,
      reconnect_attempts: this.#attempts,
      max_reconnect_attempts: this.#options.reconnect.maxAttempts,
      reconnects: Math.max(0, this.#sessions - 1),
      pg_queue_usage_percent: this.#queueUsage,
      last_error: this.#lastError
    }
  }

  async #connect (): Promise<void> {
    const { connection, channel, timeout, log } = this.#options
    const database: Database = new Database(connection, {
      max: 1,
      name: 'fastify-pg-tail listener',
      timeout,
      onlost: (cause) => this.#lose(database, cause)
    })
    this.#database = database
    this.#become('connecting', 'opening a session')
    try {
      await database.answer(database.sql.listen(channel, () => {
        if (database === this.#database) this.emit('bell')
      }))
      await database.answer(database.sql.listen(this.#probeChannel, () => this.#onProbe()))
      await this.#prove(database)
      await database.answer(this.#keepAlive(database))
      if (database !== this.#database) return
      this.#sessions++
      log.debug({ channel }, 'listener session is open')
      await this.#beat(database)
    } catch (error) {
      this.#lose(database, error as Error)
    }
  }

  /** The session is dead: throw it away and open another one later. */
  #lose (database: Database, error: Error): void {
    if (database !== this.#database) return
    const { reconnect, log, onsilence } = this.#options
    this.#database = null
    if ((error as { code?: string }).code === 'FST_PG_TAIL_TIMEOUT') onsilence()
    database.destroy()
    clearTimeout(this.#timer)
    this.#attempts++
    this.#lastError = describe(error)
    const gaveUp = this.#attempts >= reconnect.maxAttempts
    const delay = backoff(gaveUp ? Infinity : this.#attempts, reconnect)
    this.#timer = setTimeout(() => this.#connect(), delay)
    const details = { err: error, attempt: this.#attempts, retryInMs: delay }
    if (this.#attempts === reconnect.maxAttempts) log.error(details, 'listener gave up on LISTEN for now: polling, and trying again at the slowest pace')
    else log.warn(details, 'listener is unhealthy: polling, and reconnecting')
    this.#become('polling', error.message)
  }

  /** One heartbeat: the session answers, its queue is not full, bells can ring. Then the next. */
  async #beat (database: Database): Promise<void> {
    const { heartbeat, findObstacle } = this.#options
    try {
      const session = listenSession(database.sql)!
      const [row] = await database.answer(session`select pg_notification_queue_usage() * 100 as percent`)
      this.#queueUsage = Math.round(row!.percent * 100) / 100
      const full = this.#queueUsage >= MAX_QUEUE_USAGE
        ? `the notification queue of PostgreSQL is ${this.#queueUsage} % full, so triggers do not ring: some session that LISTENs has a transaction open`
        : null
      if (full === null && ++this.#beats % PROOF_EVERY === 0) await this.#prove(database)
      const obstacle = full ?? await findObstacle()
      if (database !== this.#database) return
      this.#attempts = 0
      this.#lastError = obstacle
      this.#become(obstacle === null ? 'listening' : 'polling', obstacle ?? 'bells come through')
      this.#timer = setTimeout(() => this.#beat(database), heartbeat)
    } catch (error) {
      this.#lose(database, error as Error)
    }
  }

  /**
   * Rings on a channel that is ours alone and waits for it. A pooler in transaction mode accepts
   * LISTEN and swallows what it brings; so it rings over another session, not over this one, which
   * such a pooler could answer.
   */
  async #prove (database: Database): Promise<void> {
    const heard = new Promise<void>((resolve) => { this.#onProbe = resolve })
    await database.answer(this.#options.notify(this.#probeChannel))
    try {
      await database.answer(heard)
    } catch {
      throw new Error('LISTEN was accepted but no notification comes through, as with a pooler in transaction mode: ' +
        'set listenConnectionString to the server itself')
    }
  }

  /** So that the server soon sees a vanished process, and nobody rings for it any more. */
  #keepAlive ({ sql }: Database): Promise<unknown> {
    return listenSession(sql)!`select set_config('tcp_keepalives_idle', '15', false),
      set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false)`
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
