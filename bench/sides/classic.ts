// As it stands in most tutorials: a row trigger that sends each row as JSON, and reply.sse.send() to each client.

import type { AddressInfo } from 'node:net'
import { fastifySSE } from '@fastify/sse'
import Fastify, { type FastifyReply } from 'fastify'
import postgres from 'postgres'
import { serve } from '../support/child.ts'

const sql = postgres(process.argv[2] ?? '', { onnotice () {} })
await sql.unsafe(`
  create function tell() returns trigger language plpgsql as $$ begin perform pg_notify('log_updates', row_to_json(new)::text); return null; end $$;
  create trigger tell after insert on scraper_log for each row execute function tell()`)
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
  const { id, run_id: run, level, message, created_at: timestamp } = JSON.parse(payload)
  const data = { type: 'log', id, run_id: run, level, timestamp, message }
  for (const reply of replies) reply.sse.send({ id: String(id), data }).catch(() => {})
})
await app.listen({ port: 0, host: '127.0.0.1' })
serve({ port: () => (app.server.address() as AddressInfo).port })
