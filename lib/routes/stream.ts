import type {} from '@fastify/sse'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import type { Feed } from '../queue/feed.ts'
import { MAX_TAIL, parseLevels, type LogQueue } from '../queue/log-queue.ts'
import type { Start, Subscriber } from '../queue/subscriber.ts'
import type { Filter } from '../row.ts'
import type { TableOptions } from '../table-options.ts'
import { Cursor } from '../tail/cursor.ts'
import { within } from '../within.ts'
import { isGuarded, keepAsking, routeOptions } from './guard.ts'
import { refusal } from './refusal.ts'
import { SseSink } from './sse-sink.ts'

interface StreamQuery {
  run_id?: string
  level?: string
  after?: string
  tail?: number
}

/** Milliseconds that a client which comes back waits for its first byte, at most. */
export const MAX_LOOKUP = 1000
/** Seconds after which a client that found no place may try again. */
const RETRY_AFTER = 5

const querystring = {
  type: 'object',
  properties: {
    run_id: { type: 'string', minLength: 1, maxLength: 256, description: 'Only rows of this run; without it, rows of all runs' },
    level: { type: 'string', minLength: 1, maxLength: 1024, description: 'Only rows of these levels, separated by commas' },
    after: { type: 'string', minLength: 1, maxLength: 8192, description: 'Resume after this cursor, the id of an event; 0: from the start' },
    tail: { type: 'integer', minimum: 0, maximum: MAX_TAIL, description: 'The last so many rows first' }
  }
} as const

const headers = {
  type: 'object',
  properties: { 'last-event-id': { type: 'string', description: 'What EventSource sends when it comes back: wins over after' } }
} as const

const response = {
  200: {
    description: 'Events: JSON with a type: connected, log, mode, stopped or reset',
    content: { 'text/event-stream': { schema: { type: 'string' } } }
  },
  204: { description: 'The run has ended and the client has all of it', type: 'null' },
  400: refusal('A parameter, the cursor or the run is not valid'),
  403: refusal('You may not watch this log'),
  406: refusal('You do not accept event streams'),
  503: refusal('All streams of this node are taken, or it is shutting down')
}

const schema = { summary: 'Follow the log', tags: ['logs'], querystring, headers, response }

/** `GET {prefix}/stream`: rows as Server-Sent Events. */
export function streamRoute (app: FastifyInstance, options: TableOptions, queue: LogQueue, feed: Feed): void {
  const { name: table, stream, retry, stallTimeout } = options
  if (!isGuarded(stream)) {
    app.log.warn(`${options.prefix}${stream.path}: nothing guards the log stream. Set stream.authorize or a hook such as stream.onRequest; stream.public: true if everybody may read it`)
  }

  app.get<{ Querystring: StreamQuery }>(stream.path!, {
    schema,
    ...routeOptions(stream),
    exposeHeadRoute: false,
    sse: { kind: 'only', heartbeat: false }
  }, async (request, reply) => {
    const filter = readFilter(request.query, feed)
    const start = readStart(request)
    const ask = () => stream.authorize === undefined || stream.authorize(request, { run: filter.run, table })
    if (await ask() !== true) throw new errors.Forbidden('you may not watch this log')
    if (await isOver(request, filter, start, feed)) return reply.code(204).send()
    // From here to the subscriber nothing waits: a place that is free now is this client's.
    if (queue.closed) throw new errors.Closed()
    if (queue.full) {
      queue.counters.rejected++
      reply.header('retry-after', RETRY_AFTER)
      throw new errors.Full(options.maxSubscribers)
    }
    // The client may be gone by now: then nobody would tell that the stream is over.
    if (!reply.sse.isConnected || request.raw.socket.destroyed) return
    const subscriber = attach(request, reply, filter, start)
    if (stream.reauthorize > 0) {
      const { signal } = subscriber
      keepAsking({ ask, interval: stream.reauthorize, signal, log: request.log, onrevoke: () => subscriber.close() })
    }
  })

  function attach (request: FastifyRequest, reply: FastifyReply, filter: Filter, start: Start): Subscriber {
    const subscriber = queue.attach(filter, start, new SseSink(reply, { retry, stallTimeout, closing: queue.closing, counters: queue.counters }))
    reply.raw.on('drain', () => subscriber.ready())
    reply.sse.onClose(() => subscriber.destroy())
    // A response that waits behind another one (pipelining) is not told when the connection closes. Its request is;
    // but that closes as well once somebody has read its body.
    request.raw.once('close', () => { if (request.raw.socket.destroyed) subscriber.destroy() })
    return subscriber
  }
}

function readFilter ({ run_id: run, level }: StreamQuery, feed: Feed): Filter {
  return {
    run: run === undefined ? null : feed.parseRun(run),
    levels: level === undefined ? null : parseLevels(level.split(','))
  }
}

/** What an EventSource says on coming back goes before what its URL said at first. */
function readStart ({ headers, query }: FastifyRequest<{ Querystring: StreamQuery }>): Start {
  const lastEventId = headers['last-event-id']
  if (typeof lastEventId === 'string' && lastEventId !== '') return { after: Cursor.parse(lastEventId) }
  if (query.after !== undefined) return { after: Cursor.parse(query.after) }
  if (query.tail !== undefined) {
    // Infinity, as 1e400, gets past the validator.
    if (!Number.isFinite(query.tail)) throw new errors.Tail(MAX_TAIL)
    return { tail: query.tail }
  }
  return 'now'
}

/** Whether the client has come back after the end of its run and has all of it: 204 stops EventSource. */
async function isOver (request: FastifyRequest, filter: Filter, start: Start, feed: Feed): Promise<boolean> {
  if (filter.run === null || start === 'now' || !('after' in start) || !request.headers['last-event-id']) return false
  const { run } = filter
  const { after } = start
  try {
    // Without an answer the stream begins all the same, and will find the end by itself.
    return await within(MAX_LOOKUP, false, async (isWanted) => await feed.findEnd(run, isWanted) !== null && !await feed.hasMore(after, filter, isWanted))
  } catch (error) {
    request.log.debug({ err: error }, 'the end of a run could not be looked up')
    return false
  }
}
