// A client of Server-Sent Events that shows a test all it got.
//
// The events are parsed by `eventsource-parser`, so that nothing of ours checks itself.

import { createParser, type EventSourceParser } from 'eventsource-parser'
import http from 'node:http'

const TIMEOUT_MS = 240_000

export interface SseEvent {
  /** Of this very event; what a browser would send on a reconnect is the client's `lastEventId`. */
  id?: string
  event?: string
  /** Parsed as JSON; the text itself where it is none. */
  data: any
  /** The lines of the event, as they came. */
  raw: string
}

export interface SseClientOptions {
  headers?: Record<string, string>
  lastEventId?: string
}

interface Waiter {
  look: () => void
  reject: (err: Error) => void
}

export class SseClient {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly events: SseEvent[] = []
  readonly comments: string[] = []
  /** 'end' after a clean end of the body; 'error' where it was cut, by either side. */
  readonly ended: Promise<'end' | 'error'>
  lastEventId: string
  retry: number | undefined
  readonly #response: http.IncomingMessage
  readonly #parser: EventSourceParser
  readonly #decoder = new TextDecoder()
  readonly #chunks: Buffer[] = []
  readonly #waiters = new Set<Waiter>()
  #over: 'end' | 'error' | undefined
  /** The start of a block of lines whose end has not come yet. */
  #rest = ''
  #block = ''

  /** Resolves at the head of the response, whatever its status. */
  static connect (url: string, options: SseClientOptions = {}): Promise<SseClient> {
    return new Promise((resolve, reject) => {
      const headers: Record<string, string> = { accept: 'text/event-stream', ...options.headers }
      if (options.lastEventId !== undefined) headers['last-event-id'] = options.lastEventId
      const request = http.get(url, { headers, agent: false })
      request.once('response', response => resolve(new SseClient(response, options.lastEventId ?? '')))
      request.on('error', reject)
    })
  }

  private constructor (response: http.IncomingMessage, lastEventId: string) {
    this.#response = response
    this.status = response.statusCode!
    this.headers = response.headers
    this.lastEventId = lastEventId
    this.#parser = createParser({
      onEvent: ({ id, event, data }) => {
        this.events.push({
          ...(id !== undefined && { id }), ...(event !== undefined && { event }), data: parse(data), raw: this.#block
        })
      },
      onRetry: ms => { this.retry = ms },
      onComment: comment => { this.comments.push(comment) }
    })
    response.on('data', (chunk: Buffer) => this.#read(chunk))
    response.on('error', () => {}) // 'close' follows
    this.ended = new Promise(resolve => {
      response.once('close', () => {
        this.#over = response.complete ? 'end' : 'error'
        resolve(this.#over)
        for (const waiter of this.#waiters) waiter.reject(this.#failure(`The stream is over (${this.#over})`))
      })
    })
  }

  /** The body so far. */
  text (): string {
    return Buffer.concat(this.#chunks).toString()
  }

  /** The whole body, once it has ended. For answers that are no stream. */
  async body (): Promise<string> {
    await this.ended
    return this.text()
  }

  /** The first event, past or future, that satisfies. */
  until (predicate: (event: SseEvent, client: SseClient) => boolean): Promise<SseEvent> {
    let seen = 0
    return this.#wait(() => {
      while (seen < this.events.length) {
        const event = this.events[seen++]!
        if (predicate(event, this)) return event
      }
      return undefined
    })
  }

  /** Looked at now and after each chunk. */
  async waitFor (predicate: (client: SseClient) => boolean): Promise<void> {
    await this.#wait(() => predicate(this) || undefined)
  }

  /** The data of the log events so far. */
  logs (): any[] {
    return this.events.filter(({ data }) => data?.type === 'log').map(({ data }) => data)
  }

  /** Stops reading the socket; the server feels it once the buffers in between are full. */
  pause () {
    this.#response.pause()
  }

  resume () {
    this.#response.resume()
  }

  close () {
    this.#response.destroy()
  }

  #read (chunk: Buffer) {
    this.#chunks.push(chunk)
    if (this.status === 200) {
      this.#rest += this.#decoder.decode(chunk, { stream: true })
      // An empty line ends a block. Each block goes to the parser as a whole, to know its text.
      for (let end; (end = /\r?\n\r?\n/.exec(this.#rest)) !== null;) {
        this.#block = this.#rest.slice(0, end.index + end[0].length)
        this.#rest = this.#rest.slice(this.#block.length)
        this.#trackId(this.#block)
        this.#parser.feed(this.#block)
      }
    }
    for (const waiter of this.#waiters) waiter.look()
  }

  /**
   * A browser takes the id of a block without data as well, though it makes no event of it. The
   * parser does not report such a block, so the id is read from the lines, at the end of the block.
   */
  #trackId (block: string) {
    for (const line of block.split(/\r\n|\n|\r/)) {
      const id = /^id(?:: ?(.*))?$/s.exec(line)
      if (id && !id[1]?.includes('\0')) this.lastEventId = id[1] ?? ''
    }
  }

  #wait<T> (look: () => T | undefined): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => waiter.reject(this.#failure(`Nothing in ${TIMEOUT_MS} ms`)), TIMEOUT_MS)
      const settle = () => {
        clearTimeout(timer)
        this.#waiters.delete(waiter)
      }
      const waiter: Waiter = {
        look () {
          try {
            const found = look()
            if (found === undefined) return
            settle()
            resolve(found)
          } catch (err) {
            waiter.reject(err as Error)
          }
        },
        reject (err) {
          settle()
          reject(err)
        }
      }
      this.#waiters.add(waiter)
      waiter.look()
      if (this.#over && this.#waiters.has(waiter)) waiter.reject(this.#failure(`The stream is over (${this.#over})`))
    })
  }

  /** With the end of what came, so that a failed test says more than that it failed. */
  #failure (what: string): Error {
    return new Error(`${what}; status ${this.status}, ${this.events.length} events, the last of the body:\n${this.text().slice(-500)}`)
  }
}

function parse (data: string): any {
  try {
    return JSON.parse(data)
  } catch {
    return data
  }
}
