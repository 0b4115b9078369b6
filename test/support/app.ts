// The plugin in a Fastify app on a port of its own.

import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import type { Sql } from 'postgres'
import fastifyPgTail, { type FastifyPgTailOptions, type ListenerState } from '../../plugin.ts'
import { MAX_LOOKUP } from '../../lib/routes/stream.ts'
import { eventually } from './eventually.ts'
import { SseClient, type SseClientOptions } from './sse-client.ts'
import type { TestLike } from './postgres.ts'

export interface App {
  app: FastifyInstance
  url: string
  /** A client of the stream; `query` as it stands behind the question mark. */
  stream: (query?: string, options?: SseClientOptions) => Promise<SseClient>
}

/** Listens already; waits for the state `listening` unless told otherwise. */
export async function startApp (t: TestLike, options: Partial<FastifyPgTailOptions>,
  { state = 'listening', server = {}, port = 0, setup = () => {} }:
  { state?: ListenerState | null, server?: FastifyServerOptions, port?: number, setup?: (app: FastifyInstance) => void } = {}): Promise<App> {
  const app = Fastify(server)
  t.teardown(() => app.close())
  await app.register(fastifyPgTail, {
    table: 'public.scraper_log',
    install: true,
    stream: { public: true },
    status: { public: true },
    ...options
  })
  setup(app)
  const url = await app.listen({ port, host: '127.0.0.1' })
  if (state !== null) await reach(app, state)
  return { app, url, stream: (query = '', client) => SseClient.connect(`${url}/logs/stream${query && '?'}${query}`, client) }
}

export function reach (app: FastifyInstance, wanted: ListenerState): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (app.notifyListener.state !== wanted) return
      app.notifyListener.off('state', look)
      resolve()
    }
    app.notifyListener.on('state', look)
    look()
  })
}

/** The status that a client gets; where the node may have been kept from looking for the end of its run, that of the next one. */
export async function statusCodeOf (connect: () => Promise<SseClient>): Promise<number> {
  for (;;) {
    const asked = performance.now()
    const client = await connect()
    // Timers may be a millisecond early.
    if (client.status === 204 || performance.now() - asked < MAX_LOOKUP - 1) return client.status
    client.close()
  }
}

/**
 * Rings until the node has asked the sequence how far it is.
 * @param at seconds since 1970, by the server's clock: since then
 */
export async function askedSince (sql: Sql, at: number): Promise<void> {
  await eventually(async () => {
    await sql`notify log_updates`
    return sql`select from pg_stat_activity where application_name like 'fastify-pg-tail reader%' and datname = current_database()
      and query like '%pg_sequence_last_value%' and state = 'idle' and extract(epoch from query_start) > ${at}`
  }, ({ length }) => length > 0)
}
