import type {} from '@fastify/sse'
import { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyReply } from 'fastify'
import { event, type Notice } from '../queue/frame.ts'
import type { Batch } from '../queue/ring.ts'
import type { Sink } from '../queue/sink.ts'

/** How long a client may take for its last bytes when the app closes. Milliseconds. */
const LAST_BYTES = 1000

export interface SseSinkOptions {
  /** Milliseconds after which the client should come back. */
  retry: number
  /** Milliseconds that it may take for its last bytes. */
  stallTimeout: number
  /** Aborts when the app closes. */
  closing: AbortSignal
  counters: { bytes: number }
}

/**
 * A response with an event stream. @fastify/sse negotiates, sends the headers and tells of the end;
 * what goes out here are buffers that all clients share, under the response's own back-pressure.
 */
export class SseSink implements Sink {
  readonly #reply: FastifyReply
  readonly #options: SseSinkOptions

  constructor (reply: FastifyReply, options: SseSinkOptions) {
    this.#reply = reply
    this.#options = options
    reply.sse.keepAlive()
    reply.sse.sendHeaders()
    reply.raw.write(`retry: ${options.retry}\n\n`)
  }

  write (batch: Batch): boolean {
    const { raw } = this.#reply
    const { socket } = raw
    this.#options.counters.bytes += batch.bytes.length
    // Past the response, which would frame the chunk for each client anew, with a write for its head and one for its end: 0.56 of the processor time (1,000 rows/s for 1,000 clients).
    // Only where it is Node's own over HTTP/1.1 and has a socket: not in HTTP/2 or 1.0, behind another response, after its end, with inject(), nor where somebody wraps it.
    if (raw.write !== ServerResponse.prototype.write || !raw.chunkedEncoding || raw.writableEnded || !socket?.writable) return raw.write(batch.bytes)
    // No chunk comes of an empty text. By it the response knows that it is full, and tells when it is not any more.
    return socket.write(batch.chunk) || raw.write('')
  }

  notice (notice: Notice): boolean {
    return this.#reply.raw.write(event(notice))
  }

  /** A block with an id and no data moves the client's last id without an event. The time tells who holds streams back. */
  heartbeat (cursor: string | null): boolean {
    const comment = `: heartbeat ${new Date().toISOString()}\n`
    return this.#reply.raw.write(cursor === null ? `${comment}\n` : `${comment}id: ${cursor}\n\n`)
  }

  /** What the kernel has taken, also of a buffer that it takes bit by bit. */
  progress (): string {
    const socket = this.#reply.raw.socket as (Socket & { _handle?: { writeQueueSize?: number } }) | null
    return `${socket?.bytesWritten} ${socket?._handle?.writeQueueSize}`
  }

  /** A server that closes cuts off whoever has not taken all of a response that has ended: let it wait for this. */
  end (): Promise<void> {
    const { raw, sse } = this.#reply
    const { stallTimeout, closing } = this.#options
    sse.close()
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout
      const wait = (patience: number) => {
        clearTimeout(timer)
        timer = setTimeout(() => {
          raw.destroy()
          // One that waits behind another response has no socket, and does not close.
          over()
        }, patience).unref()
      }
      const hurry = () => wait(LAST_BYTES)
      const over = () => {
        clearTimeout(timer)
        closing.removeEventListener('abort', hurry)
        resolve()
      }
      raw.once('close', over)
      if (closing.aborted) return hurry()
      wait(stallTimeout)
      closing.addEventListener('abort', hurry, { once: true })
    })
  }

  destroy (): void {
    this.#reply.raw.destroy()
  }
}
