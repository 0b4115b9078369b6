// Clients by the thousand: raw HTTP, and one buffer into which all of them read.

import net from 'node:net'

const shared = Buffer.allocUnsafe(64 * 1024)
const NOTHING = Buffer.alloc(0)
const ROW = 'data: {"type":"log","id":'
const [NEWLINE, COLON, D, I, NINE, ZERO] = [...Buffer.from('\n:di90')] as [number, number, number, number, number, number]

export type Address = { path: string } | { port: number, host: string }

export interface LoadClientOptions {
  lastEventId?: string
  /** Stops to read at the greeting, until `resume()`. */
  slow?: boolean
  /** Something came; `rows` of it were rows. */
  onread?: (rows: number) => void
}

export class LoadClient {
  /** Of the rows, as they came. */
  readonly ids: number[] = []
  readonly slow: boolean
  lastEventId: string
  /** Types of the messages that are no rows. */
  readonly notices: string[] = []
  /** The response has come to its proper end. */
  complete = false
  /** Resolves at the greeting; rejects where something else comes. */
  readonly greeted: Promise<void>
  /** Resolves once the kernel has the request, or never will. */
  readonly sent: Promise<void>
  /** Resolves once the connection is closed. */
  readonly closed: Promise<void>
  readonly #socket: net.Socket
  readonly #onread: (rows: number) => void
  #onGreeting!: () => void
  #onFailure!: (error: Error) => void
  /** What came of a line or an event whose end has not come yet. */
  #rest = NOTHING
  /** Bytes of the chunk that were not read yet, with the line break behind it; null before the first. */
  #left: number | null = null

  /** @param query as it stands behind the question mark */
  constructor (to: Address, query: string, { lastEventId = '', slow = false, onread = () => {} }: LoadClientOptions = {}) {
    this.slow = slow
    this.lastEventId = lastEventId
    this.#onread = onread
    this.#socket = net.connect({ ...to, onread: { buffer: shared, callback: (size) => this.#read(shared.subarray(0, size)) } })
    this.greeted = new Promise((resolve, reject) => { [this.#onGreeting, this.#onFailure] = [resolve, reject] })
    this.closed = new Promise((resolve) => this.#socket.once('close', () => {
      this.#onFailure(new Error('closed before the greeting'))
      resolve()
    }))
    this.#socket.on('error', (error) => this.#onFailure(error))
    const id = lastEventId && `Last-Event-ID: ${lastEventId}\r\n`
    const request = `GET /logs/stream?${query} HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n${id}\r\n`
    this.sent = new Promise((resolve) => this.#socket.write(request, () => resolve()))
  }

  resume (): void {
    this.#socket.resume()
  }

  close (): void {
    this.#socket.destroy()
  }

  /** Whether to read on. */
  #read (came: Buffer): boolean {
    const bytes = this.#rest.length === 0 ? came : Buffer.concat([this.#rest, came])
    const [rows, notices] = [this.ids.length, this.notices.length]
    let at = 0
    for (let next: number | null = 0; next !== null; next = this.#take(bytes, at)) at = next
    this.#rest = at === bytes.length ? NOTHING : Buffer.from(bytes.subarray(at))
    this.#onread(this.ids.length - rows)
    return !(this.slow && notices === 0 && this.notices.length > 0)
  }

  /** The head, the size of a chunk, an event or the end of a chunk. Returns what comes after it; null where it is not all there yet. */
  #take (bytes: Buffer, at: number): number | null {
    if (this.#left === null) {
      const end = bytes.indexOf('\r\n\r\n', at)
      if (end === -1) return null
      const head = bytes.toString('latin1', at, end)
      if (!head.startsWith('HTTP/1.1 200 ')) this.#onFailure(new Error(head))
      this.#left = 0
      return end + 4
    }
    if (this.#left === 0) {
      const end = bytes.indexOf('\r\n', at)
      if (end === -1) return null
      const size = parseInt(bytes.toString('latin1', at, end), 16)
      if (size === 0) this.complete = true
      this.#left = size + 2
      return end + 2
    }
    const end = this.#left === 2 ? at + 2 : bytes.indexOf('\n\n', at) + 2
    // Events are never split over chunks.
    if (end === 1 || end > bytes.length) return null
    if (this.#left > 2) this.#event(bytes, at, end)
    this.#left -= end - at
    return end
  }

  #event (bytes: Buffer, start: number, end: number): void {
    let at = start
    if (bytes[at] === COLON) at = bytes.indexOf(NEWLINE, at) + 1
    if (bytes[at] === I) {
      const line = bytes.indexOf(NEWLINE, at)
      this.lastEventId = bytes.toString('latin1', at + 4, line)
      at = line + 1
    }
    if (bytes[at] !== D) return
    if (at === start) {
      this.notices.push(JSON.parse(bytes.toString('utf8', at + 6, end)).type)
      return this.#onGreeting()
    }
    let id = 0
    for (let i = at + ROW.length; bytes[i]! >= ZERO && bytes[i]! <= NINE; i++) id = id * 10 + bytes[i]! - ZERO
    this.ids.push(id)
  }
}
