import { connect as connectSocket, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import postgres, { type Sql } from 'postgres'
import { MAX_TIMER } from '../checks.ts'
import { errors } from '../errors.ts'
import { addArrayTypes } from './arrays.ts'

/** How to reach a server: a URL, or the settings of the host's own driver instance. */
export type Connection = string | Sql

export interface DatabaseOptions {
  /** Shown in pg_stat_activity. */
  name: string
  /** A statement without an answer, or a part of one, for so long is given up, and its link thrown away. Milliseconds. */
  timeout: number
  /**
   * A session was lost, or could not be had. The driver would open the next one, but may have kept half of a
   * statement for it, and then never sends anything: throw the instance away.
   */
  onlost?: (cause: Error) => void
}

/** Seconds until a session that was lost is opened again. */
const REOPEN_AFTER = 0.1
/** Milliseconds, doubled each time, after a link on which the server has not said a word. */
const SILENT_PAUSE = 25
const MAX_SILENT_PAUSE = 1000
/** Milliseconds that `close()` waits for what is under way. */
const POLITENESS = 500
/** Seconds. The driver's own; by then ours is over. */
const LAST_RESORT = 1

/**
 * A driver instance of our own, with one session and the one that it LISTENs on, that can be thrown away whole.
 *
 * The driver notices neither a black-holed link nor can it let go of one: `end()` leaves the socket
 * to the kernel, and a session that was about to reconnect comes back after it. Here the sockets
 * are made by us, so `destroy()` closes them at once and no new one can appear.
 */
export class Database {
  readonly sql: Sql
  readonly #timeout: number
  readonly #sockets = new Set<Socket>()
  /** The host's own way to a socket, such as a tunnel. */
  readonly #makeSocket: ((options: SocketOptions) => Socket | Promise<Socket>) | undefined
  /** Why the last link broke, where it did not just end. */
  #cause: Error | null = null
  /** Links in a row on which the server has not said a word. */
  #silent = 0
  #turn = 0
  #destroyed = false

  constructor (connection: Connection, { name, timeout, onlost }: DatabaseOptions) {
    this.#timeout = Math.min(timeout, MAX_TIMER)
    const ours = {
      max: 1,
      // The driver tells of a session that was idle as of one that was lost.
      idle_timeout: null,
      max_lifetime: null,
      // One statement after the other. Where the next one came with the end of the one before, PgBouncer may give
      // the session away in between, and the answer never comes (pgbouncer#759).
      max_pipeline: 0,
      connect_timeout: Math.max(1, Math.floor(this.#timeout / 1000)),
      onnotice: () => {},
      transform: {},
      // The driver asks for them at the start of each session, and nobody catches its failure: a
      // session that dies just then would take the whole process with it.
      fetch_types: false,
      socket: (options: SocketOptions) => this.#open(options),
      // Called when a session is lost, and before the driver tries again: the only word it gives.
      backoff: () => {
        onlost?.(this.#cause ?? new Error('the session ended'))
        return REOPEN_AFTER
      }
    }
    if (typeof connection === 'string') {
      this.sql = postgres(connection, ours as object)
    } else {
      // The host's settings, parsed; but not its transforms, which would rename our columns.
      const transform = { column: {}, value: {}, row: {} }
      const { parsers, serializers, socket, connection: parameters } = connection.options as unknown as HostOptions
      this.#makeSocket = socket
      this.sql = postgres({
        ...connection.options,
        ...ours,
        transform,
        connection: { ...parameters },
        // What the host wants to hear of its own sessions.
        onclose: undefined,
        onnotify: undefined,
        onparameter: undefined,
        parameters: {},
        parsers: { ...parsers },
        serializers: { ...serializers },
        shared: { retries: 0, typeArrayMap: {} }
      } as object)
    }
    // The driver takes what the URL says for more than what the options say.
    Object.assign(this.sql.options.connection, { application_name: name })
    addArrayTypes(this.sql)
  }

  /**
   * Waits for a statement, but not for ever.
   * @throws FST_PG_TAIL_TIMEOUT after the time-out; the statement may still be running
   */
  async answer<T> (statement: PromiseLike<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      const wait = () => {
        const heard = new Map([...this.#sockets].map((socket) => [socket, socket.bytesRead]))
        // A link that is waited on keeps the process alive; what waits for one that is gone need not.
        timer = setTimeout(() => {
          // A large row over a slow link takes as long as it takes: asked for again, it would never come.
          if ([...heard].some(([socket, bytes]) => !socket.destroyed && socket.bytesRead > bytes)) wait()
          else reject(new errors.Timeout(this.#timeout))
        }, this.#timeout).unref()
      }
      wait()
    })
    try {
      return await Promise.race([statement, late])
    } finally {
      clearTimeout(timer)
    }
  }

  /**
   * Closes politely, then for good. Never throws; can be called twice.
   * @returns whether all that was under way has come to its end
   */
  async close (): Promise<boolean> {
    if (this.#destroyed) return true
    const ends = [listenSession(this.sql), this.sql].map((sql) => sql?.end({ timeout: LAST_RESORT }))
    const over = await Promise.race([Promise.allSettled(ends).then(() => true), delay(POLITENESS, false, { ref: false })])
    this.destroy()
    return over
  }

  /** Closes at once; what is under way fails. */
  destroy (): void {
    if (this.#destroyed) return
    this.#destroyed = true
    // The inner instance first: it must be ending before it hears that its socket is gone, or it
    // queues a new LISTEN.
    listenSession(this.sql)?.end({ timeout: 0 }).catch(() => {})
    this.sql.end({ timeout: 0 }).catch(() => {})
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Not connected yet: errors must come as the driver expects them, by the socket's own events. */
  async #open (options: SocketOptions): Promise<Socket> {
    const { host } = options
    // A server that ends links before it says anything, such as a proxy with nothing behind it: the
    // driver comes back at once, again and again, and tells nobody.
    if (this.#silent > 0) await delay(Math.min(SILENT_PAUSE * 2 ** this.#silent, MAX_SILENT_PAUSE), undefined, { ref: false })
    if (this.#destroyed) throw new errors.Closed()
    for (const socket of this.#sockets) if (socket.destroyed) this.#sockets.delete(socket)
    const turn = this.#turn++ % host.length
    const socket = await this.#connect(options, turn)
    this.#sockets.add(socket)
    if (this.#destroyed) socket.destroy()
    this.#cause = null
    socket.on('error', (error) => { this.#cause = error })
    socket.on('close', () => { this.#silent = socket.bytesRead === 0 ? this.#silent + 1 : 0 })
    // The driver reads the name for the certificate from here.
    return Object.assign(socket, { host: host[turn] })
  }

  async #connect (options: SocketOptions, turn: number): Promise<Socket> {
    const { host, port, path } = options
    if (this.#makeSocket) return this.#makeSocket(options)
    return path ? connectSocket(path) : connectSocket(port[turn] ?? port[0]!, host[turn])
  }
}

interface HostOptions {
  parsers: object
  serializers: object
  connection: object
  socket?: (options: SocketOptions) => Socket | Promise<Socket>
}

interface SocketOptions { host: string[], port: number[], path: string | false }

/** The session that `sql.listen()` opened: an instance of its own that the driver keeps there. */
export function listenSession (sql: Sql): Sql | undefined {
  return (sql.listen as unknown as { sql?: Sql }).sql
}
