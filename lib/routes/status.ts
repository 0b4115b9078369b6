import type { FastifyInstance } from 'fastify'
import { errors } from '../errors.ts'
import type { Options } from '../options.ts'
import { isGuarded, routeOptions } from './guard.ts'

const open = { type: 'object', additionalProperties: true } as const

const schema = {
  summary: 'State of the log stream, for operators',
  tags: ['logs'],
  response: {
    200: {
      type: 'object',
      additionalProperties: true,
      required: ['available', 'timestamp', 'listener', 'notification_queues'],
      properties: {
        available: { type: 'boolean' },
        timestamp: { type: 'string' },
        listener: {
          type: 'object',
          properties: {
            running: { type: 'boolean' },
            connection_healthy: { type: 'boolean' },
            state: { type: 'string', enum: ['idle', 'connecting', 'listening', 'polling', 'closed'] },
            mode: { type: 'string', enum: ['listen', 'poll'] },
            reconnect_attempts: { type: 'integer' },
            max_reconnect_attempts: { type: 'integer' },
            pg_queue_usage_percent: { type: ['number', 'null'] },
            last_error: { type: ['string', 'null'] }
          }
        },
        notification_queues: {
          type: 'object',
          properties: {
            total_queues: { type: 'integer' },
            total_notifications: { type: 'integer' },
            queue_sizes: open
          }
        }
      }
    }
  }
}

/** `GET {prefix}/status`: for admins. Closed unless the options say who may read it. */
export function statusRoute (app: FastifyInstance, { status }: Options, report: () => Promise<object>): void {
  app.get(status.path!, {
    schema,
    ...routeOptions(status)
  }, async (request, reply) => {
    if (!isGuarded(status)) {
      throw new errors.Forbidden('the status route is closed: set status.authorize, a hook such as status.onRequest, or status.public: true')
    }
    if (status.authorize !== undefined && await status.authorize(request, { run: null }) !== true) {
      throw new errors.Forbidden('you may not read the status')
    }
    reply.header('cache-control', 'no-store')
    return report()
  })
}
