// A TCP proxy that can do to a connection what networks do.

import { EventEmitter, once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestLike } from './postgres.ts'

const HOST = '127.0.0.1'

/** Emits 'connection' for each client that was let in, 'disconnection' for each that is gone, 'sent' with what clients have sent, once it was passed on. */
export class TcpProxy extends EventEmitter {
  readonly #server: net.Server
  readonly #targetPort: number
  readonly #links = new Set<Link>()
  #refusing = false
  #blackhole = false
  #delayMs = 0
  #pieces: Pieces = { bytes: Infinity, pauseMs: 0 }

  static async start (t: TestLike, targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort)
    proxy.#server.listen(0, HOST)
    await once(proxy.#server, 'listening')
    t.teardown(() => proxy.close())
    return proxy
  }

  private constructor (targetPort: number) {
    super()
    this.#targetPort = targetPort
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, client => this.#connect(client))
  }

  get port (): number {
    return (this.#server.address() as net.AddressInfo).port
  }

  /** Clients that are connected, black-holed ones among them. */
  get connections (): number {
    let count = 0
    for (const link of this.#links) if (!link.client.closed) count++
    return count
  }

  /** The same URL, by way of this proxy. */
  url (original: string): string {
    const url = new URL(original)
    url.hostname = HOST
    url.port = String(this.port)
    return url.href
  }

  /** All connections, and those to come, stay open, and nothing gets through, not even their end. */
  blackhole () {
    this.#blackhole = true
    for (const link of this.#links) link.deaden()
  }

  /** New connections get through again. Black-holed ones stay dead. */
  restore () {
    this.#blackhole = false
  }

  /** Ends all connections, on both sides. New ones are welcome. */
  cut () {
    for (const link of this.#links) link.destroy()
  }

  /** Resets new connections at once. Those that exist go on. */
  refuse () {
    this.#refusing = true
  }

  accept () {
    this.#refusing = false
  }

  /** Every chunk from now on arrives so much later, in order. */
  delay (ms: number) {
    this.#delayMs = ms
  }

  /** Every chunk from now on arrives in pieces of so many bytes, with pauses between them. */
  trickle (bytes: number, pauseMs: number) {
    this.#pieces = { bytes, pauseMs }
  }

  async close (): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    this.cut()
    await once(this.#server, 'close')
  }

  #connect (client: net.Socket) {
    if (this.#refusing) {
      client.on('error', () => {})
      // A reset and not an end: upon an end before the first answer the driver says nothing and
      // tries again for ever, which is not what it does where nobody listens on a port.
      client.resetAndDestroy()
      return
    }
    const link = new Link(client, () => this.#delayMs, () => this.#pieces)
    link.on('sent', (bytes) => this.emit('sent', bytes))
    this.#links.add(link)
    link.once('close', () => this.#links.delete(link))
    client.once('close', () => this.emit('disconnection'))
    if (this.#blackhole) link.deaden()
    else link.open(this.#targetPort)
    this.emit('connection')
  }
}

interface Pieces { bytes: number, pauseMs: number }

/** One connection. Emits 'close' when neither side is left, and 'sent' as the proxy does. */
class Link extends EventEmitter {
  readonly client: net.Socket
  readonly #delayMs: () => number
  readonly #pieces: () => Pieces
  #upstream: net.Socket | undefined
  #dead = false

  constructor (client: net.Socket, delayMs: () => number, pieces: () => Pieces) {
    super()
    this.client = client
    this.#delayMs = delayMs
    this.#pieces = pieces
    this.#watch(client)
  }

  open (port: number) {
    const upstream = this.#upstream = net.connect({ port, host: HOST, allowHalfOpen: true, noDelay: true })
    this.#watch(upstream)
    this.#forward(this.client, upstream)
    this.#forward(upstream, this.client)
  }

  deaden () {
    this.#dead = true
    for (const socket of [this.client, this.#upstream]) {
      socket?.resume() // swallow what comes: neither peer shall notice that nobody listens
      if (socket?.readableEnded) socket.destroy()
    }
  }

  destroy () {
    this.client.destroy()
    this.#upstream?.destroy()
  }

  #forward (from: net.Socket, to: net.Socket) {
    let turn = Promise.resolve()
    const inTurn = (action: () => void, pauseMs = 0) => {
      const due = Date.now() + this.#delayMs()
      turn = turn.then(async () => {
        const waitMs = due - Date.now()
        if (waitMs > 0) await sleep(waitMs)
        if (!this.#dead && !to.destroyed) action()
        if (pauseMs > 0) await sleep(pauseMs)
      })
    }
    from.on('data', (chunk: Buffer) => {
      const { bytes, pauseMs } = this.#pieces()
      for (let start = 0; start < chunk.length; start += bytes) {
        inTurn(() => {
          // Back-pressure goes through: a reader that stops is felt by the writer.
          if (!to.write(chunk.subarray(start, start + bytes)) && !from.isPaused()) {
            from.pause()
            to.once('drain', () => from.resume())
          }
          if (from === this.client) this.emit('sent', chunk.subarray(start, start + bytes))
        }, pauseMs)
      }
    })
    from.on('end', () => inTurn(() => to.end()))
    from.on('close', () => inTurn(() => to.destroySoon()))
  }

  #watch (socket: net.Socket) {
    socket.on('error', () => {}) // 'close' follows
    // The peer itself has left. The other side does not learn of it.
    socket.on('end', () => { if (this.#dead) socket.destroy() })
    socket.on('close', () => {
      if (this.client.closed && (this.#upstream?.closed ?? true)) this.emit('close')
    })
  }
}
