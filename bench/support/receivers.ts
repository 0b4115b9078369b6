// Clients by the thousand, in a process of their own: they count the rows that come, and look at no more than they must.

import net from 'node:net'
import { serve } from './child.ts'
import { clock } from './clock.ts'

const MARK = Buffer.from('"type":"log"')
/** What comes is of no matter before this. */
const GREETING = Buffer.from('"type":"connected"')
/** What a message says of when it was written: a time of day in milliseconds. */
const TIME = Buffer.from('"message":"t')
const shared = Buffer.allocUnsafe(256 * 1024)
/** A mark may be cut in two by the end of what came. */
const OVERLAP = MARK.length - 1

class Receiver {
  rows = 0
  /** The other side has ended it. */
  lost = false
  readonly greeted: Promise<void>
  readonly #socket: net.Socket
  readonly #latencies: number[] | null
  #tail: Buffer = Buffer.alloc(0)

  constructor (port: number, path: string, latencies: number[] | null) {
    this.#latencies = latencies
    let greet: () => void
    let refuse: (error: Error) => void
    this.greeted = new Promise((resolve, reject) => { greet = resolve; refuse = reject })
    this.#socket = net.connect({
      port,
      host: '127.0.0.1',
      onread: {
        buffer: shared,
        callback: (size) => {
          if (shared.subarray(0, size).includes(GREETING)) greet()
          this.#count(shared.subarray(0, size))
          return true
        }
      }
    })
    this.#socket.on('error', () => {})
    this.#socket.on('close', () => {
      this.lost = true
      refuse(new Error('a client was turned away'))
    })
    this.#socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n`)
  }

  #count (bytes: Buffer): void {
    if (this.#tail.length > 0) {
      const seam = Buffer.concat([this.#tail, bytes.subarray(0, OVERLAP)])
      if (seam.includes(MARK)) this.rows++
    }
    for (let at = bytes.indexOf(MARK); at !== -1; at = bytes.indexOf(MARK, at + MARK.length)) this.rows++
    this.#tail = Buffer.from(bytes.subarray(-OVERLAP))
    if (this.#latencies === null) return
    const now = clock()
    for (let at = bytes.indexOf(TIME); at !== -1; at = bytes.indexOf(TIME, at + 1)) {
      const end = bytes.indexOf('"', at + TIME.length)
      if (end !== -1) this.#latencies.push(now - parseFloat(bytes.toString('latin1', at + TIME.length, end)))
    }
  }

  close (): void {
    this.#socket.destroy()
  }
}

let receivers: Receiver[] = []
let latencies: number[] = []

serve({
  /** One client for each path, all connected and greeted. Every `sample`-th measures how late rows are; 0: none. */
  async connect (port: number, paths: string[], sample = 0) {
    // Not all at once: a queue of connections has an end.
    for (let i = 0; i < paths.length; i += 100) {
      const some = paths.slice(i, i + 100).map((path, j) => new Receiver(port, path, sample > 0 && (i + j) % sample === 0 ? latencies : null))
      receivers.push(...some)
      await Promise.all(some.map(({ greeted }) => greeted))
    }
  },
  /** Resolves once all have as many rows; how many rows each has got. */
  async received (rows: number[]) {
    while (receivers.some((receiver, i) => receiver.rows < rows[i]!)) {
      if (receivers.some(({ lost }) => lost)) throw new Error('a client was cut off')
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    return receivers.map((receiver) => receiver.rows)
  },
  /** Those that were measured since the last time. */
  latencies () {
    return latencies.splice(0)
  },
  close () {
    for (const receiver of receivers) receiver.close()
    receivers = []
    latencies = []
  }
})
