// A route that holds its response open, and nothing else.

import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { serve } from '../support/child.ts'

const app = Fastify()
app.get('/logs/stream', (_request, reply) => {
  reply.hijack()
  reply.raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  reply.raw.write('data: {"type":"connected"}\n\n')
})
await app.listen({ port: 0, host: '127.0.0.1' })
serve({ port: () => (app.server.address() as AddressInfo).port })
