// A node under load, in a process of its own: `node --expose-gc --import tsx load-server.ts <connection string> <path> <options as JSON>`.
// Listens on a UNIX socket, says so once it hears bells, and closes with its standard input.

import type { ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import Fastify from 'fastify'
import fastifyPgTail from '../../plugin.ts'
import { reach } from './app.ts'

export interface Measurement {
  /** Bytes of the heap and outside of it that are alive. */
  memory: number
  streams: number
  /** Streams that take nothing more for now. */
  stuck: number
  /** Bytes that sockets hold: all of them, and the one with most. */
  held: { sum: number, max: number }
  /** Bytes that a stream holds above its high-water mark and its own largest write: the one with most. */
  excess: number
  /** Of the largest writes of those that are stuck. */
  batches: { sum: number, max: number }
  /** Milliseconds that the event loop came late. */
  delay: { p50: number, p99: number, max: number }
}

const [connectionString = '', path = '', options = '{}'] = process.argv.slice(2)
const LARGEST = Symbol('largest write')
type Measured = Socket & { [LARGEST]?: number }

// Under the responses, which much is written past.
const { write } = Socket.prototype
Socket.prototype.write = function (this: Measured, chunk: string | Uint8Array, ...rest: any) {
  this[LARGEST] = Math.max(this[LARGEST] ?? 0, Buffer.byteLength(chunk))
  return write.call(this, chunk, ...rest as [BufferEncoding])
}

const app = Fastify()
const streams = new Set<ServerResponse>()
const delays = monitorEventLoopDelay()
await app.register(fastifyPgTail, {
  connectionString,
  table: 'public.scraper_log',
  install: true,
  status: { public: true },
  ...JSON.parse(options),
  stream: {
    public: true,
    onRequest: async (_request, { raw }) => {
      streams.add(raw)
      raw.once('close', () => streams.delete(raw))
    }
  }
})

app.get<{ Querystring: { gc?: string } }>('/measure', ({ query }): Measurement => {
  const all = [...streams].flatMap(({ headersSent, socket }) => headersSent && socket !== null ? [socket as Measured] : [])
  const stuck = all.filter(({ writableNeedDrain }) => writableNeedDrain)
  const milliseconds = (nanoseconds: number) => Math.round(nanoseconds / 1e6)
  // What ends late, such as a WeakRef's target, goes with the second one.
  if (query.gc) for (let i = 0; i < 2; i++) gc!()
  const { heapUsed, external } = process.memoryUsage()
  return {
    memory: heapUsed + external,
    streams: all.length,
    stuck: stuck.length,
    held: sumUp(all.map(({ writableLength }) => writableLength)),
    excess: Math.max(0, ...all.map((socket) => socket.writableLength - socket.writableHighWaterMark - socket[LARGEST]!)),
    batches: sumUp(stuck.map((socket) => socket[LARGEST]!)),
    delay: { p50: milliseconds(delays.percentile(50)), p99: milliseconds(delays.percentile(99)), max: milliseconds(delays.max) }
  }
})

await app.listen({ path })
await reach(app, 'listening')
delays.enable()
console.log('listening')
process.stdin.on('end', () => app.close()).resume()

function sumUp (values: number[]): { sum: number, max: number } {
  return { sum: values.reduce((sum, value) => sum + value, 0), max: Math.max(0, ...values) }
}
