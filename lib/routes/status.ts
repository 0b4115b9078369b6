import type { FastifyInstance } from 'fastify'
import type { TableOptions } from '../table-options.ts'
import { admit, routeOptions } from './guard.ts'

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
            reconnects: { type: 'integer' },
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
export function statusRoute (app: FastifyInstance, { name, status }: TableOptions, report: () => Promise<object>): void {
  app.get(status.path!, {
    schema,
    ...routeOptions(status)
  }, async (request, reply) => {
    await admit(request, status, 'status', name)
    reply.header('cache-control', 'no-store')
    return report()
  })
}
