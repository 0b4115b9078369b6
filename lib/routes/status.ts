import type { FastifyInstance } from 'fastify'
import type { TableOptions } from '../table-options.ts'
import { admit, routeOptions } from './guard.ts'
import { refusal } from './refusal.ts'

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
        },
        table: { type: 'string' },
        channel: { type: ['string', 'null'] },
        subscribers: { ...open, description: 'Clients, and what they were sent' },
        watermark: { type: ['string', 'null'], description: 'The highest id read; null while nobody watches' },
        gaps: { ...open, description: 'Ids that transactions in flight may still fill, and who holds them open' },
        doorbell: { ...open, description: 'Whether the reader sleeps, and what rings for it' },
        tailer: { ...open, description: 'Reads of the table' },
        latency_ms: { description: 'From the timestamp of a row to its write; null before the first' }
      }
    },
    403: refusal('Nobody has said that you may read it')
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
