// The plugin in a Fastify app on a port of its own.

import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import fastifyPgTail, { type FastifyPgTailOptions, type ListenerState } from '../../plugin.ts'
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
