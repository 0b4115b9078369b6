// A route that holds its response open, and nothing else: `bare.ts [sse]`, by hand or with @fastify/sse.

import type { AddressInfo } from 'node:net'
import { fastifySSE } from '@fastify/sse'
import Fastify from 'fastify'
import { serve } from '../support/child.ts'
import { GREETING } from '../support/message.ts'

const app = Fastify()
if (process.argv[2] === 'sse') {
  await app.register(fastifySSE)
  app.get('/logs/stream', { sse: { kind: 'only', heartbeat: false } }, async (_request, reply) => {
    reply.sse.keepAlive()
    reply.sse.sendHeaders()
    reply.raw.write(GREETING)
  })
} else {
  app.get('/logs/stream', (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
    reply.raw.write(GREETING)
  })
}
await app.listen({ port: 0, host: '127.0.0.1' })
serve({ port: () => (app.server.address() as AddressInfo).port })
