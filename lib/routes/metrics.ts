import type { FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import type { RouteOptions } from '../settings.ts'
import { admit, routeOptions } from './guard.ts'
import { refusal } from './refusal.ts'

const schema = {
  summary: 'Metrics of the log stream, for Prometheus',
  tags: ['logs'],
  response: {
    200: { description: 'In the text format of Prometheus', content: { 'text/plain': { schema: { type: 'string' } } } },
    403: refusal('Nobody has said that you may read them')
  }
}

/** `GET {prefix}/metrics`: like the status, closed unless the options say who may read it. */
export function metricsRoute (app: FastifyInstance, route: RouteOptions, registry: Registry): void {
  app.get(route.path!, { schema, ...routeOptions(route) }, async (request, reply) => {
    await admit(request, route, 'metrics', null)
    reply.header('cache-control', 'no-store').type(registry.contentType)
    return registry.metrics()
  })
}
