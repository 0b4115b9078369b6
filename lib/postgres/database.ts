import { connect as connectSocket, type Socket } from 'node:net'
import postgres, { type Sql } from 'postgres'
import { errors } from '../errors.ts'

/** How to reach a server: a URL, or the settings of the host's own driver instance. */
export type Connection = string | Sql

export interface DatabaseOptions {
  /** Most sessions at once. */
  max: number
  /** Shown in pg_stat_activity. */
  name: string
  /** A statement without an answer for so long is given up, and its link thrown away. Milliseconds. */
  timeout: number
  /** A session was lost, by whatever cause. */
  onlost?: () => void
}

/**
 * A driver instance of our own that can be thrown away whole.
 *
 * The driver notices neither a black-holed link nor can it let go of one: `end()` leaves the socket
 * to the kernel, and a session that was about to reconnect comes back after it. Here the sockets
 * are made by us, so `destroy()` closes them at once and no new one can appear.
 */
export class Database {
  readonly sql: Sql
  readonly #timeout: number
  readonly #sockets = new Set<Socket>()
  #turn = 0
  #destroyed = false

  constructor (connection: Connection, { max, name, timeout, onlost }: DatabaseOptions) {
    this.#timeout = timeout
    const ours = {
      max,
      idle_timeout: max === 1 ? undefined : 20,
      max_lifetime: null,
      connect_timeout: Math.max(1, Math.ceil(timeout / 1000)),
      onnotice: () => {},
      transform: {},
      socket: (options: SocketOptions) => this.#open(options),
      // Called when a session is lost, and before the driver tries again: the only word it gives.
      backoff: () => {
        onlost?.()
        return 1
      }
    }
    if (typeof connection === 'string') {
      this.sql = postgres(connection, { ...ours, connection: { application_name: name } } as object)
    } else {
      // The host's settings, parsed; but not its transforms, which would rename our columns.
      const transform = { column: {}, value: {}, row: {} }
      this.sql = postgres({ ...connection.options, ...ours, transform, shared: { retries: 0, typeArrayMap: {} } } as object)
    }
  }

  /**
   * Waits for a statement, but not for ever.
   * @throws FST_PG_TAIL_TIMEOUT after the time-out; the statement may still be running
   */
  async answer<T> (statement: PromiseLike<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new errors.Timeout(this.#timeout)), this.#timeout)
    })
    try {
      return await Promise.race([statement, late])
    } finally {
      clearTimeout(timer)
    }
  }

  /** Closes politely, then for good. Never throws; can be called twice. */
  async close (): Promise<void> {
    if (this.#destroyed) return
    const listening = listenSession(this.sql)?.end({ timeout: 0.5 })
    await Promise.allSettled([listening, this.sql.end({ timeout: 0.5 })])
    this.destroy()
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
  #open ({ host, port, path }: SocketOptions): Socket {
    if (this.#destroyed) throw new errors.Closed()
    for (const socket of this.#sockets) if (socket.destroyed) this.#sockets.delete(socket)
    const turn = this.#turn++ % host.length
    const socket = path ? connectSocket(path) : connectSocket(port[turn] ?? port[0]!, host[turn])
    this.#sockets.add(socket)
    // The driver reads the name for the certificate from here.
    return Object.assign(socket, { host: host[turn] })
  }
}

interface SocketOptions { host: string[], port: number[], path: string | false }

/** The session that `sql.listen()` opened: an instance of its own that the driver keeps there. */
export function listenSession (sql: Sql): Sql | undefined {
  return (sql.listen as unknown as { sql?: Sql }).sql
}
