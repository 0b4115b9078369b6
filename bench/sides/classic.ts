// As it stands in most tutorials: a row trigger that sends each row as JSON, and reply.sse.send() to each client.

import type { AddressInfo } from 'node:net'
import { fastifySSE } from '@fastify/sse'
import Fastify, { type FastifyReply } from 'fastify'
import postgres from 'postgres'
import { serve } from '../support/child.ts'
import { message } from '../support/message.ts'
import { TRIGGERS } from '../support/triggers.ts'

const sql = postgres(process.argv[2] ?? '', { onnotice () {} })
await sql.unsafe(TRIGGERS['row trigger'])
const replies = new Set<FastifyReply>()
const app = Fastify()
await app.register(fastifySSE)
app.get('/logs/stream', { sse: true }, async (_request, reply) => {
  reply.sse.keepAlive()
  await reply.sse.send({ data: { type: 'connected' } })
  replies.add(reply)
  reply.sse.onClose(() => replies.delete(reply))
})
await sql.listen('log_updates', (payload) => {
  const row = JSON.parse(payload)
  const data = message(row)
  for (const reply of replies) reply.sse.send({ id: String(row.id), data }).catch(() => {})
})
await app.listen({ port: 0, host: '127.0.0.1' })
serve({ port: () => (app.server.address() as AddressInfo).port })
